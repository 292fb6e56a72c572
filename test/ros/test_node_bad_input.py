"""Bad input to a running node: a clear report or a counted drop, and the next good frame is segmented."""

from array import array

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import depth_image, picture
from std_msgs.msg import Header

SECOND_NS = 10**9


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint):
    """One node for the whole file: it has to survive all of it."""
    with start({"checkpoint": tiny_checkpoint, "depth_wait_s": 0.5}) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        yield node, robot
        assert node.alive


def image_only(header):
    return {"image": picture(header)}


def with_depth(make_depth=depth_image, **size):
    return lambda header: {"image": picture(header, **size), "depth": make_depth(header, **size)}


def short(image):
    image.data = image.data[: image.step * image.height - 1]
    return image


def changed(image, **fields):
    for name, value in fields.items():
        setattr(image, name, value)
    return image


def count(robot, key):
    return int(robot.diagnostics()[1].get(key, 0))


def publish_until_counted(robot, make_messages, key, **options):
    """Publish until the node counts one more `key`: the status that says so, its values, and all stamps."""
    before = count(robot, key)

    def counted(sent):
        status, values = robot.diagnostics()
        return (status, values, sent) if int(values.get(key, 0)) > before else None

    return robot.publish_until(make_messages, counted, f"one more {key}", **options)


BAD_IMAGES = {
    "short data": (short, "data has 57599 bytes, but 160x120 rgb8 with step 480 needs 57600"),
    "no data": (lambda image: changed(image, data=array("B")), "data has 0 bytes"),
    "zero size": (
        lambda image: changed(image, height=0, width=0, step=0, data=array("B")),
        "image of 0x0 pixels is empty",
    ),
    "zero rows": (lambda image: changed(image, height=0), "image of 160x0 pixels is empty"),
    "step too small": (lambda image: changed(image, step=100), "step is 100 bytes, but a row of 160 pixels"),
    "unknown encoding": (lambda image: changed(image, encoding="cmyk"), "encoding 'cmyk' is not one of rgb8"),
    "depth as image": (lambda image: changed(image, encoding="32FC1"), "encoding '32FC1' is not one of rgb8"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_a_counted_drop_with_its_reason(running, case):
    _, robot = running
    spoil, text = BAD_IMAGES[case]
    status, values, stamps = publish_until_counted(
        robot, lambda header: {"image": spoil(picture(header))}, "dropped.bad_image"
    )
    assert status.level == DiagnosticStatus.WARN
    assert text in values["last_error"]
    assert not robot.results.keys() & set(stamps)
    assert robot.segment(image_only).label_array.shape == (120, 160)


BAD_DEPTH = {
    "another size": (
        lambda header: depth_image(header, height=60, width=80),
        "refused",
        "depth has 80x60 pixels, the image 160x120",
    ),
    "another frame": (
        lambda header: depth_image(Header(stamp=header.stamp, frame_id="tof")),
        "refused",
        "depth is in frame 'tof', not in the image's 'camera_optical_frame'",
    ),
    "another encoding": (
        lambda header: changed(depth_image(header), encoding="rgba8"),
        "refused",
        "'rgba8' is not depth",
    ),
    "short data": (lambda header: short(depth_image(header)), "refused", "data has 76799 bytes"),
    "all NaN": (lambda header: depth_image(header, metres=np.nan), "empty", "depth has no valid pixel"),
    "all zero": (lambda header: depth_image(header, metres=0.0), "empty", "depth has no valid pixel"),
}


@pytest.mark.parametrize("case", BAD_DEPTH)
def test_an_image_with_bad_depth_is_segmented_without_it_and_the_reason_told(running, case):
    _, robot = running
    make_depth, reason, text = BAD_DEPTH[case]
    status, values, stamps = publish_until_counted(robot, with_depth(make_depth), f"no_sensor_depth.{reason}")
    assert status.level == DiagnosticStatus.WARN
    assert text in values["last_error"]
    assert robot.results.keys() & set(stamps)
    publish_until_counted(robot, with_depth(), "depth_source.sensor")


def test_with_policy_drop_an_image_without_usable_depth_is_a_counted_drop(running):
    _, robot = running
    assert robot.set_parameters(depth_policy="drop") == ""
    try:
        useless = with_depth(lambda header: depth_image(header, metres=np.nan))
        stamps = publish_until_counted(robot, useless, "dropped.no_depth")[2]
        assert not robot.results.keys() & set(stamps)
        robot.segment(with_depth())
    finally:
        assert robot.set_parameters(depth_policy="rgb_only") == ""


def test_the_image_size_may_change_from_frame_to_frame(running):
    _, robot = running
    for height, width in ((120, 160), (90, 200), (241, 123), (1, 1), (120, 160)):
        result = robot.segment(with_depth(height=height, width=width))
        assert result.label_array.shape == (height, width)
        assert result.label_array.max() <= len(result.detections.detections)


def test_a_bag_that_starts_again_is_told_and_its_frames_are_segmented_with_their_depth(running):
    _, robot = running
    restarts = count(robot, "event.time_ran_backwards")
    now_ns = robot.now()
    for shift_s in (30, 31, 3600):  # each run begins before the moment that the one before had reached
        stamps = (now_ns - shift_s * SECOND_NS + i * SECOND_NS // 10 for i in range(1000))
        robot.segment(with_depth(), stamps=stamps)
        publish_until_counted(robot, with_depth(), "depth_source.sensor", stamps=stamps)
    assert count(robot, "event.time_ran_backwards") == restarts + 3
