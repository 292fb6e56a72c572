"""A bag's pictures come with their time, their depth and their camera; what is damaged is named, the rest is read."""

from __future__ import annotations

import sys
from argparse import Namespace

import bag_file
import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode

from spda_sam_core.bags.bag import Bag
from spda_sam_core.bags.topics import Topics
from spda_sam_core.cli.sources import open_source
from spda_sam_core.results.metric import Pinhole

START = 1_700_000_000_000_000_000
HZ5 = 200_000_000
SIZE_HW = (24, 32)
FOCAL = 40.0
RNG = np.random.default_rng(0)


def picture(number: int) -> np.ndarray:
    rgb = np.full((*SIZE_HW, 3), (10, 20, 30), np.uint8)
    rgb[:, :, 0] = 6 * number
    return rgb


def depth_mm(number: int) -> np.ndarray:
    depth = np.full(SIZE_HW, 1000 + number, np.uint16)
    depth[0, 0] = 0
    return depth


def dive(count=6, *, picture_of=None, depth_of=None, info=True, lag_ns=1_000_000):
    """Pictures at 5 Hz; depth of the same stamp is recorded a little later."""
    messages = []
    if info:
        messages.append(("/cam/camera_info", START, bag_file.camera_info(SIZE_HW, FOCAL)))
    for i in range(count):
        stamp = START + i * HZ5
        shown = picture_of(stamp, i) if picture_of else bag_file.image(stamp, picture(i), "rgb8")
        messages.append(("/cam/image_raw", stamp + 1, shown))
        if depth_of is not None:
            messages.append(("/cam/depth", stamp + lag_ns, depth_of(stamp, i)))
    return sorted(messages, key=lambda m: m[1])


