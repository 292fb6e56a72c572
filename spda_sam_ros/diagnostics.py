"""The node's numbers and state as a `diagnostic_msgs/DiagnosticStatus`, with a level that means something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from spda_sam_ros.node_statistics import Snapshot

STARVED_AFTER_S = 2.0


@dataclass(frozen=True)
class NodeState:
    """What the node is at the moment.

    Attributes:
        lifecycle: label of the lifecycle state.
        failed_transition: what went wrong in the last lifecycle transition, or "".
        enabled: whether `~/enable` allows segmentation.
        active_s: seconds since activation, 0 where not active.
        image_topic: where images are expected.
        image_publishers: how many publish there.
        qos_problems: topic to what does not match, for endpoints that cannot connect.
        facts: further keys, such as device and checkpoint.
    """

    lifecycle: str
    failed_transition: str
    enabled: bool
    active_s: float
    image_topic: str
    image_publishers: int
    qos_problems: Mapping[str, str]
    facts: Mapping[str, str]


def make_status(name: str, snapshot: Snapshot, state: NodeState) -> DiagnosticStatus:
    """Make the status: ERROR where segmentation or configuration fails, WARN where it is starved or degraded.

    Args:
        name: name of the status, that of the node.
        snapshot: the numbers.
        state: the node's state.
    """
    level, message = _judge(snapshot, state)
    values = {
        "state": state.lifecycle,
        "enabled": str(state.enabled).lower(),
        "rate_in_hz": f"{snapshot.rate_in_hz:.2f}",
        "rate_out_hz": f"{snapshot.rate_out_hz:.2f}",
        "frames_in": str(snapshot.frames_in),
        "frames_out": str(snapshot.frames_out),
        "dropped": str(sum(snapshot.drops.values())),
        **_prefixed("dropped", snapshot.drops),
        **_prefixed("event", snapshot.events),
        **_prefixed("depth_source", snapshot.depth_sources),
        **_prefixed("no_sensor_depth", snapshot.depth_problems),
    }
    for key, (median, p95) in sorted(snapshot.samples.items()):
        values[f"{key}_p50"], values[f"{key}_p95"] = f"{median:.1f}", f"{p95:.1f}"
    values |= {f"incompatible_qos.{topic}": problem for topic, problem in state.qos_problems.items()}
    values |= state.facts
    values["last_error"] = state.failed_transition or snapshot.last_error
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=state.facts.get("device", ""),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _judge(snapshot: Snapshot, state: NodeState) -> tuple[bytes, str]:
    if state.failed_transition:
        return DiagnosticStatus.ERROR, f"{state.lifecycle}: {state.failed_transition}"
    if state.lifecycle != "active":
        return DiagnosticStatus.OK, state.lifecycle
    for kind, failed in (("inference", "inference"), ("callback", "a callback")):
        if kind in snapshot.problems:
            return DiagnosticStatus.ERROR, f"{failed} failed: {snapshot.problems[kind]}"
    if not state.enabled:
        return DiagnosticStatus.OK, "disabled by ~/enable"
    # the time before activation is none of the camera's fault
    silent_s = min(state.active_s, float("inf") if snapshot.since_image_s is None else snapshot.since_image_s)
    if silent_s > STARVED_AFTER_S:
        return DiagnosticStatus.WARN, _starved(silent_s, state)
    if snapshot.problems:
        return DiagnosticStatus.WARN, "; ".join(f"{kind}: {text}" for kind, text in snapshot.problems.items())
    return DiagnosticStatus.OK, f"{snapshot.rate_out_hz:.1f} Hz"


def _starved(silent_s: float, state: NodeState) -> str:
    text = f"no image on {state.image_topic} for {silent_s:.0f} s, {state.image_publishers} publisher(s)"
    if problem := state.qos_problems.get(state.image_topic):
        return f"{text}: {problem}"
    return f"{text}: remap image to your camera's topic" if not state.image_publishers else text


def _prefixed(prefix: str, counts: Mapping[str, int]) -> dict[str, str]:
    return {f"{prefix}.{name}": str(count) for name, count in sorted(counts.items())}
