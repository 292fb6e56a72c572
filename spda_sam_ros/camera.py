"""One camera: what its topics are called, what is counted of it, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from spda_sam_ros import diagnostics
from spda_sam_ros.health import Activity, NodeState
from spda_sam_ros.node_statistics import NodeStatistics
from spda_sam_ros.outputs import Outputs
from spda_sam_ros.throttle import Throttle
from spda_sam_ros.transitions import describe, traceback_of
from spda_sam_ros.watchdog import WARN_AFTER_S, Lag

LOG_PERIOD_S = 5.0
"""Between two log entries of a kind."""


class Camera:
    """Lives as long as the node's parameter `cameras` names it, over all transitions.

    Args:
        node: the node that owns its topics.
        name: "" for the only one, whose topics are `image`, ... and `~/instances`, ...; otherwise they are
            `NAME/image`, ... and `NAME/spda_sam/instances`, ..., as those of a node of its own in the namespace NAME.

    Attributes:
        inputs: what the names of its input topics begin with.
        statistics: counts its frames.
        outputs: its publishers, while the node is configured.
    """

    def __init__(self, node: LifecycleNode, name: str) -> None:
        self._node = node
        self._name = name
        self.inputs = f"{name}/" if name else ""
        self.statistics = NodeStatistics()
        self.outputs: Outputs | None = None
        self._throttle = Throttle(LOG_PERIOD_S)
        self._qos_problems: dict[str, str] = {}
        self._late = False

    def open(self) -> None:
        """Make its publishers."""
        own = f"{self._name}/{self._node.get_name()}" if self._name else "~"
        self.outputs = Outputs(self._node, own, self.mismatch)

    def close(self) -> None:
        """Destroy its publishers, where there are any."""
        outputs, self.outputs = self.outputs, None
        if outputs is not None:
            outputs.destroy()

    def begin_session(self) -> None:
        """Forget what was of late; the counts stay."""
        self._qos_problems.clear()
        self._late = False
        self.statistics.begin_session()

    def mismatch(self, topic: str, problem: str) -> None:
        """Note that a topic cannot connect, and why."""
        self._qos_problems[topic] = problem
        self._node.get_logger().warning(problem)

    def report(self, kind: str, message: str, details: str = "") -> None:
        """Note that something went wrong now, and log it unless a report of its kind was logged just before."""
        self.statistics.problem(kind, message)
        if self._throttle.allows(kind):
            text = f"{message}\n{details}" if details else message
            self._node.get_logger().error(self._of_this_camera(text))

    def report_failure(self, error: Exception) -> None:
        """Report what the network raised."""
        self.report("inference", describe(error), traceback_of(error))

    def status(self, state: NodeState, activity_at: Callable[[float], Activity] | None) -> DiagnosticStatus:
        """Return its diagnostics.

        Args:
            state: that of the node, of which what concerns a camera is left out.
            activity_at: of the session that runs, if any: what it sees of this camera, from the seconds for which
                images have come in without a result.
        """
        snapshot = self.statistics.snapshot()
        activity = None if activity_at is None else activity_at(snapshot.unanswered_s)
        if activity is not None:
            self._log_watchdog(activity.lag)
            self._forget_what_was_mended(activity)
        state = replace(state, activity=activity, qos_problems=self._qos_problems)
        namespace, own = self._node.get_namespace().strip("/"), self._node.get_name()
        name = "/".join(part for part in (namespace, self._name, own) if part)
        return diagnostics.make_status(name, snapshot, state)

    def _of_this_camera(self, text: str) -> str:
        return f"{self._name}: {text}" if self._name else text

    def _forget_what_was_mended(self, activity: Activity) -> None:
        for stream in (activity.image, activity.depth, activity.camera_info):
            if stream.flows:
                self._qos_problems.pop(stream.topic, None)

    def _log_watchdog(self, lag: Lag) -> None:
        late = lag.beyond(WARN_AFTER_S)
        if late != self._late:
            self._late = late
            if late:
                self._node.get_logger().error(self._of_this_camera(str(lag)))
            else:
                self._node.get_logger().info(self._of_this_camera("results come again"))
