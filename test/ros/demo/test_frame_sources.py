import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import training.world.frame as frame_module
from spda_sam_ros.demo import frame_sources
from spda_sam_ros.demo.frame_sources import SourceError, open_source, rendered_frames

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(rgb, height=24, width=32):
    return np.full((height, width, 3), rgb, np.uint8)


def write_picture(path, rgb, **size):
    assert cv2.imwrite(str(path), picture(rgb, **size)[..., ::-1])


def first_pixels(frames, count):
    return [tuple(int(v) for v in frame.rgb[0, 0]) for frame in islice(frames, count)]


def test_a_folder_gives_its_images_in_order_as_rgb_and_starts_again(tmp_path):
    for name, colour in [("b.png", GREEN), ("a.png", RED), ("c.bmp", BLUE)]:
        write_picture(tmp_path / name, colour)
    (tmp_path / "notes.txt").write_text("not an image")
    assert first_pixels(open_source(str(tmp_path)), 5) == [RED, GREEN, BLUE, RED, GREEN]


def test_pictures_keep_their_own_size_and_have_neither_depth_nor_calibration(tmp_path):
    write_picture(tmp_path / "a.png", RED, height=20, width=30)
    write_picture(tmp_path / "b.png", RED, height=50, width=40)
    frames = list(islice(open_source(str(tmp_path)), 2))
    assert [f.rgb.shape for f in frames] == [(20, 30, 3), (50, 40, 3)]
    assert all(f.depth_m is None and f.camera_matrix is None for f in frames)


def test_a_damaged_image_is_left_out_with_its_name(tmp_path, caplog):
    write_picture(tmp_path / "a.png", RED)
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert first_pixels(open_source(str(tmp_path)), 3) == [RED, RED, RED]
    assert "b.png" in caplog.text


def test_pictures_of_a_folder_are_upright_and_cut_ones_left_out(tmp_path, caplog):
    stored = picture(GREEN)
    stored[:, :8] = RED  # upright, on top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (tmp_path / "b.jpg").write_bytes(cv2.imencode(".jpg", noise)[1].tobytes()[:-1000])
    frame, again = islice(open_source(str(tmp_path)), 2)
    assert frame.rgb.shape == again.rgb.shape == (32, 24, 3)
    assert frame.rgb[2, 12, 0] > 200
    assert frame.rgb[30, 12, 1] > 200
    assert "b.jpg: cut off" in caplog.text


def test_nearly_black_pictures_of_16_bits_are_told_of_once(tmp_path, caplog):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8, 3), 4000, np.uint16))
    list(islice(open_source(str(tmp_path)), 4))
    assert caplog.text.count("its highest value is 4000 of 65535, nearly black") == 1


def test_a_folder_of_damaged_images_only_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"can read none of its images"):
        next(open_source(str(tmp_path)))


def test_a_single_image_repeats(tmp_path):
    write_picture(tmp_path / "a.png", BLUE)
    assert first_pixels(open_source(str(tmp_path / "a.png")), 2) == [BLUE, BLUE]


def write_video(path, greys):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    assert writer.isOpened()
    for grey in greys:
        writer.write(picture((grey,) * 3, 48, 64))
    writer.release()


def test_a_video_plays_through_and_starts_again(tmp_path):
    write_video(tmp_path / "v.avi", [20, 120, 220])
    reds = [pixel[0] for pixel in first_pixels(open_source(str(tmp_path / "v.avi")), 6)]
    assert reds == pytest.approx([20, 120, 220, 20, 120, 220], abs=6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"'.*thing' does not exist: give a folder of images, a video file or a device"),
        (
            lambda path: path.mkdir(),
            r"'.*thing' is a folder with no image in it: expected files named \*\.bmp",
        ),
        (lambda path: path.write_text("text"), r"'.*thing' is not a video that OpenCV can decode: check"),
    ],
)
def test_a_bad_source_is_refused_when_it_is_opened(tmp_path, make, message):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(SourceError, match=message):
        open_source(str(path))


class FakeDevice:
    """A V4L device whose driver holds three old frames and makes a new one every 20 ms."""

    def __init__(self, _path):
        self.number = 0

    def isOpened(self):
        return True

    def grab(self):
        self.number += 1
        if self.number > 3:
            time.sleep(0.02)
        return self.number < 7

    def retrieve(self):
        return True, picture((self.number,) * 3)


def test_a_device_skips_what_waited_in_the_driver_and_says_when_it_is_gone(monkeypatch):
    monkeypatch.setattr(frame_sources.cv2, "VideoCapture", FakeDevice)
    frames = open_source(os.devnull)  # a character device, as cameras are
    assert [pixel[0] for pixel in first_pixels(frames, 3)] == [4, 5, 6]
    with pytest.raises(SourceError, match="gives no more frames"):
        next(frames)


def test_the_rendered_world_comes_there_and_back_with_depth_and_calibration(tmp_path):
    frames = list(islice(rendered_frames(3, 3, cache=tmp_path), 6))
    assert [f.rgb.shape for f in frames] == [(480, 640, 3)] * 6
    for i, j in [(0, 4), (1, 3), (1, 5)]:
        np.testing.assert_array_equal(frames[i].rgb, frames[j].rgb)
        np.testing.assert_array_equal(frames[i].depth_m, frames[j].depth_m)
    assert (frames[0].rgb != frames[1].rgb).any()
    known = np.isfinite(frames[0].depth_m)
    assert known.mean() > 0.1
    assert 0.1 < frames[0].depth_m[known].min() < frames[0].depth_m[known].max() < 65.5
    assert frames[0].camera_matrix[2].tolist() == [0, 0, 1]


def test_kept_frames_equal_those_of_the_renderer_to_the_millimetre_and_are_not_rendered_again(tmp_path, monkeypatch):
    truth = next(frame_module.render_sequence(3, 1))
    frame = next(rendered_frames(3, 1, cache=tmp_path))
    np.testing.assert_array_equal(frame.rgb, truth.rgb)
    np.testing.assert_allclose(frame.depth_m, truth.depth_m, atol=0.000501)  # NaN where it is NaN
    monkeypatch.setattr(frame_module, "render_sequence", None)
    np.testing.assert_array_equal(next(rendered_frames(3, 1, cache=tmp_path)).rgb, truth.rgb)


def test_an_interrupted_rendering_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    def interrupted(seed, n_frames):
        yield next(whole(seed, n_frames))
        raise KeyboardInterrupt

    whole = frame_module.render_sequence
    monkeypatch.setattr(frame_module, "render_sequence", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rendered_frames(3, 2, cache=tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


def test_frames_that_find_no_room_on_the_disk_are_an_error_and_nothing_is_left(tmp_path):
    # a limit on the size of files stands in for a full disk
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from pathlib import Path; from spda_sam_ros.demo.frame_sources import rendered_frames\n"
        f"rendered_frames(1, 1, cache=Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert f"SourceError: rendered frames cannot be kept in '{tmp_path}' ([Errno 27] File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_sequence_without_frames_is_refused():
    with pytest.raises(SourceError, match="0 frames shows nothing: ask for at least 1"):
        rendered_frames(3, 0)
