"""Lifecycle transitions none of which goes wrong in silence.

rclpy drops what a transition raises, and leaves whoever asked for one that the state does not have without an answer
(ros2/rclpy#1209, mended after Jazzy).
"""

from __future__ import annotations

import traceback
from abc import abstractmethod
from collections.abc import Callable

from lifecycle_msgs.msg import Transition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from spda_sam_ros.loading import Interrupted

_SUCCESS, _FAILURE, _ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
_NAMES = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_CLEANUP: "cleanup",
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: "shutdown",
    Transition.TRANSITION_INACTIVE_SHUTDOWN: "shutdown",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "shutdown",
}


class GuardedLifecycleNode(LifecycleNode):
    """Calls `configure`, `activate`, `deactivate` and `free`, and takes care of what they raise.

    What goes wrong is logged with its traceback and kept in `failed_transition`, everything is freed, and the node is
    unconfigured after it.

    Args:
        name: of the node.

    Attributes:
        failed_transition: what went wrong in the last transition that was possible, or "".
    """

    def __init__(self, name: str) -> None:
        self.failed_transition = ""
        super().__init__(name)

    @abstractmethod
    def configure(self) -> None:
        """Get ready; an exception leaves the node unconfigured."""

    @abstractmethod
    def activate(self) -> None:
        """Begin to work; the lifecycle publishers publish already."""

    @abstractmethod
    def deactivate(self) -> None:
        """Stop what `activate` began, or as much of it as it had begun."""

    @abstractmethod
    def free(self) -> None:
        """Free what `configure` made, or as much of it as it had made."""

    @property
    def lifecycle_label(self) -> str:
        """Name of the lifecycle state, as the state machine has it."""
        return str(self._state_machine.current_state[1])

    # What rclpy calls

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `configure`."""
        if self._guarded("configure", self.configure, lambda: super(GuardedLifecycleNode, self).on_configure(state)):
            return _SUCCESS
        self._free_all()
        return _FAILURE  # as for a missing file: the node was unconfigured, and is

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `activate`."""
        done = self._guarded("activate", lambda: super(GuardedLifecycleNode, self).on_activate(state), self.activate)
        return _SUCCESS if done else _ERROR

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `deactivate`."""
        managed = super().on_deactivate
        return _SUCCESS if self._guarded("deactivate", self.deactivate, lambda: managed(state)) else _ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `free`."""
        managed = super().on_cleanup
        return _SUCCESS if self._guarded("cleanup", self.free, lambda: managed(state)) else _ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        managed = super().on_shutdown
        done = self._guarded("shutdown", self.deactivate, self.free, lambda: managed(state))
        return _SUCCESS if done else _ERROR

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that went wrong: free everything, so that the node can be configured again."""
        self._free_all()
        return _SUCCESS

    def _guarded(self, name: str, *steps: Callable[[], TransitionCallbackReturn | None]) -> bool:
        try:
            for step in steps:
                if (result := step()) not in (None, _SUCCESS):
                    raise RuntimeError(f"a publisher answered {result}")
        except Interrupted as reason:
            self.get_logger().info(f"{name} is given up: {reason}")
            return False
        # whatever it is, the process lives on and can be configured anew
        except Exception as error:
            self.failed_transition = f"{name} failed: {describe(error)}"
            self.get_logger().error(f"cannot {name}: {describe(error)}\n{traceback_of(error)}")
            return False
        self.failed_transition = ""
        return True

    def _free_all(self) -> None:
        for name, step in (("deactivate", self.deactivate), ("cleanup", self.free)):
            try:
                step()
            except Exception as error:
                self.get_logger().error(f"{name} after a failed transition: {error}\n{traceback_of(error)}")

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """Stand in the way of rclpy's method, by its private name: all who ask for a transition come through here.

        Returns:
            What rclpy's own does; FAILURE for a transition that the state does not have, where rclpy's raises, so that
            a service answers `success: false`.
        """
        before = self.lifecycle_label
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)
        except rclpy_implementation.RCLError as error:
            name = _NAMES.get(transition_id, f"transition {transition_id}")
            self.get_logger().warning(f"{name} is not possible in state {before}, which stays: {first_line(error)}")
            return _FAILURE


def describe(error: BaseException) -> str:
    """Return what an error says in one line, after its kind where it is none that is made for users."""
    text = " ".join(str(error).split())
    for_users = isinstance(error, ValueError) or type(error).__module__.startswith("spda_sam")
    return text if for_users else f"{type(error).__name__}: {text}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).partition("\n")[0]


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error as text."""
    return "".join(traceback.format_exception(error)).rstrip()
