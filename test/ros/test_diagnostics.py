"""The level tells whether to worry, the message why, and the counts add up."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from spda_sam_ros.diagnostics import make_status
from spda_sam_ros.health import Activity, NodeState
from spda_sam_ros.node_statistics import RECENT_S, NodeStatistics
from spda_sam_ros.streams import Stream
from spda_sam_ros.watchdog import Lag

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Clock:
    now_s = 50.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def statistics(clock):
    return NodeStatistics(clock)


ABSENT = {topic: Stream(f"/camera/{topic}", 1, None, 0.0) for topic in ("image", "depth", "camera_info")}


def activity(**changes):
    return Activity(**{"active_s": 100.0, "lag": Lag(0, 0, 0, 0), **ABSENT, **changes})


def state(**changes):
    fields = {
        "lifecycle": "active",
        "failed_transition": "",
        "enabled": True,
        "activity": activity() if changes.get("lifecycle", "active") == "active" else None,
        "loading_s": 0.0,
        "given_up_s": 0.0,
        "qos_problems": {},
        "facts": {"device": "cpu"},
    }
    return NodeState(**{**fields, **changes})


def status(statistics, **changes):
    return make_status("spda_sam", statistics.snapshot(), state(**changes))


def values(message):
    return {item.key: item.value for item in message.values}


def test_a_running_node_is_ok_and_tells_its_numbers(statistics, clock):
    for i in range(100):
        clock.now_s += 0.1
        statistics.count_in()
        if i % 2:
            statistics.count_out("sensor", {"latency_ms": float(i), "depth_skew_ms": -3.0})
        else:
            statistics.count_drop("busy")
    message = status(statistics)
    assert message.level == OK
    numbers = values(message)
    assert float(numbers["rate_in_hz"]) == pytest.approx(10, abs=0.5)
    assert float(numbers["rate_out_hz"]) == pytest.approx(5, abs=0.5)
    assert (numbers["frames_in"], numbers["frames_out"], numbers["dropped"]) == ("100", "50", "50")
    assert numbers["dropped.busy"] == "50"
    assert numbers["depth_source.sensor"] == "50"
    # odd numbers 1..99: median 50, 95th percentile 94.1 by linear interpolation
    assert (numbers["latency_ms_p50"], numbers["latency_ms_p95"]) == ("50.0", "94.1")
    assert numbers["depth_skew_ms_p50"] == "-3.0"
    assert message.hardware_id == "cpu"


@pytest.mark.parametrize("frames", [1, 3, 20])
def test_rates_are_right_from_the_first_second(statistics, clock, frames):
    for _ in range(frames):
        clock.now_s += 0.25
        statistics.count_in()
    assert statistics.snapshot().rate_in_hz == pytest.approx(4.0 if frames > 1 else 1 / RECENT_S)


def test_a_silent_camera_is_a_warning_with_the_topic(statistics, clock):
    assert "no image on /camera/image for 100 s, 1 publisher" in status(statistics).message
    statistics.count_in()
    assert status(statistics).level == OK
    clock.now_s += 7
    message = status(statistics)
    assert message.level == WARN
    assert "for 7 s" in message.message
    assert "remap image" in status(statistics, activity=activity(image=Stream("/camera/image", 0, 7, 9))).message
    assert status(statistics, activity=activity(active_s=1.0)).level == OK


def test_incompatible_qos_explains_the_silence(statistics):
    message = status(statistics, qos_problems={"/camera/image": "incompatible reliability"})
    assert message.level == WARN
    assert "incompatible reliability" in message.message
    assert values(message)["incompatible_qos./camera/image"] == "incompatible reliability"


def test_failing_inference_is_an_error_until_it_is_past(statistics, clock):
    statistics.count_in()
    statistics.problem("inference", "out of memory")
    message = status(statistics)
    assert message.level == ERROR
    assert message.message == "inference failed: out of memory"
    clock.now_s += RECENT_S + 0.1
    statistics.count_in()
    message = status(statistics)
    assert message.level == OK
    assert values(message)["last_error"] == "out of memory"


def test_a_dropped_image_is_a_warning(statistics):
    statistics.count_in()
    statistics.problem("bad_image", "image dropped: data has 10 bytes")
    assert status(statistics).level == WARN
    assert "data has 10 bytes" in status(statistics).message


@pytest.mark.parametrize("lifecycle", ["inactive", "unconfigured"])
def test_a_failed_transition_is_an_error_for_as_long_as_it_is_the_last(statistics, lifecycle):
    message = status(statistics, lifecycle=lifecycle, failed_transition="configure failed: no such file")
    assert message.level == ERROR
    assert message.message == f"{lifecycle}: configure failed: no such file"
    assert values(message)["last_error"] == "configure failed: no such file"


@pytest.mark.parametrize("lifecycle", ["inactive", "unconfigured"])
def test_a_node_at_rest_is_ok_whatever_went_wrong_before(statistics, lifecycle):
    statistics.problem("inference", "out of memory")
    message = status(statistics, lifecycle=lifecycle)
    assert (message.level, message.message) == (OK, lifecycle)
    assert values(message)["last_error"] == "out of memory"


def test_a_node_switched_off_is_ok(statistics):
    assert status(statistics, enabled=False).level == OK


@pytest.mark.parametrize(("seconds", "level"), [(59, OK), (61, WARN)])
def test_loading_that_does_not_end_is_a_warning(statistics, seconds, level):
    assert status(statistics, lifecycle="configuring", loading_s=float(seconds)).level == level


@pytest.mark.parametrize("seconds", [12, 130])
def test_what_loading_is_at_is_told(statistics, seconds):
    at = "engine of tiny.onnx: Building: Tactic profiling, 10 s"
    message = status(statistics, lifecycle="configuring", loading_s=float(seconds), loading=at).message
    assert message.startswith(f"loading for {seconds} s ({at})")
    assert status(statistics, lifecycle="configuring", loading_s=float(seconds)).message.startswith(
        f"loading for {seconds} s"
    )


def test_measurements_of_long_ago_are_no_longer_told(statistics, clock):
    statistics.count_out("sensor", {"depth_valid_percent": 100.0})
    assert values(status(statistics))["depth_valid_percent_p50"] == "100.0"
    clock.now_s += RECENT_S + 0.1
    assert "depth_valid_percent_p50" not in values(status(statistics))


@pytest.mark.parametrize(
    ("lag", "level"),
    [
        (Lag(busy_s=2.9, usual_s=0, unanswered_s=0, interval_s=0), OK),
        (Lag(busy_s=3.1, usual_s=0, unanswered_s=0, interval_s=0), WARN),
        (Lag(busy_s=10.1, usual_s=0, unanswered_s=0, interval_s=0), ERROR),
        (Lag(busy_s=0, usual_s=0, unanswered_s=3.1, interval_s=0), WARN),
        (Lag(busy_s=0, usual_s=0, unanswered_s=10.1, interval_s=0), ERROR),
        # a network that takes 4 s, and one result in 20 s as asked for, are none of that
        (Lag(busy_s=14, usual_s=4, unanswered_s=14, interval_s=0), OK),
        (Lag(busy_s=0, usual_s=0, unanswered_s=22, interval_s=20), OK),
    ],
)
def test_images_without_results_are_a_warning_then_an_error(statistics, lag, level):
    statistics.count_in()
    message = status(statistics, activity=activity(lag=lag))
    assert message.level == level
    assert (f"no result for {lag.seconds:.0f} s" in message.message) == (level != OK)


def test_results_are_missing_from_the_first_image_on_that_had_none(statistics, clock):
    clock.now_s += 100  # without images: none is missing
    for _ in range(40):
        statistics.count_in()
        clock.now_s += 0.1
    assert statistics.snapshot().unanswered_s == pytest.approx(4.0)
    statistics.count_out("none", {})
    assert statistics.snapshot().unanswered_s == 0
    clock.now_s += 100
    statistics.count_in()
    assert statistics.snapshot().unanswered_s == 0
    clock.now_s += RECENT_S + 1  # images have ended too
    assert statistics.snapshot().unanswered_s == 0


def test_all_that_is_wrong_is_said_the_worst_first(statistics):
    statistics.count_in()
    stopped = Stream("/camera/depth", 1, 60.0, 90.0)
    late = Lag(busy_s=60, usual_s=0.1, unanswered_s=60, interval_s=0)
    message = status(statistics, activity=activity(depth=stopped, lag=late), given_up_s=99.0)
    assert message.level == ERROR
    assert message.message.startswith("no result for 60 s: the frame at hand is not done after 60 s, usually")
    assert "depth on /camera/depth stopped 60 s ago" in message.message
    assert "a frame given up 99 s ago goes on" in message.message


def test_a_calibration_that_comes_no_more_is_said_while_depth_does(statistics):
    flowing, old = Stream("/camera/depth", 1, 0.1, 90.0), Stream("/camera/camera_info", 0, 60.0, 90.0)
    seen = activity(image=Stream("/camera/image", 1, 0.1, 90.0), depth=flowing, camera_info=old)
    message = status(statistics, activity=seen)
    assert message.level == WARN
    assert "camera_info on /camera/camera_info stopped 60 s ago" in message.message


def test_a_topic_of_another_type_is_named(statistics):
    wrong = Stream("/cam/depth/compressedDepth", 0, None, 0.0, other_types=("sensor_msgs/msg/CompressedImage",))
    message = status(statistics, activity=activity(depth=wrong))
    assert message.level == WARN
    assert "launch with depth:=/cam/depth and depth_transport:=compressedDepth" in message.message


def test_of_several_cameras_the_advice_names_the_one_and_what_its_launch_argument_takes(statistics):
    image = Stream("/rov/front/raw/compressed", 0, None, 0.0, other_types=("sensor_msgs/msg/CompressedImage",))
    message = status(statistics, activity=activity(image=image, inputs="front/")).message
    assert "launch with image:=raw and image_transport:=compressed" in message
    nothing = activity(image=Stream("/front/image", 0, None, 0.0), inputs="front/")
    assert "remap front/image to your camera's topic" in status(statistics, activity=nothing).message


def test_time_that_has_not_begun_is_said(statistics):
    message = status(statistics, clock_waits=True)
    assert message.level == WARN
    assert "use_sim_time is true and nothing has come on /clock" in message.message
