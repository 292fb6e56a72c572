"""What is there on request: numbers of tracks, sizes, and one image segmented now."""

import numpy as np
import pytest
from node_bench import calibration, depth_image, picture, stamp_ns_of
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection3DArray


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "depth_wait_s": 0.5}) as (_, robot):
        robot.wait_for_state("active")
        yield robot


def image_only(header):
    return {"image": picture(header)}


def everything(header):
    return {"image": picture(header), "depth": depth_image(header), "camera_info": calibration(header)}


def test_things_keep_their_numbers_while_they_are_followed(running):
    def ids():
        return [d.id for d in running.segment(image_only).detections.detections]

    assert set(ids()) == {""}
    assert running.set_parameters(tracking=True) == ""
    try:
        # a picture that does not change: whatever is found is the same thing again
        running.wait_until(lambda: (numbers := ids()) and all(numbers), "numbers")
        first, second = ids(), ids()
        assert first
        assert len(set(first)) == len(first)
        assert all(int(number) > 0 for number in first)
        assert second == first
    finally:
        assert running.set_parameters(tracking=False) == ""
    running.wait_until(lambda: set(ids()) == {""}, "no numbers any more")


def test_measurements_are_index_aligned_with_the_label_image(running):
    clouds = {}
    running.subscribe("/spda_sam/measurements", PointCloud2, lambda m: clouds.__setitem__(stamp_ns_of(m.header), m))

    def measured(sent):
        return next(((running.results[s], clouds[s]) for s in sent if s in clouds and s in running.results), None)

    result, cloud = running.publish_until(everything, measured, "measurements")
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "area_m2", "label"]
    kinds = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("area_m2", "<f4"), ("label", "<u4")]
    points = np.frombuffer(cloud.data, np.dtype(kinds))
    assert len(points)
    detections = result.detections.detections
    for point in points:
        position = detections[point["label"] - 1].results[0].pose.pose.position
        np.testing.assert_allclose(
            [point["x"], point["y"], point["z"]], [position.x, position.y, position.z], rtol=1e-4
        )
        assert point["z"] == pytest.approx(2.0, abs=1e-3)  # of the depth image, all of which is 2 m away
    assert (points["area_m2"][np.isfinite(points["area_m2"])] > 0).all()


def test_boxes_in_space_are_index_aligned_with_the_detections_and_carry_their_numbers(running):
    boxes = {}
    subscription = running.subscribe(
        "/spda_sam/detections_3d", Detection3DArray, lambda m: boxes.__setitem__(stamp_ns_of(m.header), m)
    )

    def boxed(sent):
        pairs = ((running.results[s], boxes[s]) for s in sent if s in boxes and s in running.results)
        return next(((r.detections, b) for r, b in pairs if r.complete and all(d.id for d in b.detections)), None)

    assert running.set_parameters(tracking=True) == ""
    try:
        in_image, in_space = running.publish_until(everything, boxed, "boxes in space")
    finally:
        assert running.set_parameters(tracking=False) == ""
    assert in_space.header == in_image.header
    assert [(d.id, d.results) for d in in_space.detections] == [(d.id, d.results) for d in in_image.detections]
    found = [d.bbox for d in in_space.detections if d.bbox.size.x]
    assert found
    for box in found:  # all of the depth image is 2 m away, 160x120 pixels at a focal length of 100
        assert (box.center.position.z, box.size.z) == pytest.approx((2.0, 0.0))
        assert box.size.x <= 2.0 * 160 / 100 + 1e-6
    without_depth = running.publish_until(
        image_only, lambda sent: sent if running.results.keys() & set(sent) else None, "a result"
    )
    running.spin(0.5)
    assert boxes.keys().isdisjoint(without_depth)
    running.node.destroy_subscription(subscription)


def test_the_newest_image_is_segmented_on_request_also_while_disabled(running):
    running.segment(image_only)
    assert running.call(SetBool, "/spda_sam/enable", SetBool.Request(data=False)).success
    try:
        before = int(running.diagnostics()[1].get("dropped.disabled", 0))

        def dropped(sent):
            return sent if int(running.diagnostics()[1].get("dropped.disabled", 0)) > before else None

        running.publish_until(image_only, dropped, "images that are dropped")
        running.spin(1.0)
        running.results.clear()
        answer = running.call(Trigger, "/spda_sam/segment", Trigger.Request())
        assert answer.success
        running.wait_until(lambda: any(r.complete for r in running.results.values()), "its result")
        (stamp,) = running.results
        assert f"the image of {stamp // 10**9}.{stamp % 10**9:09d} is being segmented" in answer.message
        running.spin(1.0)
        assert len(running.results) == 1
    finally:
        assert running.call(SetBool, "/spda_sam/enable", SetBool.Request(data=True)).success


def test_without_an_image_or_while_inactive_the_request_is_refused_with_the_reason(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "autostart": "false"}) as (_, robot):
        answer = robot.call(Trigger, "/spda_sam/segment", Trigger.Request())
        assert (answer.success, answer.message) == (False, "the node is unconfigured: activate it first")
        assert robot.transition("configure")
        assert robot.transition("activate")
        answer = robot.call(Trigger, "/spda_sam/segment", Trigger.Request())
        assert not answer.success
        assert "no image has come since activation" in answer.message
