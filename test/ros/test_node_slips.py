"""Slips of those who set the node up: each is said by its name, with what to do."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import depth_image, picture
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage


def image_only(header):
    return {"image": picture(header)}


def test_one_report_does_not_silence_another(start, tiny_checkpoint):
    def bad(header):
        image, depth = picture(header), depth_image(header)
        depth.encoding = "rgb8"
        if header.stamp.nanosec % 2:
            image.encoding = "nonsense"
        return {"image": image, "depth": depth}

    with start({"checkpoint": tiny_checkpoint, "depth_wait_s": 0.5}) as (node, robot):
        robot.segment(image_only)

        def both_logged(_sent):
            log = node.log.read_text(errors="replace")
            return "image dropped: " in log and "depth not used: " in log

        robot.publish_until(bad, both_logged, "both reports in the log", deadline_s=20)
        log = node.log.read_text(errors="replace")
        for text in ("image dropped: ", "depth not used: "):
            assert log.count(text) < 6  # and still each is throttled


def test_a_topic_of_another_type_is_named_with_the_launch_arguments_to_use(start, tiny_checkpoint):
    topic = "/cam/image_raw/compressed"
    with start({"checkpoint": tiny_checkpoint}, "--remap", f"image:={topic}") as (_, robot):
        robot.wait_for_state("active")
        robot.node.create_publisher(CompressedImage, topic, QoSProfile(depth=1))
        status, _ = robot.diagnostics(lambda s: "CompressedImage" in s.message, deadline_s=20)
        assert status.level == DiagnosticStatus.WARN
        assert "published as sensor_msgs/msg/CompressedImage, which this node does not hear there" in status.message
        assert "launch with image:=/cam/image_raw and image_transport:=compressed" in status.message


def test_an_empty_class_filter_is_all_classes(start, tiny_checkpoint, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    class_filter: []\n", encoding="utf-8")
    with start({"checkpoint": tiny_checkpoint}, "--params-file", str(parameters)) as (_, robot):

        def classes():
            return {d.results[0].hypothesis.class_id for d in robot.segment(image_only).detections.detections}

        assert "anode" in classes()
        assert robot.set_parameters(class_filter=["object"]) == ""
        assert "anode" not in classes()
        assert robot.set_parameters(class_filter=[]) == ""
        assert "anode" in classes()
        assert "give a list of names, such as ['anode', 'ship_hull']; [] is all" in robot.set_parameters(
            class_filter="anode"
        )


def test_simulated_time_that_has_not_begun_is_said_and_gives_no_ages(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "use_sim_time": "true"}) as (_, robot):
        robot.segment(image_only)
        status, values = robot.diagnostics(lambda s: "nothing has come on /clock" in s.message)
        assert status.level == DiagnosticStatus.WARN
        assert "play the bag with --clock" in status.message
        assert not [name for name in values if name.startswith("latency_ms")]


@pytest.mark.parametrize("name", ["max_age_s", "score_threshold"])
def test_a_whole_number_where_a_double_is_wanted_is_refused_with_the_way_to_write_it(start, name):
    with start({name: 1}) as (node, _):
        assert node.process.wait(60) == 2
        log = node.log.read_text(errors="replace")
    assert f"segment: Trying to set parameter '{name}' to '1' of type 'INTEGER'" in log
    assert "write it with a decimal point, as in 5.0" in log
