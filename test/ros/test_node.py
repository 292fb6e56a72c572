"""A running node: topics, parameters, services and namespaces over DDS."""

import numpy as np
import pytest
from node_bench import FRAME_ID, calibration, depth_image, picture, values_of
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "depth_wait_s": 0.5}) as (node, robot):
        robot.wait_for_state("active")
        yield node, robot


def image_only(header):
    return {"image": picture(header)}


def rgbd(header):
    return {"image": picture(header), "depth": depth_image(header), "camera_info": calibration(header)}


def test_label_image_and_detections_carry_the_images_header_and_agree(running):
    _, robot = running
    result = robot.segment(image_only)
    labels, detections = result.labels, result.detections
    assert labels.header == detections.header
    assert labels.header.frame_id == FRAME_ID
    assert (labels.encoding, labels.height, labels.width, labels.step) == ("mono16", 120, 160, 320)
    assert detections.detections
    scores = [d.results[0].hypothesis.score for d in detections.detections]
    assert scores == sorted(scores, reverse=True)
    for k in np.unique(result.label_array[result.label_array > 0]):
        rows, columns = np.nonzero(result.label_array == k)
        box = detections.detections[k - 1].bbox
        assert abs(columns + 0.5 - box.center.position.x).max() <= box.size_x / 2
        assert abs(rows + 0.5 - box.center.position.y).max() <= box.size_y / 2


def test_the_label_info_is_latched_and_lists_all_classes(running):
    _, robot = running
    got = []
    robot.subscribe("/spda_sam/label_info", LabelInfo, got.append, latched=True)
    robot.wait_until(lambda: got, "label_info for a late subscriber")
    assert [c.class_name for c in got[0].class_map] == ["anode", "object"]


def test_with_depth_and_calibration_detections_have_a_position_in_the_optical_frame(running):
    _, robot = running

    def positioned(sent):
        results = [robot.results[s] for s in sent if s in robot.results and robot.results[s].complete]
        poses = [d.results[0].pose for r in results for d in r.detections.detections]
        return [pose for pose in poses if pose.covariance[0] != -1.0]

    poses = robot.publish_until(rgbd, positioned, "detections with a position")
    assert {pose.pose.position.z for pose in poses} == {2.0}
    assert all(abs(pose.pose.position.x) <= 2.0 * 80 / 100 for pose in poses)


def test_an_empty_result_is_published_and_thresholds_change_at_run_time(running):
    _, robot = running
    assert robot.set_parameters(score_threshold=1.0) == ""
    try:
        result = robot.segment(image_only)
        assert not result.detections.detections
        assert not result.label_array.any()
        refusal = robot.set_parameters(score_threshold=1.5)
        assert "1.5" in refusal
        assert "1.0" in refusal
    finally:
        assert robot.set_parameters(score_threshold=0.0) == ""
    assert robot.segment(image_only).detections.detections
    assert "deactivate and clean up" in robot.set_parameters(device="cuda:7")
    assert "unknown ['anod']" in robot.set_parameters(class_filter=["anod"])


def test_pictures_come_once_someone_subscribes(running):
    _, robot = running
    got = {"overlay": [], "depth": []}
    subscriptions = [robot.subscribe(f"/spda_sam/{t}", Image, got[t].append) for t in got]
    robot.publish_until(rgbd, lambda sent: all(got.values()), "overlay and depth pictures")
    for messages in got.values():
        assert (messages[0].encoding, messages[0].height, messages[0].width) == ("rgb8", 120, 160)
    for subscription in subscriptions:
        robot.node.destroy_subscription(subscription)


def test_without_a_depth_topic_the_networks_own_estimate_is_shown(running):
    _, robot = running
    assert robot.set_parameters(depth_policy="estimate") == ""
    try:
        got = []
        subscription = robot.subscribe("/spda_sam/depth", Image, got.append)
        robot.publish_until(image_only, lambda sent: got, "a picture of estimated depth")
        assert (got[0].encoding, got[0].height, got[0].width) == ("rgb8", 120, 160)
        robot.node.destroy_subscription(subscription)
        robot.diagnostics(lambda status: int(values_of(status).get("depth_source.estimated", 0)) > 0)
    finally:
        assert robot.set_parameters(depth_policy="rgb_only") == ""


def test_the_enable_service_switches_segmentation_off_and_on(running):
    _, robot = running
    assert robot.call(SetBool, "/spda_sam/enable", SetBool.Request(data=False)).success
    try:
        before = int(robot.diagnostics()[1].get("dropped.disabled", 0))
        stamps = robot.publish_until(
            image_only,
            lambda sent: int(robot.diagnostics()[1].get("dropped.disabled", 0)) > before and sent,
            "a drop for being disabled",
        )
        assert not robot.results.keys() & set(stamps)
    finally:
        assert robot.call(SetBool, "/spda_sam/enable", SetBool.Request(data=True)).success
    robot.segment(image_only)


def test_a_fast_camera_gets_the_newest_frames_segmented_and_all_others_counted(running):
    _, robot = running
    stamps = []
    ages_ms = []
    for _ in range(150):
        stamps.append(robot.publish(image_only))
        known = set(robot.results)
        robot.spin(0.02)
        ages_ms += [(robot.now() - s) / 1e6 for s in robot.results.keys() - known]
    robot.wait_until(lambda: stamps[-1] in robot.results, "the newest frame", deadline_s=10)

    def all_counted(status):
        values = values_of(status)
        return int(values["frames_out"]) + int(values["dropped"]) == int(values["frames_in"])

    _, values = robot.diagnostics(all_counted)
    assert int(values["dropped.busy"]) > 0
    # no queue: the last results are as fresh as the first ones
    assert np.median(ages_ms[-5:]) < 3 * np.median(ages_ms[:5]) + 100


def test_a_reliable_subscriber_hears_and_a_best_effort_camera_is_heard(running):
    _, robot = running
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    reliable = robot.publishers["image"]
    robot.publishers["image"] = robot.node.create_publisher(Image, "image", best_effort)
    try:
        robot.segment(image_only)
    finally:
        robot.node.destroy_publisher(robot.publishers["image"])
        robot.publishers["image"] = reliable


def test_names_are_relative_to_the_namespace_and_topics_can_be_remapped(start, tiny_checkpoint):
    remap = ("-r", "__ns:=/front", "-r", "image:=/image", "-r", "depth:=/depth")
    with start({"checkpoint": tiny_checkpoint}, *remap, name="/front/spda_sam") as (_, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        assert robot.diagnostics()[0].name == "front/spda_sam"


def test_topics_may_swap_their_names(start, tiny_checkpoint):
    """A name is remapped once: twice, and `image` would be heard on /image again."""
    with start({"checkpoint": tiny_checkpoint}, "-r", "image:=/depth", "-r", "depth:=/image") as (_, robot):
        robot.wait_for_state("active")
        robot.publishers["image"], robot.publishers["depth"] = robot.publishers["depth"], robot.publishers["image"]
        robot.segment(image_only)
