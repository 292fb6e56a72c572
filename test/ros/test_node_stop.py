"""SIGINT and SIGTERM end the node, whatever it is at: exit code 0, no traceback, and nothing that holds it up."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_bench import depth_image, environment, free_domain, picture, stamp_ns_of

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LONG_S = "120"
SOON_S = 10.0
"""Far more than it takes, and far less than what the node is at takes."""


def image_only(header):
    return {"image": picture(header)}


def stopped(node, *numbers):
    """Send signals; assert that the node ends soon and well."""
    for number in numbers:
        node.process.send_signal(number)
    began = time.monotonic()
    assert node.process.wait(60) == 0
    assert time.monotonic() - began < SOON_S
    assert "Traceback" not in node.log.read_text(errors="replace")


def listens(pid):
    """Whether a process has a handler for SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    caught = int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["spda_sam_ros.node", "spda_sam_ros.segment"])
def test_from_the_first_line_on(module, number):
    code = f"import runpy, sys; sys.argv = ['segment']; runpy.run_module({module!r}, run_name='__main__')"
    if module == "spda_sam_ros.segment" and number == signal.SIGINT:
        code = (
            f"import sys; sys.argv = ['segment']; from {module} import main; sys.exit(main())"  # as console scripts do
        )
    for delay_s in (0.0, 0.1, 0.3, 0.6, 1.0, 1.5):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment(free_domain())
        )
        while not listens(process.pid):
            time.sleep(0.001)
        time.sleep(delay_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in errors) == (0, False), errors


@pytest.mark.parametrize("number", SIGNALS)
def test_while_a_model_loads(start, tiny_checkpoint, tmp_path, number):
    (tmp_path / "load").write_text(LONG_S)
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        status, _ = robot.diagnostics(lambda s: s.message.startswith("loading for"), deadline_s=60)
        assert status.level == DiagnosticStatus.OK
        stopped(node, number)


@pytest.mark.parametrize(
    "steps", [(), pytest.param(("configure",), marks=pytest.mark.slow), ("configure", "activate", "deactivate")]
)
def test_in_a_state_of_rest(start, tiny_checkpoint, steps):
    with start({"checkpoint": tiny_checkpoint, "autostart": "false"}) as (node, robot):
        for step in steps:
            assert robot.transition(step)
        robot.state()
        stopped(node, signal.SIGTERM)


def test_after_a_shutdown_by_the_service(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint}) as (node, robot):
        robot.wait_for_state("active")
        assert robot.transition("shutdown")
        assert robot.state() == "finalized"
        stopped(node, signal.SIGINT)


def test_with_images_coming_and_signals_more_than_one(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint}) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        for _ in range(20):
            robot.publish(image_only)
            robot.spin(0.02)
        stopped(node, signal.SIGINT, signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", [SIGNALS[0], *(pytest.param(s, marks=pytest.mark.slow) for s in SIGNALS[1:])])
def test_while_a_frame_hangs(start, tiny_checkpoint, tmp_path, number):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        (tmp_path / "frame").write_text(LONG_S)
        robot.publish_until(image_only, lambda sent: len(sent) > 5, "frames")
        stopped(node, number)


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_while_a_driver_does_not_return(start, tiny_checkpoint, tmp_path, when):
    """The signal comes while the node is stuck in a call of it, or brings it there."""
    (tmp_path / "stuck").touch()
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        if when == "before":
            assert robot.transition("deactivate")
            client = robot.node.create_client(ChangeState, "/spda_sam/change_state")
            robot.wait_until(client.service_is_ready, "change_state")
            client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CLEANUP)))
            robot.spin(1)
        stopped(node, signal.SIGTERM)
        assert "could not end in order within 5 s" in node.log.read_text()


def test_while_an_image_waits_for_its_depth(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "depth_wait_s": 5.0}) as (node, robot):
        robot.wait_for_state("active")
        waits_for_depth(robot)
        began = time.monotonic()
        assert robot.transition("deactivate")
        assert time.monotonic() - began < 4
        assert robot.transition("activate")
        waits_for_depth(robot)
        stopped(node, signal.SIGINT)


def waits_for_depth(robot):
    """Depth falls behind the images, so that the node waits for it."""

    def depth_then_images(header):
        late = robot.header(stamp_ns_of(header) - 800_000_000)
        return {"image": picture(header), "depth": depth_image(late)}

    robot.publish_until(depth_then_images, lambda sent: len(sent) > 8, "frames", pause_s=0.1)


def test_a_frame_given_up_is_heard_of_no_more_and_the_next_session_is_as_good_as_new(start, tiny_checkpoint, tmp_path):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        robot.segment(image_only)
        (tmp_path / "frame").write_text(LONG_S)
        stamps = robot.publish_until(image_only, lambda sent: len(sent) > 5 and sent, "frames")
        (began, _) = (time.monotonic(), robot.transition("deactivate"))
        assert time.monotonic() - began < 5
        assert robot.state() == "inactive"
        assert robot.transition("activate")
        (tmp_path / "raise").write_text("of the frame given up")
        robot.spin(0.5)
        (tmp_path / "frame").unlink()  # which ends it with an error
        robot.spin(1.5)
        (tmp_path / "raise").unlink()
        robot.segment(image_only)
        _, values = robot.diagnostics(lambda s: "Hz" in s.message)
        assert "given up" not in values["last_error"]
        assert values.get("dropped.inference_error", "0") == "0"
        assert not robot.results.keys() & set(stamps[2:])
        assert int(values["frames_out"]) + int(values["dropped"]) <= int(values["frames_in"])
        assert node.stop() == 0


def test_a_model_cleaned_up_under_a_hanging_frame_is_given_back_and_another_loaded(start, tiny_checkpoint, tmp_path):
    with start({"checkpoint": tiny_checkpoint}, faults=tmp_path) as (node, robot):
        robot.wait_for_state("active")
        (tmp_path / "frame").write_text(LONG_S)
        robot.publish_until(image_only, lambda sent: len(sent) > 5, "frames")
        assert robot.transition("deactivate")
        assert robot.transition("cleanup")
        (tmp_path / "frame").write_text("0")
        assert robot.transition("configure")
        assert robot.transition("activate")
        robot.segment(image_only)
        assert node.stop() == 0
        assert "Traceback" not in node.log.read_text()
