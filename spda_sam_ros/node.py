"""The lifecycle node `spda_sam`: images in, instance masks out. It wires; the deciding is done elsewhere."""

from __future__ import annotations

import sys

from spda_sam_ros.segment import main

if __name__ == "__main__":
    sys.exit(main())  # before the imports below, which take seconds: a signal is heard from here on

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from spda_sam_core.runtimes.memory import keep_freed_memory
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros.camera import LOG_PERIOD_S, Camera
from spda_sam_ros.core_log import log_core_in
from spda_sam_ros.health import NodeState
from spda_sam_ros.loading import run_interruptibly
from spda_sam_ros.parameters import Settings, declare
from spda_sam_ros.session import Session
from spda_sam_ros.simulated_time import clock_waits
from spda_sam_ros.throttle import Throttle
from spda_sam_ros.transitions import GuardedLifecycleNode, describe, traceback_of


class SpdaSamNode(GuardedLifecycleNode):
    """Loads in configure, subscribes in activate, frees the model in cleanup; see the README for its topics.

    Args:
        stopping: tells whether the process is to end, so that loading does not hold it up.

    Raises:
        ValueError: start-up parameters that contradict each other.
        rclpy.exceptions.ParameterException: start-up parameters that ROS refuses.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        super().__init__("spda_sam")
        log_core_in(self.get_logger(), self._on_core_progress)
        self._stopping = stopping
        self._settings = declare(self)
        self._cameras: dict[str, Camera] = {}
        self._name_cameras()
        self._throttle = Throttle(LOG_PERIOD_S)
        self._enabled = True
        self._model: SpdaSam | None = None
        self._session: Session | None = None
        self._last_session: Session | None = None
        self._given_up: list[tuple[Session, float]] = []  # and when, as long as their last frame goes on
        self._loading_since_s: float | None = None
        self._loading = ""
        self._facts: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/segment", self._on_segment)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # steady, so that it goes on while simulated time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        if self._settings.autostart:
            self._autostart = self.create_timer(0.0, self._start, clock=steady)

    # Lifecycle

    def _start(self) -> None:
        self._autostart.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def end(self) -> None:
        """Go to the state finalized, wherever the node is."""
        if self.lifecycle_label in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    def configure(self) -> None:
        """Load and warm up the model; without one the node stays unconfigured."""
        settings = self._settings
        keep_freed_memory()  # here, before the first thread of ours begins
        self._loading_since_s, self._loading = time.monotonic(), ""
        try:
            self._model = model = run_interruptibly(
                lambda: _load(settings), stopping=self._stopping, each_second=self._publish_diagnostics
            )
        finally:
            self._loading_since_s = None
        for camera in self._cameras.values():
            camera.open()
        self._facts = {
            "checkpoint": settings.checkpoint,
            "checkpoint_sha256": model.checkpoint_sha256,
            "backend_reason": model.backend_reason,
            "preset": model.preset,
            "depth_estimator": settings.depth_estimator or "the network's own",
            "terms_of_use": "; ".join(model.terms) or "Apache-2.0",
        }
        self.get_logger().info(
            f"{model.preset} loaded, {len(model.class_names)} classes; {model.runtime.facts()['backend']} on "
            f"{model.runtime.device}: {model.backend_reason}"
        )

    def activate(self) -> None:
        """Subscribe and start to segment."""
        assert self._model is not None
        self._publish_label_info()
        for camera in self._cameras.values():
            camera.begin_session()
        self._session = Session(
            self,
            self._model,
            tuple(self._cameras.values()),
            settings=lambda: self._settings,
            enabled=lambda: self._enabled,
            after=self._last_session,
        )

    def deactivate(self) -> None:
        """Unsubscribe, and finish the frame at hand where it is done soon."""
        session, self._session = self._session, None
        if session is not None:
            self._last_session = session
            if not session.close():
                self._given_up.append((session, time.monotonic()))

    def free(self) -> None:
        """Free the model and its memory on the GPU."""
        model, self._model = self._model, None
        session, self._last_session = self._last_session, None
        self._facts = {}
        with ExitStack() as freeing:  # all of it, whatever fails
            if model is not None:
                # where its last frame is not done with, the model is given back once it is
                when_done = _at_once if session is None else session.when_done
                freeing.callback(when_done, model.runtime.close)
            for camera in self._cameras.values():
                freeing.callback(camera.close)

    # What comes in

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "segmentation is on" if request.data else "segmentation is off, images are dropped"
        return response

    def _on_segment(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            if self._session is None:
                raise ValueError(f"the node is {self.lifecycle_label}: activate it first")
            response.message = self._session.segment_newest()
            response.success = True
        except ValueError as error:
            response.message = str(error)
        return response

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            changes = {parameter.name: parameter.value for parameter in parameters}
            settings = self._settings.changed(changes, configured=self._model is not None)
            if self._model is not None:
                settings.check_classes(self._model.class_names)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # a fault of ours: who asked gets an answer nevertheless
            self.report_fault(error)
            return SetParametersResult(successful=False, reason=describe(error))
        changed_threshold = settings.score_threshold != self._settings.score_threshold
        self._settings = settings  # the worker takes it up with its next frame
        self._name_cameras()
        if changed_threshold:
            self._publish_label_info()
        return SetParametersResult(successful=True)

    def _name_cameras(self) -> None:
        """Have the cameras that the parameter names; those that stay keep their counts."""
        had = self._cameras
        self._cameras = {name: had.get(name) or Camera(self, name) for name in self._settings.camera_names}

    # What is said about it

    def _on_core_progress(self, text: str) -> None:
        self._loading = text

    def _publish_label_info(self) -> None:
        for camera in self._cameras.values():
            if self._model is not None and camera.outputs is not None:
                camera.outputs.publish_label_info(self._model.class_names, self._settings.score_threshold)

    def report_fault(self, error: Exception) -> None:
        """Report what a callback raised."""
        for camera in self._cameras.values():
            camera.statistics.problem("callback", describe(error))
        if self._throttle.allows("callback"):
            self.get_logger().error(f"{describe(error)}\n{traceback_of(error)}")

    def _publish_diagnostics(self) -> None:
        state = self._state()
        seen_of = None if self._session is None else self._session.activity
        statuses = [
            camera.status(state, None if seen_of is None else partial(seen_of, camera))
            for camera in self._cameras.values()
        ]
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=statuses))

    def _state(self) -> NodeState:
        self._given_up = [(session, at_s) for session, at_s in self._given_up if session.busy_s]
        return NodeState(
            lifecycle=self.lifecycle_label,
            failed_transition=self.failed_transition,
            enabled=self._enabled,
            activity=None,
            loading=self._loading,
            loading_s=0.0 if self._loading_since_s is None else time.monotonic() - self._loading_since_s,
            given_up_s=max((time.monotonic() - at_s for _, at_s in self._given_up), default=0.0),
            qos_problems={},
            facts=self._facts | self._runtime_facts(),
            clock_waits=clock_waits(self.get_clock()),
        )

    def _runtime_facts(self) -> dict[str, str]:
        if self._model is None:
            return {}
        try:
            return dict(self._model.runtime.facts())
        except Exception as error:  # as of a device that is gone: all else is to be told nevertheless
            self.report_fault(error)
            return {}


def _at_once(action: Callable[[], None]) -> None:
    action()


def _load(settings: Settings) -> SpdaSam:
    model = SpdaSam.from_pretrained(
        settings.checkpoint,
        backend=settings.backend,
        device=settings.device,
        depth_estimator=settings.depth_estimator or None,
        num_threads=settings.num_threads,
    )
    settings.check_classes(model.class_names)
    model.warm_up()
    return model


def run(stopping: Callable[[], bool], *, turn_s: float) -> int:
    """Run the node, in an initialised context.

    Args:
        stopping: tells when to end.
        turn_s: the longest time after which it is asked again.

    Returns:
        0, or 2 when the node was started with parameters that it refuses.
    """
    try:
        node = SpdaSamNode(stopping)
    except (ParameterException, ValueError) as error:
        print(f"segment: {error}", file=sys.stderr)
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopping():
        try:
            executor.spin_once(timeout_sec=turn_s)
        except Exception as error:  # a fault of ours in a callback: the node lives on, and tells it
            node.report_fault(error)
    node.end()
    executor.shutdown()
    node.destroy_node()
    return 0
