"""The node's numbers and state as a `diagnostic_msgs/DiagnosticStatus`, with a level that means something."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from spda_sam_ros.health import NodeState, judge
from spda_sam_ros.node_statistics import Snapshot


def make_status(name: str, snapshot: Snapshot, state: NodeState) -> DiagnosticStatus:
    """Make the status: its level is that of `spda_sam_ros.health`.

    Args:
        name: name of the status, that of the node.
        snapshot: the numbers.
        state: the node's state.
    """
    level, message = judge(snapshot, state)
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
    if state.activity is not None:
        values["no_result_s"] = f"{state.activity.lag.seconds:.1f}"
        for topic in ("image", "depth", "camera_info"):
            lost = getattr(state.activity, topic).lost
            values[f"lost.{topic}"] = "not told by the middleware" if lost is None else str(lost)
    values |= state.facts
    values["last_error"] = state.failed_transition or snapshot.last_error
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=state.facts.get("device", ""),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _prefixed(prefix: str, counts: Mapping[str, int]) -> dict[str, str]:
    return {f"{prefix}.{name}": str(count) for name, count in sorted(counts.items())}
