"""Overlays are drawn beside the masks: late, wrong or stuck, they take nothing from them."""

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import picture, stamp_ns, values_of
from sensor_msgs.msg import Image

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint, faults):
    with start({"checkpoint": tiny_checkpoint}, faults=faults) as (node, robot):
        robot.wait_for_state("active")
        yield node, robot
        assert node.stop() == 0


@pytest.fixture
def overlays(running):
    """Overlays by stamp, as they come."""
    _, robot = running
    got = {}
    subscription = robot.subscribe("/spda_sam/overlay", Image, lambda m: got.__setitem__(stamp_ns(m), m))
    yield got
    robot.node.destroy_subscription(subscription)


def image_only(header):
    return {"image": picture(header)}


def time_ns(time):
    return time.sec * 10**9 + time.nanosec


def threads(node):
    return len(list(Path(f"/proc/{node.process.pid}/task").iterdir()))


def test_an_overlay_has_the_header_of_the_image_that_it_shows(running, overlays):
    _, robot = running
    stamp = robot.publish_until(
        image_only, lambda sent: next((s for s in sent if s in overlays and s in robot.results), None), "an overlay"
    )
    assert overlays[stamp].header == robot.results[stamp].labels.header
    assert (overlays[stamp].encoding, overlays[stamp].height, overlays[stamp].width) == ("rgb8", 120, 160)
    assert float(robot.diagnostics()[1]["draw_ms_p50"]) > 0


def test_annotations_come_for_the_same_images_while_someone_subscribes(running):
    messages = pytest.importorskip("foxglove_msgs.msg")
    _, robot = running
    got = []
    subscription = robot.subscribe("/spda_sam/annotations", messages.ImageAnnotations, got.append)

    def annotated(sent):
        pairs = ((m, robot.results.get(time_ns(m.texts[0].timestamp))) for m in got if m.texts)
        return next(((m, r) for m, r in pairs if r is not None and r.complete), None)

    message, result = robot.publish_until(image_only, annotated, "annotations")
    hypotheses = [d.results[0].hypothesis for d in result.detections.detections]
    assert [text.text for text in message.texts] == [f"{h.class_id} {h.score:.2f}" for h in hypotheses]
    assert len(message.points) >= len(message.texts)
    robot.node.destroy_subscription(subscription)


def test_masks_do_not_wait_for_a_picture_that_takes_long_and_the_newest_is_drawn_next(running, overlays, faults):
    _, robot = running
    (faults / "draw").write_text("600")
    robot.publish_until(image_only, lambda sent: len(robot.results.keys() & set(sent)) >= 4, "masks", pause_s=0.3)
    assert not overlays.keys() & set(list(robot.results)[-3:])
    _, values = robot.diagnostics(lambda s: int(values_of(s).get("event.not_drawn", 0)) >= 2)
    assert "no result" not in values["last_error"]
    newest = max(robot.results)
    (faults / "draw").unlink()
    robot.wait_until(lambda: newest in overlays, "a picture of the newest result")


def test_a_picture_that_cannot_be_drawn_is_a_warning_and_masks_come_nevertheless(running, overlays, faults):
    node, robot = running
    (faults / "paint").write_text("no such font")

    def said(sent):
        return next((s for s in robot.statuses if "no such font" in s.message), None)

    robot.statuses.clear()
    status = robot.publish_until(image_only, said, "a warning")
    assert status.level == WARN
    assert "pictures failed: RuntimeError: no such font" in status.message
    assert "in draw_instances" in node.log.read_text()
    robot.results.clear()
    assert robot.segment(image_only).detections.detections
    assert "dropped.inference_error" not in robot.diagnostics()[1]
    (faults / "paint").unlink()
    overlays.clear()
    robot.publish_until(image_only, lambda sent: overlays, "overlays again")
    robot.publish_until(image_only, lambda sent: robot.diagnostics()[0].level == OK, "OK again")


def test_a_picture_that_is_being_drawn_holds_up_no_transition_and_leaves_no_thread(running, overlays, faults):
    node, robot = running
    robot.publish_until(image_only, lambda sent: overlays, "an overlay")
    assert robot.transition("deactivate")
    at_rest = threads(node)
    for _ in range(3):
        assert robot.transition("activate")
        robot.publish_until(image_only, lambda sent: set(sent) & overlays.keys(), "an overlay")
        assert robot.transition("deactivate")
        robot.wait_until(lambda: threads(node) <= at_rest, "as many threads as before")
    assert robot.transition("activate")
    (faults / "draw").write_text("600")
    robot.publish_until(image_only, lambda sent: robot.results.keys() & set(sent), "masks")
    began = robot.now()
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert (robot.now() - began) / 1e9 < 300  # and not the ten minutes of the picture
    overlays.clear()
    (faults / "draw").unlink()
    robot.wait_until(lambda: threads(node) <= at_rest, "no thread any more")
    assert not overlays
    assert robot.diagnostics()[0].level == OK
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.publish_until(image_only, lambda sent: set(sent) & overlays.keys(), "an overlay")
