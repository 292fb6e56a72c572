"""Label image, detections and positions against an image small enough to work them out by hand."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from spda_sam_core.messages.camera_info import pinhole_of
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.results import detections_message, label_message

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_optical_frame")
CLASSES = ("anode", "propeller", "ship_hull")
HEIGHT, WIDTH = 6, 8


def instances():
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 2:5, 4:8] = True  # overlaps the first
    return Instances(
        masks,
        np.array([[2, 1, 6, 3], [4, 2, 8, 5]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([2, 0], np.int64),
        CLASSES,
    )


def labels_of(message):
    return np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)


def test_the_label_image_counts_detections_from_one_and_the_higher_score_wins():
    message = label_message(instances(), HEADER)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[2:5, 4:8] = 2
    expected[1:3, 2:6] = 1
    np.testing.assert_array_equal(labels_of(message), expected)
    assert message.encoding == "mono16"
    assert message.header == HEADER


def test_an_empty_result_is_a_message_too():
    empty = Instances.empty(HEIGHT, WIDTH, CLASSES)
    assert not labels_of(label_message(empty, HEADER)).any()
    message = detections_message(empty, HEADER)
    assert len(message.detections) == 0
    assert message.header == HEADER


def test_detections_are_aligned_with_the_label_image():
    message = detections_message(instances(), HEADER)
    assert [d.results[0].hypothesis.class_id for d in message.detections] == ["ship_hull", "anode"]
    assert [d.results[0].hypothesis.score for d in message.detections] == pytest.approx([0.9, 0.5])
    first = message.detections[0]
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (4.0, 2.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (4.0, 2.0)
    assert all(d.header == HEADER and d.id == "" for d in message.detections)


def test_without_metric_depth_or_camera_no_position_is_claimed():
    camera, depth_m = Pinhole(10.0, 10.0, 4.0, 3.0), np.ones((HEIGHT, WIDTH), np.float32)
    nothing_known = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    for options in (
        {},
        {"camera": camera},
        {"depth_m": depth_m},
        {"camera": camera, "depth_m": nothing_known},
    ):
        pose = detections_message(instances(), HEADER, **options).detections[0].results[0].pose
        assert pose.covariance[0] == -1.0
        assert (pose.pose.position.x, pose.pose.position.y, pose.pose.position.z) == (0.0, 0.0, 0.0)


def test_the_position_is_the_mean_of_the_visible_surface_in_the_optical_frame():
    camera = Pinhole(fx=100.0, fy=200.0, cx=3.5, cy=2.5)
    depth_m = np.full((HEIGHT, WIDTH), 9.0, np.float32)
    depth_m[1, 2:6] = 2.0
    depth_m[2, 2:6] = 4.0
    depth_m[2, 5] = np.nan
    points = []
    for v, u, z in [(1, u, 2.0) for u in (2, 3, 4, 5)] + [(2, u, 4.0) for u in (2, 3, 4)]:
        points.append(((u - 3.5) * z / 100.0, (v - 2.5) * z / 200.0, z))
    message = detections_message(instances(), HEADER, depth_m=depth_m, camera=camera)
    pose = message.detections[0].results[0].pose
    position = pose.pose.position
    assert (position.x, position.y, position.z) == pytest.approx(tuple(np.mean(points, axis=0)))
    assert pose.covariance[0] == 0.0
    assert pose.pose.orientation.w == 1.0


FRAME = "camera_optical_frame"


def camera_info(k=(0.0,) * 9, p=(0.0,) * 12, height=HEIGHT, width=WIDTH, **further):
    return CameraInfo(header=Header(frame_id=FRAME), k=k, p=p, height=height, width=width, **further)


K = (100.0, 0.0, 3.0, 0.0, 110.0, 2.0, 0.0, 0.0, 1.0)
P = (90.0, 0.0, 4.0, 0.0, 0.0, 95.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def test_the_rectified_projection_counts_and_else_the_camera_matrix():
    assert pinhole_of(camera_info(K, P), (HEIGHT, WIDTH), FRAME) == Pinhole(90.0, 95.0, 4.0, 3.0)
    assert pinhole_of(camera_info(K), (HEIGHT, WIDTH), FRAME) == Pinhole(100.0, 110.0, 3.0, 2.0)


def seen_through(pinhole, point):
    """Pixel (x, y) of a point in the optical frame."""
    x, y, z = point
    return pinhole.fx * x / z + pinhole.cx, pinhole.fy * y / z + pinhole.cy


@pytest.mark.parametrize(("bin_x", "bin_y"), [(1, 1), (2, 2), (4, 2)])
def test_region_of_interest_and_binning_show_the_same_point_where_the_whole_sensor_would(bin_x, bin_y):
    roi = RegionOfInterest(x_offset=40, y_offset=20, width=320, height=160)
    k = (300.0, 0.0, 200.0, 0.0, 310.0, 130.0, 0.0, 0.0, 1.0)
    whole = pinhole_of(camera_info(k, height=240, width=400), (240, 400), FRAME)
    info = camera_info(k, height=240, width=400, roi=roi, binning_x=bin_x, binning_y=bin_y)
    part = pinhole_of(info, (160 // bin_y, 320 // bin_x), FRAME)
    for point in ((0.1, -0.2, 2.0), (-0.5, 0.3, 1.5)):
        x, y = seen_through(whole, point)
        assert seen_through(part, point) == pytest.approx(((x - 40) / bin_x, (y - 20) / bin_y))


def test_binning_of_0_is_1_and_a_region_of_0_is_all():
    assert pinhole_of(camera_info(K, binning_x=0, binning_y=0), (HEIGHT, WIDTH), FRAME).fx == 100.0


def test_the_identity_is_no_calibration():
    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    info = camera_info(identity, height=480, width=640)
    with pytest.raises(ValueError, match="focal length of 1 pixels for an image of 640x480: this is no calibration"):
        pinhole_of(info, (480, 640), FRAME)


def test_the_calibration_of_another_camera_is_refused_by_its_frame():
    with pytest.raises(ValueError, match="camera_info is of frame 'camera_optical_frame', the image of 'left': remap"):
        pinhole_of(camera_info(K), (HEIGHT, WIDTH), "left")


def test_a_calibration_which_does_not_serve_is_refused():
    with pytest.raises(
        ValueError,
        match=r"camera_info is for 8x6 pixels \(8x6, region of interest 0x0, binning 1x1\), the image has 640x480",
    ):
        pinhole_of(camera_info(K, P), (480, 640), FRAME)
    with pytest.raises(ValueError, match="not calibrated"):
        pinhole_of(camera_info(), (HEIGHT, WIDTH), FRAME)