DEPTHS = {
    "16UC1": lambda stamp, i: bag_file.image(stamp, depth_mm(i), "16UC1"),
    "32FC1": lambda stamp, i: bag_file.image(stamp, depth_mm(i).astype(np.float32) / 1000, "32FC1"),
    "compressedDepth": lambda stamp, i: bag_file.compressed_depth(stamp, depth_mm(i)),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("mcap", [False, True])
def test_pictures_come_in_order_with_time_depth_in_metres_and_the_camera(tmp_path, mcap, compressed, depth) -> None:
    picture_of = (lambda stamp, i: bag_file.compressed(stamp, picture(i))) if compressed else None
    path = bag_file.write_bag(tmp_path / "bag", dive(picture_of=picture_of, depth_of=DEPTHS[depth]), mcap=mcap)
    bag = Bag(path)
    looks = list(bag)
    assert len(looks) == len(bag) == 6
    assert bag.camera == Pinhole(FOCAL, FOCAL, 15.5, 11.5)
    for i, look in enumerate(looks):
        np.testing.assert_array_equal(look.rgb, picture(i))
        assert look.stamp_ns == i * HZ5
        assert look.header.frame_id == bag_file.FRAME_ID
        expected = depth_mm(i) / np.float32(1000)
        expected[0, 0] = np.nan
        np.testing.assert_allclose(look.depth_m, expected, rtol=1e-6)
    assert not bag.noticed


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_compressed_bags_are_read(tmp_path, mode) -> None:
    messages = dive(depth_of=DEPTHS["16UC1"])
    mcap = mode == CompressionMode.STORAGE
    bag = Bag(bag_file.write_bag(tmp_path / "bag", messages, mcap=mcap, compressed_by=mode))
    assert [round(float(look.depth_m[1, 1]) * 1000) for look in bag] == [1000 + i for i in range(6)]
    assert not bag.noticed


def test_a_folder_of_pictures_with_metadata_of_something_else_is_no_bag(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    (tmp_path / "metadata.yaml").write_text("camera: 3\n")
    options = Namespace(depth=None, image_topic=None, depth_topic=None, camera_info_topic=None)
    assert [look.name for look in open_source(tmp_path, options)] == ["a.png"]


def test_one_file_of_a_bag_and_a_folder_without_metadata_are_read_too(tmp_path) -> None:
    path = bag_file.write_bag(tmp_path / "bag", dive())
    assert len(list(Bag(path / "bag.db3"))) == 6
    (path / "metadata.yaml").unlink()
    bag = Bag(path)
    assert len(list(bag)) == 6
    assert "metadata.yaml: not used" in " ".join(bag.noticed)


def test_a_picture_without_depth_of_about_its_stamp_has_none(tmp_path) -> None:
    shifted = 90_000_000  # less than half a period of 200 ms
    path = bag_file.write_bag(
        tmp_path / "a", dive(depth_of=lambda s, i: bag_file.image(s + shifted, depth_mm(i), "16UC1"))
    )
    assert all(look.depth_m is not None for look in Bag(path))
    every_third = [m for m in dive(depth_of=DEPTHS["16UC1"]) if m[0] != "/cam/depth" or m[1] // HZ5 % 3]
    bag = Bag(bag_file.write_bag(tmp_path / "b", every_third))
    without = [look.depth_m is None for look in bag]
    assert 1 <= sum(without) <= 2
    assert f"{sum(without)} times without depth: no depth has about the same stamp" in bag.noticed[0]


@pytest.mark.parametrize(
    ("depth_of", "reason"),
    [
        (lambda s, i: bag_file.image(s, depth_mm(i), "16UC1", "other"), "depth is in frame 'other'"),
        (lambda s, i: bag_file.image(s, depth_mm(i)[::2], "16UC1"), "depth has 32x12 pixels, the picture 32x24"),
    ],
)
def test_depth_of_another_frame_or_size_is_not_used_and_said_so(tmp_path, depth_of, reason) -> None:
    bag = Bag(bag_file.write_bag(tmp_path / "bag", dive(depth_of=depth_of)))
    assert [look.depth_m for look in bag] == [None] * 6
    assert reason in bag.noticed[0]
    assert "6 times" in bag.noticed[0]
    assert "depth_image_proc/register" in bag.noticed[0]


def test_a_calibration_that_does_not_serve_is_said(tmp_path) -> None:
    messages = [("/cam/camera_info", START, bag_file.camera_info((48, 64), FOCAL)), *dive(info=False)]
    bag = Bag(bag_file.write_bag(tmp_path / "bag", messages))
    assert bag.camera is None
    assert "sizes are in pixels" in bag.noticed[0]


def test_so_many_pictures_a_second_are_looked_at_although_the_camera_jitters(tmp_path) -> None:
    messages = []
    for i in range(60):  # 10 Hz
        stamp = START + i * 100_000_000 + int(RNG.integers(-9, 9)) * 1_000_000
        messages.append(("/image", stamp, bag_file.image(stamp, picture(0), "rgb8")))
    path = bag_file.write_bag(tmp_path / "bag", messages)
    for rate in (2.0, 5.0, 10.0):
        times = [look.stamp_ns / 1e9 for look in Bag(path, rate=rate)]
        assert len(times) == pytest.approx(6 * rate, abs=1)
        assert np.diff(times).max() < 1.5 / rate
    assert [look.name for look in Bag(path, every=25)] == ["000000.jpg", "000025.jpg", "000050.jpg"]


def test_stamps_that_run_back_or_are_not_set_do_not_stop_time(tmp_path) -> None:
    messages = []
    for i in range(6):
        logged = START + i * HZ5
        stamp = (logged, logged, 0, 5, logged, logged - 10**12)[i]
        messages.append(("/image", logged, bag_file.image(stamp, picture(i), "rgb8")))
    bag = Bag(bag_file.write_bag(tmp_path / "bag", messages))
    assert [look.stamp_ns for look in bag] == [i * HZ5 for i in range(6)]
    assert "the time of recording counts" in " ".join(bag.noticed)


def test_several_topics_that_would_do_are_listed_with_the_option(tmp_path) -> None:
    left = dive(depth_of=DEPTHS["16UC1"])
    right = [(topic.replace("/cam/", "/right/"), *rest) for topic, *rest in left]
    path = bag_file.write_bag(tmp_path / "bag", left + right)
    with pytest.raises(ValueError, match=r"choose one with --image-topic: /cam/image_raw \(.*, 6\), /right/image_raw"):
        Bag(path)
    with pytest.raises(ValueError, match="choose one with --depth-topic, or --depth-topic none: /cam/depth"):
        Bag(path, Topics(image="/right/image_raw"))
    bag = Bag(path, Topics(image="/right/image_raw", depth="/right/depth"))
    assert bag.topics.camera_info == "/right/camera_info"
    assert Bag(path, Topics(image="/right/image_raw", depth="none")).topics.depth is None


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        (Topics(image="/nothing"), "--image-topic /nothing is not in there: choose from /cam/image_raw"),
        (Topics(image="/cam/camera_info"), "--image-topic /cam/camera_info is sensor_msgs/msg/CameraInfo: choose from"),
        (Topics(depth="/cam/image_raw"), "--depth-topic /cam/image_raw is sensor_msgs/msg/Image: choose from none"),
    ],
)
def test_a_topic_that_does_not_serve_is_refused_by_name(tmp_path, topics, message) -> None:
    path = bag_file.write_bag(tmp_path / "bag", dive())
    with pytest.raises(ValueError, match=message):
        Bag(path, topics)


def test_damaged_messages_are_named_and_those_behind_them_are_read(tmp_path) -> None:
    messages = dive(info=False)
    whole = bytes(bag_file.TYPES.serialize_cdr(messages[2][2], "sensor_msgs/msg/Image"))
    for raw in (b"", b"\0\1\0\0", whole[:40], whole[:-100], RNG.integers(0, 256, 900, np.uint8).tobytes()):
        path = bag_file.write_bag(tmp_path / str(len(raw)), messages, raw={2: raw})
        looks = list(Bag(path))
        assert [look.rgb is None for look in looks] == [False, False, True, False, False, False]
        assert "picture 2: " in looks[2].problem


@pytest.mark.parametrize("mcap", [False, True])
def test_a_bag_that_was_cut_off_never_ends_in_a_traceback(tmp_path, mcap) -> None:
    path = bag_file.write_bag(tmp_path / "bag", dive(40, info=False), mcap=mcap)
    (file,) = path.glob("bag.*")
    content = file.read_bytes()
    read = []
    for share in (0.1, 0.5, 0.9, 0.999):
        file.write_bytes(content[: int(len(content) * share)])
        if mcap:  # its index stands at the end
            with pytest.raises(ValueError, match="'ros2 bag reindex', or 'mcap recover'"):
                Bag(path)
            continue
        try:
            looks = list(Bag(path))
        except ValueError:
            continue
        read.append(sum(look.rgb is not None for look in looks))
        assert read[-1] == 40 or looks[-1].problem
    assert mcap or read
    file.write_bytes(RNG.integers(0, 256, len(content), np.uint8).tobytes())
    with pytest.raises(ValueError, match="no bag that can be read"):
        Bag(path)


@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_damaged_bytes_anywhere_in_a_bag_never_end_in_a_traceback(tmp_path, mode) -> None:
    mcap = mode == CompressionMode.STORAGE
    path = bag_file.write_bag(tmp_path / "bag", dive(20, depth_of=DEPTHS["16UC1"]), mcap=mcap, compressed_by=mode)
    (file,) = path.glob("bag.*")
    content = file.read_bytes()
    rng = np.random.default_rng(int(mode))
    readable = 0
    for _ in range(40):
        damaged = bytearray(content)
        start = int(rng.integers(len(content)))
        damaged[start : start + 300] = rng.integers(0, 256, len(damaged[start : start + 300]), np.uint8).tobytes()
        file.write_bytes(damaged)
        try:
            bag = Bag(path)
        except ValueError:
            continue
        readable += sum(look.rgb is not None for look in bag)
    assert readable > 0


def test_a_damaged_part_of_a_split_bag_is_left_out(tmp_path) -> None:
    messages = dive(10, info=False)
    bag_file.write_bag(tmp_path / "bag", messages[:5])
    bag_file.write_bag(tmp_path / "more", messages[5:])
    (tmp_path / "more/more.db3").rename(tmp_path / "bag/bag_1.db3")
    (tmp_path / "bag/bag_2.db3").write_bytes(b"no database")
    bag = Bag(tmp_path / "bag")
    assert [look.stamp_ns for look in bag] == [i * HZ5 for i in range(10)]
    assert "bag_2.db3: left out" in " ".join(bag.noticed)


def test_without_rosbags_the_error_says_what_to_install(tmp_path, monkeypatch) -> None:
    path = bag_file.write_bag(tmp_path / "bag", dive())
    monkeypatch.setitem(sys.modules, "rosbags", None)
    options = Namespace(depth=None, image_topic=None, depth_topic=None, camera_info_topic=None)
    with pytest.raises(ImportError, match="pip install 'rosbags"):
        open_source(path, options)


def test_a_topic_of_what_is_no_bag_is_refused(tmp_path) -> None:
    options = Namespace(depth=None, image_topic="/image", depth_topic=None, camera_info_topic=None)
    with pytest.raises(ValueError, match=r"topic /image: .* is no bag"):
        open_source(tmp_path, options)
