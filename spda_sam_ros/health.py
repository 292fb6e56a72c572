"""What is to be said of the node's state, and how bad it is. No ROS but the levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from spda_sam_ros.lost_messages import remedy
from spda_sam_ros.node_statistics import Snapshot
from spda_sam_ros.streams import RECENT_S, STOPPED_AFTER_S, Stream
from spda_sam_ros.watchdog import ERROR_AFTER_S, WARN_AFTER_S, Lag

Finding = tuple[bytes, str]
"""A level of `DiagnosticStatus` and a sentence."""
_LONG_LOADING_S = 60.0
_OLD_CALIBRATION_S = 5.0
_MUCH_LOST = 0.1
_MANY_LOST = 3
_OK, _WARN, _ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Activity:
    """What an active node sees.

    Attributes:
        active_s: seconds since activation.
        image: the images.
        depth: their depth.
        camera_info: their calibration.
        lag: what the watchdog sees.
        inputs: what the names of these topics begin with before they are remapped, such as `front/`.
    """

    active_s: float
    image: Stream
    depth: Stream
    camera_info: Stream
    lag: Lag
    inputs: str = ""


@dataclass(frozen=True)
class NodeState:
    """What the node is at the moment.

    Attributes:
        lifecycle: label of the lifecycle state.
        failed_transition: what went wrong in the last lifecycle transition, or "".
        enabled: whether `~/enable` allows segmentation.
        activity: what it sees, None where it is not active.
        loading_s: for how long it has been loading its model, 0 where it is not.
        loading: what the loading is at, as the core said it last, or "".
        given_up_s: for how long the frame of an earlier session, given up at its end, has been going on, else 0.
        qos_problems: topic to what does not match, for endpoints that cannot connect.
        facts: further keys, such as device and checkpoint.
        clock_waits: whether simulated time is asked for and has not begun.
    """

    lifecycle: str
    failed_transition: str
    enabled: bool
    activity: Activity | None
    loading_s: float
    given_up_s: float
    qos_problems: Mapping[str, str]
    facts: Mapping[str, str]
    clock_waits: bool = False
    loading: str = ""


def judge(snapshot: Snapshot, state: NodeState) -> Finding:
    """Return the worst level there is, and all that is to be said, the worst first."""
    findings = sorted(_findings(snapshot, state), key=lambda finding: finding[0], reverse=True)
    if findings:
        return findings[0][0], "; ".join(text for _, text in findings)
    if state.loading_s:
        return _OK, _loading(state)
    if state.activity is None:
        return _OK, state.lifecycle
    return _OK, f"{snapshot.rate_out_hz:.1f} Hz" if state.enabled else "disabled by ~/enable"


def _loading(state: NodeState) -> str:
    at = f" ({state.loading})" if state.loading else ""
    return f"loading for {state.loading_s:.0f} s{at}"


def _findings(snapshot: Snapshot, state: NodeState) -> Iterator[Finding]:
    if state.failed_transition:
        yield _ERROR, f"{state.lifecycle}: {state.failed_transition}"
    if state.loading_s > _LONG_LOADING_S:
        yield (
            _WARN,
            f"{_loading(state)}: are the disk of the checkpoint and the device there? "
            "An engine that is built for this device takes minutes, once",
        )
    if state.given_up_s:
        yield _WARN, f"a frame given up {state.given_up_s:.0f} s ago goes on: is the device stuck?"
    if state.clock_waits:
        yield (
            _WARN,
            "use_sim_time is true and nothing has come on /clock: ages are unknown; play the bag with --clock, start "
            "the simulation, or set use_sim_time false",
        )
    if state.activity is None:
        return
    yield from _output(snapshot, state.activity.lag)
    if state.enabled:
        yield from _input(snapshot, state.activity, state.qos_problems)


def _output(snapshot: Snapshot, lag: Lag) -> Iterator[Finding]:
    for kind, failed in (("inference", "inference"), ("callback", "a callback")):
        if kind in snapshot.problems:
            yield _ERROR, f"{failed} failed: {snapshot.problems[kind]}"
    if lag.beyond(WARN_AFTER_S):
        yield _ERROR if lag.beyond(ERROR_AFTER_S) else _WARN, str(lag)


def _input(snapshot: Snapshot, activity: Activity, qos_problems: Mapping[str, str]) -> Iterator[Finding]:
    # the time before activation is none of the camera's fault
    silent_s = min(activity.active_s, float("inf") if snapshot.since_image_s is None else snapshot.since_image_s)
    if silent_s > STOPPED_AFTER_S:
        yield _WARN, _starved(silent_s, activity, qos_problems)
    for kind, text in snapshot.problems.items():
        if kind not in ("inference", "callback"):
            yield _WARN, f"{kind}: {text}"
    for stream in (activity.image, activity.depth):
        if stream.lost_share >= _MUCH_LOST and stream.lost_lately >= _MANY_LOST:
            yield (
                _WARN,
                f"{stream.lost_share:.0%} of the messages on {stream.topic} in the last {RECENT_S:.0f} s were lost on "
                f"the way: {remedy()}",
            )
    for name, stream in (("depth", activity.depth), ("camera_info", activity.camera_info)):
        if stream.other_types and not stream.publishers:
            yield _WARN, f"nothing comes on {stream.topic}: {wrong_type(stream, name, activity.inputs)}"
    depth, info = activity.depth, activity.camera_info
    if info.silent_s is not None and info.silent_s > _OLD_CALIBRATION_S and depth.flows:
        yield (
            _WARN,
            f"camera_info on {info.topic} stopped {info.silent_s:.0f} s ago, {info.publishers} publisher(s): positions "
            "are those of the calibration that came last",
        )
    if depth.stopped:
        yield (
            _WARN,
            f"depth on {depth.topic} stopped {depth.silent_s:.0f} s ago, {depth.publishers} publisher(s): "
            "start it again, or deactivate and activate to go on without",
        )
    elif depth.known_s > STOPPED_AFTER_S and info.silent_s is None:
        yield (
            _WARN,
            f"no 3-D positions: no camera_info on {info.topic}, {info.publishers} publisher(s): remap "
            f"{activity.inputs}camera_info to your camera's topic",
        )


def wrong_type(stream: Stream, name: str, inputs: str) -> str:
    """Say under which type a topic is published that the node subscribes to under another, and what to do.

    Args:
        stream: the topic.
        name: what the node calls it: `image`, `depth` or `camera_info`.
        inputs: what stands before that, such as `front/`.
    """
    found = ", ".join(stream.other_types)
    base, _, transport = stream.topic.rpartition("/")
    if inputs:  # with a list of cameras the launch file takes what stands below the name of each
        base = base.partition(f"/{inputs}")[2] or base
    remedy_of = {
        # the commonest slip: the transport is a suffix that image_transport adds
        "compressed": f"launch with {name}:={base} and image_transport:=compressed",
        "compressedDepth": f"launch with {name}:={base} and depth_transport:=compressedDepth",
    }
    what = remedy_of.get(transport, f"remap {inputs}{name} to a topic of the type that this node hears")
    return f"it is published as {found}, which this node does not hear there: {what}"


def _starved(silent_s: float, activity: Activity, qos_problems: Mapping[str, str]) -> str:
    image = activity.image
    if image.other_types and not image.publishers:
        return f"no image on {image.topic} for {silent_s:.0f} s: {wrong_type(image, 'image', activity.inputs)}"
    text = f"no image on {image.topic} for {silent_s:.0f} s, {image.publishers} publisher(s)"
    if problem := qos_problems.get(image.topic):
        return f"{text}: {problem}"
    return f"{text}: remap {activity.inputs}image to your camera's topic" if not image.publishers else text
