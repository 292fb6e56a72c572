"""Several cameras in one node, over DDS: each has all that a node of its own would give it, whatever the others do."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_bench import Robot, calibration, depth_image, picture, stamp_ns_of, values_of
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import LabelInfo

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint):
    parameters = {"checkpoint": tiny_checkpoint, "cameras": "[front, port]", "depth_wait_s": 5.0}
    with (
        start(parameters) as (_, robot),
        Robot(robot.domain, camera="front") as front,
        Robot(robot.domain, camera="port") as port,
    ):
        robot.wait_for_state("active")
        yield robot, front, port


@pytest.fixture
def cameras(running):
    """Both cameras, in a session that has just begun."""
    robot, front, port = running
    assert robot.transition("deactivate")
    assert robot.transition("activate")
    for camera in (front, port):
        camera.results.clear()
    return front, port


def image_only(header):
    return {"image": picture(header)}


def small(header):
    return {"image": picture(header, height=60, width=80)}


def broken(header):
    message = picture(header)
    message.encoding = "cmyk"
    return {"image": message}


def at(metres):
    def rgbd(header):
        return {
            "image": picture(header),
            "depth": depth_image(header, metres=metres),
            "camera_info": calibration(header),
        }

    return rgbd


def test_each_has_the_topics_results_and_status_that_a_node_in_its_namespace_has(running, cameras):
    robot, (front, port) = running[0], cameras
    assert front.segment(image_only).label_array.shape == (120, 160)
    assert port.segment(small).label_array.shape == (60, 80)
    assert not robot.results
    assert not robot.node.get_publishers_info_by_topic("/spda_sam/instances")
    for camera in cameras:
        got = []
        camera.subscribe(f"{camera.outputs}/label_info", LabelInfo, got.append, latched=True)
        camera.wait_until(lambda got=got: got, "label_info for a late subscriber")
        assert [c.class_name for c in got[0].class_map] == ["anode", "object"]
    arrays = []
    robot.subscribe("/diagnostics", DiagnosticArray, arrays.append)
    robot.wait_until(lambda: arrays, "diagnostics")
    assert [status.name for status in arrays[-1].status] == ["front/spda_sam", "port/spda_sam"]
    before = [int(camera.diagnostics()[1]["frames_in"]) for camera in cameras]
    front.segment(image_only)
    counted = front.diagnostics(lambda s: int(values_of(s)["frames_in"]) > before[0])[1]
    assert (counted["frames_out"] != "0", port.diagnostics()[1]["frames_in"]) == (True, str(before[1]))


def test_a_fast_camera_does_not_starve_a_slow_one(cameras):
    published = {}  # by camera and stamp of the image, when the node published its labels, by the node's clock

    def listen(camera):
        def heard(message, info):
            published[camera.camera, stamp_ns_of(message.header)] = info["source_timestamp"]

        camera.subscribe(f"{camera.outputs}/instances", Image, heard)

    front, port = cameras
    listen(front)
    listen(port)
    front.segment(image_only)
    port.segment(image_only)
    slow, began = [], time.monotonic()
    while time.monotonic() - began < 8 or len(slow) < 8:
        slow.append(port.publish(image_only))
        until = time.monotonic() + 0.5  # 2 Hz beside 30 Hz
        while time.monotonic() < until or ("port", slow[-1]) not in published:
            assert time.monotonic() - began < DEADLINE_S
            front.publish(image_only)
            front.spin(1 / 60)
            port.spin(1 / 60)
    front.spin(1.0)
    between = [
        sum(name == "front" and stamp > of and at < published["port", of] for (name, stamp), at in published.items())
        for of in slow
    ]
    # of the fast one's later images, one that came to its turn just before
    assert max(between) <= 2, between
    assert int(front.diagnostics()[1]["dropped.busy"]) > 0


def test_a_camera_that_sends_rubbish_and_then_dies_is_its_own_warning_alone(cameras):
    front, port = cameras
    port.segment(image_only)

    def both(header):
        front.publish(broken)
        return image_only(header)

    port.publish_until(
        both, lambda sent: "cmyk" in front.diagnostics()[0].message, "a warning about the first camera", pause_s=0.1
    )
    assert port.segment(both, pause_s=0.1).detections.detections
    status, values = port.diagnostics()
    assert (status.level, values["last_error"]) == (OK, "")
    assert "dropped.bad_image" not in values

    def starved(sent):
        return next((s for s in front.statuses if "no image on /front/image for" in s.message), None)

    def of_both(sent):
        front.spin(0.01)
        return starved(sent)

    front.statuses.clear()
    assert port.publish_until(image_only, of_both, "a warning about the camera that died").level == WARN
    assert port.diagnostics()[0].level == OK


def test_depth_that_lets_wait_holds_up_no_other_camera(cameras):
    front, port = cameras

    def half_a_second_behind(header):
        late = front.header(stamp_ns_of(header) - 5 * 10**8)
        return {"image": picture(header), "depth": depth_image(late)}

    port.segment(image_only)
    front.publish(half_a_second_behind)
    front.spin(0.5)
    stamp = front.publish(half_a_second_behind)
    answered = 0
    for _ in range(3):
        port.segment(image_only, pause_s=0.05)
        front.spin(0.05)
        answered += stamp not in front.results
    assert answered == 3
    # and it is not lost: it is segmented without depth in the end
    front.wait_until(lambda: stamp in front.results, "the image whose depth never came")


def test_each_pairs_depth_and_calibration_of_its_own_and_follows_things_of_its_own(running, cameras):
    robot = running[0]
    assert robot.set_parameters(tracking=True) == ""
    try:
        for camera, metres in zip(cameras, (2.0, 5.0), strict=True):

            def positioned(sent, camera=camera):
                results = [camera.results[s] for s in sent if s in camera.results and camera.results[s].complete]
                found = [d for r in results for d in r.detections.detections]
                return [d for d in found if d.results[0].pose.covariance[0] != -1.0 and d.id]

            found = camera.publish_until(at(metres), positioned, "detections with a position and a number")
            assert {d.results[0].pose.pose.position.z for d in found} == {metres}
            assert min(int(d.id) for d in found) == 1
    finally:
        assert robot.set_parameters(tracking=False) == ""


def test_pictures_are_drawn_for_the_camera_whose_are_asked_for(cameras):
    front, port = cameras
    got = []
    subscription = port.subscribe("/port/spda_sam/overlay", Image, got.append)
    front.segment(image_only)
    port.publish_until(small, lambda sent: got, "an overlay")
    assert {(m.height, m.width) for m in got} == {(60, 80)}
    port.node.destroy_subscription(subscription)


def test_the_newest_image_of_each_is_segmented_on_request(running, cameras):
    robot, (front, _) = running[0], cameras
    answer = robot.call(Trigger, "/spda_sam/segment", Trigger.Request())
    assert not answer.success
    assert all(f"no image has come since activation on /{name}/image" in answer.message for name in ("front", "port"))
    front.segment(image_only)
    front.results.clear()
    answer = robot.call(Trigger, "/spda_sam/segment", Trigger.Request())
    assert answer.success
    assert "see front/spda_sam/instances and front/spda_sam/detections" in answer.message
    assert "no image has come since activation on /port/image" in answer.message
    front.wait_until(lambda: any(r.complete for r in front.results.values()), "its result")


def test_cameras_change_while_unconfigured_and_leave_no_topic(start, tiny_checkpoint):
    with start({"checkpoint": tiny_checkpoint, "autostart": "false", "cameras": "[front]"}, "-r", "__ns:=/rov") as (
        node,
        robot,
    ):
        services = Robot(robot.domain, name="/rov/spda_sam")
        with services:
            assert services.transition("configure")
            assert "while the model is loaded" in services.set_parameters(cameras=["port"])
            assert robot.node.get_publishers_info_by_topic("/rov/front/spda_sam/instances")
            assert services.transition("cleanup")
            assert services.set_parameters(cameras=["stern", "bow"]) == ""
            assert services.transition("configure")
            assert services.transition("activate")
            for name in ("stern", "bow"):
                assert robot.node.get_subscriptions_info_by_topic(f"/rov/{name}/image")
            robot.wait_until(
                lambda: not robot.node.get_publishers_info_by_topic("/rov/front/spda_sam/instances"),
                "no topic of front",
            )
            assert services.transition("shutdown")
            assert node.stop() == 0
