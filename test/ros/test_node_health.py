"""What a robot learns from /diagnostics when things go wrong that raise no error."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_bench import calibration, depth_image, picture

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def running(start, tiny_checkpoint, faults):
    """One node for the whole file; each test begins a session of its own."""
    with start({"checkpoint": tiny_checkpoint}, faults=faults) as (node, robot):
        robot.wait_for_state("active")
        yield node, robot
        assert node.stop() == 0


@pytest.fixture
def robot(running):
    _, robot = running
    assert robot.transition("deactivate")
    assert robot.transition("activate")
    robot.results.clear()
    return robot


def image_only(header):
    return {"image": picture(header)}


def with_depth(header):
    return {"image": picture(header), "depth": depth_image(header)}


def calibrated(header):
    return {**with_depth(header), "camera_info": calibration(header)}


def statuses_while(robot, make_messages, seconds, **options):
    """The statuses that come while frames are published for some time."""
    robot.statuses.clear()
    end = robot.now() + seconds * 10**9
    robot.publish_until(make_messages, lambda sent: robot.now() > end, "the time", **options)
    return list(robot.statuses)


def test_a_network_that_hangs_is_a_warning_then_an_error_that_says_for_how_long(running, robot, faults):
    node, _ = running
    robot.publish_until(image_only, lambda sent: len(robot.results) > 3, "results")
    assert robot.diagnostics(lambda s: "Hz" in s.message)[0].level == OK
    (faults / "frame").write_text("600")
    statuses = statuses_while(robot, image_only, 15)
    (faults / "frame").unlink()
    levels = [status.level for status in statuses]
    assert levels == sorted(levels)
    assert {WARN, ERROR} <= set(levels)
    said = [int(s.message.split("no result for ")[1].split(" s")[0]) for s in statuses if s.level != OK]
    assert said == sorted(said)
    assert said[-1] >= 11
    assert "the frame at hand is not done" in statuses[-1].message
    assert "no result for" in node.log.read_text()
    robot.segment(image_only)
    assert robot.publish_until(
        image_only, lambda sent: robot.diagnostics()[0].level == OK, "OK once results come again"
    )


def test_a_network_that_hangs_is_an_error_also_when_images_have_ended(robot, faults):
    robot.segment(image_only)
    (faults / "frame").write_text("600")
    robot.publish_until(image_only, lambda sent: len(sent) > 4, "frames")
    status, _ = robot.diagnostics(lambda s: s.level == ERROR, deadline_s=30)
    (faults / "frame").unlink()
    assert "no result for" in status.message
    assert "no image on /image" in status.message


def test_images_none_of_which_can_be_used_are_an_error_in_time(robot):
    def broken(header):
        message = picture(header)
        message.encoding = "cmyk"
        return {"image": message}

    levels = [status.level for status in statuses_while(robot, broken, 14)]
    assert (WARN in levels, levels[-1]) == (True, ERROR)


def test_a_device_that_does_not_answer_is_an_error_and_diagnostics_go_on(robot, faults):
    robot.segment(image_only)
    (faults / "facts").write_text("the device has fallen off the bus")
    status = statuses_while(robot, image_only, 3)[-1]
    (faults / "facts").unlink()
    assert status.level == ERROR
    assert "RuntimeError: the device has fallen off the bus" in status.message
    robot.publish_until(image_only, lambda sent: robot.diagnostics()[0].level == OK, "OK once it answers again")


def test_depth_that_stopped_stays_a_warning_and_its_numbers_are_told_no_more(robot):
    def measured(sent):
        return int(robot.diagnostics()[1].get("depth_source.sensor", 0)) > 0

    robot.publish_until(calibrated, measured, "frames with depth")
    robot.publish_until(calibrated, lambda sent: robot.diagnostics()[0].level == OK, "OK with depth")
    late = statuses_while(robot, image_only, 10)[-3:]
    for status in late:
        assert status.level == WARN
        assert "depth on /depth stopped" in status.message
        assert not [value.key for value in status.values if value.key.startswith(("depth_valid", "depth_skew"))]
    robot.publish_until(calibrated, lambda sent: robot.diagnostics()[0].level == OK, "OK once depth is back")


def test_depth_without_calibration_is_a_warning_that_says_what_lacks(robot):
    def said(sent):
        status, _ = robot.diagnostics()
        return status if "no 3-D positions" in status.message else None

    status = robot.publish_until(with_depth, said, "the reason")
    assert status.level == WARN
    assert "no camera_info on /camera_info, 1 publisher(s): remap camera_info" in status.message
    robot.publish_until(calibrated, lambda sent: robot.diagnostics()[0].level == OK, "OK with calibration")


@pytest.mark.parametrize(
    "stamp_ns",
    [pytest.param(0, marks=pytest.mark.slow, id="zero"), pytest.param(1_700_000_000 * 10**9, id="standing still")],
)
def test_of_depths_of_one_stamp_the_newest_is_used_and_the_stamp_a_warning(robot, stamp_ns):
    heights = iter(range(1, 10**6))

    def eight_depths_then_the_image(header):
        for _ in range(8):
            robot.publishers["depth"].publish(depth_image(header, metres=float(next(heights))))
            robot.spin(0.05)
        return {"image": picture(header), "camera_info": calibration(header)}

    def positions():
        result = robot.results.get(stamp_ns)
        poses = [d.results[0].pose for d in result.detections.detections] if result and result.detections else []
        return [pose.pose.position.z for pose in poses if pose.covariance[0] != -1.0]

    same = iter(lambda: stamp_ns, None)
    depths_m = set()

    def enough(sent):
        depths_m.update(positions())
        robot.results.clear()
        return len(depths_m) >= 3

    robot.publish_until(eight_depths_then_the_image, enough, "positions", stamps=same, pause_s=1.0)
    assert {z % 8 for z in depths_m} == {0.0}
    status, _ = robot.diagnostics()
    assert status.level == WARN
    assert f"the stamp of image {'is 0' if not stamp_ns else 'stands still at'}" in status.message
    assert "depth_stamp: the stamp of depth" in status.message


NO_PROFILE = dict.fromkeys(("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"))


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({}, "this node has the Fast DDS profile"),
        pytest.param(
            NO_PROFILE,
            "the shared memory of Fast DDS is too small for large images: set FASTRTPS_DEFAULT_PROFILES_FILE",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["the node has the profile", "nobody has it"],
)
def test_images_lost_on_the_way_are_counted_and_a_warning_says_what_both_sides_need(
    start, tiny_checkpoint, variables, text
):
    def large(header):
        return {"image": picture(header, height=720, width=1280)}

    with start({"checkpoint": tiny_checkpoint}, variables=variables) as (_, robot):  # the robot has no profile
        robot.wait_for_state("active")
        robot.publish_until(image_only, lambda sent: len(robot.results) > 3, "results")
        assert robot.diagnostics()[1]["lost.image"] == "0"

        def said(sent):
            return next((s for s in robot.statuses if "lost on the way" in s.message), None)

        robot.statuses.clear()
        status = robot.publish_until(large, said, "losses", pause_s=0.05)
        assert status.level == WARN
        assert "of the messages on /image in the last 5 s were lost on the way" in status.message
        assert text in status.message
        assert "the camera needs it too" in status.message
        assert int(robot.diagnostics()[1]["lost.image"]) >= 3
        robot.publish_until(image_only, lambda sent: robot.diagnostics()[0].level == OK, "OK with small images")
