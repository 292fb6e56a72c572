"""The overlay video: as many frames as were looked at, each with its masks, whatever size or damage comes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from wall import CLASSES, PASS, SIZE_HW, SeesDiscs, look_at, pictures

from spda_sam_core.results.draw import class_colour
from spda_sam_core.results.instances import Instances
from spda_sam_core.survey.overlay_video import OverlayVideo


def frames_of(path) -> list[np.ndarray]:
    """All frames as (H, W, 3) RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        read, bgr = capture.read()
        if not read:
            return frames
        frames.append(bgr[..., ::-1])


def grey_with_a_square(height: int, width: int) -> tuple[np.ndarray, Instances]:
    masks = np.zeros((1, height, width), bool)
    masks[0, height // 4 : height // 2, width // 4 : width // 2] = True
    box = np.array([[width // 4, height // 4, width // 2, height // 2]], np.float32)
    found = Instances(masks, box, np.array([0.9], np.float32), np.array([1], np.int64), CLASSES)
    return np.full((height, width, 3), 120, np.uint8), found


def test_every_frame_is_in_it_with_its_masks_and_the_lost_ones_are_black(tmp_path) -> None:
    video = OverlayVideo(tmp_path / "overlay.mp4", 2.5)
    dive = look_at(tmp_path, pictures(PASS, problem_at={0, 7}), video=video)
    frames = frames_of(tmp_path / "overlay.mp4")
    assert len(frames) == len(dive.moments) == len(PASS)
    assert {frame.shape for frame in frames} == {(*SIZE_HW, 3)}
    assert cv2.VideoCapture(str(tmp_path / "overlay.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(2.5)
    for i, (left, frame) in enumerate(zip(PASS, frames, strict=True)):
        upper = frame[:90].astype(int)  # above the time code
        if i in (0, 7):
            assert upper.max() < 40
            continue
        shown = pictures([left])[0].rgb[:90].astype(int)
        tinted = np.abs(upper - shown).mean(axis=2) > 25
        found = SeesDiscs().predict(pictures([left])[0].rgb)
        covered = found.masks.any(axis=0)[:90]
        if covered.sum() > 300:
            assert tinted[covered].mean() > 0.6


def test_a_picture_of_another_shape_stands_between_bars(tmp_path) -> None:
    video = OverlayVideo(tmp_path / "v.mp4", 5.0)
    for height, width in ((240, 320), (240, 160), (480, 640)):
        rgb, found = grey_with_a_square(height, width)
        video.add(rgb, found, "")
    video.close()
    whole, narrow, large = (frame.astype(int) for frame in frames_of(tmp_path / "v.mp4"))
    assert whole.shape == narrow.shape == large.shape == (240, 320, 3)
    assert narrow[:, :76].max() < 30
    assert narrow[:, 244:].max() < 30
    assert abs(narrow[120:220, 170:230] - 120).max() < 30
    colour = np.array(class_colour(1))
    middles = {"whole": whole[90, 120], "narrow": narrow[90, 80 + 60], "large": large[90, 120]}
    for middle in middles.values():  # nearer to the class's colour than the grey was
        assert np.abs(middle - colour).sum() < np.abs(120 - colour).sum() * 0.8


def test_large_and_odd_sizes_are_bounded_and_even(tmp_path) -> None:
    video = OverlayVideo(tmp_path / "v.mp4", 2.0)
    rgb, found = grey_with_a_square(1081, 1923)
    video.add(rgb, found, "0:00:00.0")
    video.close()
    (frame,) = frames_of(tmp_path / "v.mp4")
    assert frame.shape == (540, 960, 3)


def test_after_a_kill_the_video_has_the_same_bytes(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        look_at(tmp_path / "a", pictures(PASS), SeesDiscs(fails_at=20), video=OverlayVideo(tmp_path / "a/v.mp4", 2.0))
    assert len(frames_of(tmp_path / "a/v.mp4")) == 20  # what was seen can be watched
    look_at(tmp_path / "a", pictures(PASS), resume=True, video=OverlayVideo(tmp_path / "a/v.mp4", 2.0))
    look_at(tmp_path / "b", pictures(PASS), video=OverlayVideo(tmp_path / "b/v.mp4", 2.0))
    assert (tmp_path / "a/v.mp4").read_bytes() == (tmp_path / "b/v.mp4").read_bytes()
    assert len(frames_of(tmp_path / "b/v.mp4")) == len(PASS)


def test_a_video_that_cannot_be_written_is_said_and_is_not_the_end(tmp_path) -> None:
    video = OverlayVideo(tmp_path / "no folder/v.mp4", 2.0)
    dive = look_at(tmp_path, pictures(PASS[:5]), video=video)
    assert len(dive.moments) == 5
    assert "writes no mp4v video" in video.problem
