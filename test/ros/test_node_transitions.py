"""Transitions that fail, or that the state does not have: said, answered, and nothing is left behind."""

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import picture, values_of

OK, ERROR = DiagnosticStatus.OK, DiagnosticStatus.ERROR
TOPICS = ("instances", "detections", "detections_3d", "overlay", "depth", "label_info")


def image_only(header):
    return {"image": picture(header)}


def publishers_left(robot):
    return [t for t in TOPICS if robot.node.get_publishers_info_by_topic(f"{robot.name}/{t}")]


def inputs_left(robot):
    return [t for t in ("image", "depth", "camera_info") if robot.node.get_subscriptions_info_by_topic(f"/{t}")]


def nothing_is_at_hand(status):
    values = values_of(status)
    return int(values["frames_out"]) + int(values["dropped"]) == int(values["frames_in"])


def assert_nothing_is_left(robot, checkpoint):
    """The node is unconfigured, has no topic of a configured one, and its parameters may change."""
    assert robot.state() == "unconfigured"
    robot.wait_until(lambda: not publishers_left(robot) and not inputs_left(robot), "no topics", deadline_s=10)
    assert robot.set_parameters(checkpoint="other") == ""
    assert robot.set_parameters(checkpoint=str(checkpoint)) == ""


@pytest.mark.parametrize(
    ("override", "value"),
    [
        pytest.param("/image.subscription.reliability", "best-effort", marks=pytest.mark.slow),
        pytest.param("/camera_info.subscription.reliability", "relyable", marks=pytest.mark.slow),
        pytest.param("/depth.subscription.depth", "three", marks=pytest.mark.slow),
        ("/spda_sam/detections.publisher.reliability", "best-effort"),
        pytest.param("/spda_sam/label_info.publisher.history", "keep-all", marks=pytest.mark.slow),
    ],
)
def test_an_override_that_is_no_policy_is_an_error_that_names_it_and_nothing_is_left(
    start, tiny_checkpoint, override, value
):
    name = f"qos_overrides.{override}"
    with start({"checkpoint": tiny_checkpoint, name: value}) as (node, robot):
        status, values = robot.diagnostics(lambda s: s.level == ERROR, deadline_s=60)
        assert values["state"] == "unconfigured"
        assert name.rpartition(".")[0] in status.message
        assert value in status.message or "depth" in override
        assert values["last_error"] in status.message
        assert "Traceback (most recent call last)" in node.log.read_text()
        assert_nothing_is_left(robot, tiny_checkpoint)
        robot.spin(7)  # longer than a problem is remembered: it stays what it is
        assert robot.diagnostics()[0].level == ERROR


@pytest.mark.parametrize("transition", ["cleanup", pytest.param("shutdown", marks=pytest.mark.slow)])
def test_a_model_that_cannot_be_given_back_is_an_error_and_nothing_else_is_left(
    start, tiny_checkpoint, tmp_path, transition
):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        robot.diagnostics(nothing_is_at_hand, deadline_s=60)  # or the model is given back later, on a busy machine
        (tmp_path / "close").write_text("the driver is gone")
        if transition == "cleanup":
            assert robot.transition("deactivate")
        assert not robot.transition(transition)
        status, _ = robot.diagnostics(lambda s: s.level == ERROR)
        assert f"{transition} failed: RuntimeError: the driver is gone" in status.message
        assert "raise RuntimeError(text)" in node.log.read_text()
        assert_nothing_is_left(robot, tiny_checkpoint)
        (tmp_path / "close").unlink()
        assert robot.transition("configure")
        assert robot.diagnostics()[0].level == OK
        assert robot.transition("activate")
        robot.segment(image_only)
        assert node.stop() == 0


def test_a_session_that_cannot_be_closed_is_an_error_and_nothing_of_it_is_left(start, tiny_checkpoint, tmp_path):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        threads = len(list(Path(f"/proc/{node.process.pid}/task").iterdir()))
        (tmp_path / "inputs").write_text("no such reader")
        assert not robot.transition("deactivate")
        status, _ = robot.diagnostics(lambda s: s.level == ERROR)
        assert "unconfigured: deactivate failed: RuntimeError: no such reader" in status.message
        assert_nothing_is_left(robot, tiny_checkpoint)
        assert len(list(Path(f"/proc/{node.process.pid}/task").iterdir())) < threads
        (tmp_path / "inputs").unlink()
        assert robot.transition("configure")
        assert robot.transition("activate")
        robot.segment(image_only)
        assert node.stop() == 0


def test_a_node_put_to_rest_is_ok_whatever_went_wrong_before(start, tiny_checkpoint, tmp_path):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        (tmp_path / "raise").write_text("out of memory")
        robot.publish_until(
            image_only, lambda sent: robot.diagnostics()[0].level == ERROR, "an error while inference fails"
        )
        log = node.log.read_text()
        assert "RuntimeError: out of memory" in log
        assert "in predict_batch" in log
        (tmp_path / "raise").unlink()
        for transition, label in (("deactivate", "inactive"), ("cleanup", "unconfigured")):
            assert robot.transition(transition)
            status, values = robot.diagnostics()
            assert (status.level, status.message) == (OK, label)
            assert "out of memory" in values["last_error"]


def test_a_transition_that_the_state_does_not_have_is_answered_and_changes_nothing(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint}) as (node, robot):
        robot.wait_for_state("active")
        for transition in ("configure", "activate", "cleanup", 0, 8, 10, 60, 200):
            assert not robot.transition(transition)
            assert robot.state() == "active"
        robot.segment(image_only)
        assert robot.transition("deactivate")
        for transition in ("deactivate", "configure", "shutdown"):
            assert not robot.transition(transition)
            assert robot.state() == "inactive"
        assert robot.diagnostics()[0].level == OK
        assert "configure is not possible in state active" in node.log.read_text()
        assert node.stop() == 0
