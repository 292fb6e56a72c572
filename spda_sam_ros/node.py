"""The lifecycle node `spda_sam`: images in, instance masks out. It wires; the deciding is done elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from spda_sam_core.runtimes.memory import give_back_freed_memory
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros import diagnostics
from spda_sam_ros.inputs import Inputs, transport_topic
from spda_sam_ros.node_statistics import NodeStatistics
from spda_sam_ros.outputs import Outputs
from spda_sam_ros.parameters import declare
from spda_sam_ros.segmenter import Dropped, Frame, Segmenter
from spda_sam_ros.transitions import GuardedLifecycleNode, describe, traceback_of
from spda_sam_ros.worker import Worker

_LARGE_BYTES = 64 << 20
"""A frame whose picture and masks take more is not kept room for: 20 masks of 2048 x 1536 pixels."""
_LOG_PERIOD_S = 5.0
_STOP_TIMEOUT_S = 10.0


class SpdaSamNode(GuardedLifecycleNode):
    """Loads in configure, subscribes in activate, frees the model in cleanup; see the README for its topics.

    Raises:
        ValueError: start-up parameters that contradict each other.
        rclpy.exceptions.ParameterException: start-up parameters that ROS refuses.
    """

    def __init__(self) -> None:
        super().__init__("spda_sam")
        self._settings = declare(self)
        self._statistics = NodeStatistics()
        self._enabled = True
        self._model: SpdaSam | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker[Frame] | None = None
        self._active_since_s = 0.0
        self._inputs: Inputs | None = None
        self._qos_problems: dict[str, str] = {}
        self._facts: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_service(SetBool, "~/enable", self._on_enable)
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

    def configure(self) -> None:
        """Load and warm up the model; without one the node stays unconfigured."""
        settings = self._settings
        self._model = model = SpdaSam.from_pretrained(
            settings.checkpoint,
            device=settings.device,
            depth_estimator=settings.depth_estimator or None,
            num_threads=settings.num_threads,
        )
        settings.check_classes(model.class_names)
        model.warm_up()
        self._outputs = Outputs(self, self._on_qos_mismatch)
        self._facts = {
            "checkpoint": settings.checkpoint,
            "checkpoint_sha256": model.checkpoint_sha256,
            "preset": model.preset,
            "depth_estimator": settings.depth_estimator or "the network's own",
            "terms_of_use": "; ".join(model.terms) or "Apache-2.0",
        }
        if model.terms:
            self.get_logger().warning(f"{settings.checkpoint} on these terms only: {self._facts['terms_of_use']}")
        self.get_logger().info(f"{model.preset} loaded on {model.runtime.device}, {len(model.class_names)} classes")

    def activate(self) -> None:
        """Subscribe and start to segment."""
        assert self._model is not None
        assert self._outputs is not None
        self._outputs.publish_label_info(self._model.class_names, self._settings.score_threshold)
        self._qos_problems.clear()
        self._inputs = inputs = Inputs(
            self,
            self._settings,
            statistics=self._statistics,
            on_image=self._on_image,
            mismatch=self._on_qos_mismatch,
        )
        segmenter, outputs = Segmenter(self._model, inputs.pairing), self._outputs
        self._worker = Worker(
            lambda frame: self._segment(frame, segmenter, inputs, outputs),
            failed=self._on_failure,
            dropped=self._statistics.count_drop,
            minimum_interval_s=lambda: 1.0 / rate if (rate := self._settings.max_rate_hz) else 0.0,
        )
        self._worker.start()
        self._active_since_s = time.monotonic()

    def deactivate(self) -> None:
        """Unsubscribe and finish the frame at hand."""
        if self._inputs is not None:
            self._inputs.destroy()
        self._inputs = None
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(_STOP_TIMEOUT_S):
            self._report("inference", f"a frame is not done after {_STOP_TIMEOUT_S:g} s: is the GPU stuck?")

    def free(self) -> None:
        """Free the model and its memory on the GPU."""
        model, self._model = self._model, None
        outputs, self._outputs = self._outputs, None
        self._facts = {}
        with ExitStack() as freeing:  # all of it, whatever fails
            if model is not None:
                freeing.callback(model.runtime.close)
            if outputs is not None:
                freeing.callback(outputs.destroy)

    # What comes in

    def _on_image(self, frame: Frame) -> None:
        if not self._enabled:
            self._statistics.count_drop("disabled")
        elif self._worker is not None:
            self._worker.submit(frame)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "segmentation is on" if request.data else "segmentation is off, images are dropped"
        return response

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            changes = {parameter.name: parameter.value for parameter in parameters}
            settings = self._settings.changed(changes, configured=self._model is not None)
            if self._model is not None:
                settings.check_classes(self._model.class_names)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        changed_threshold = settings.score_threshold != self._settings.score_threshold
        self._settings = settings  # the worker takes it up with its next frame
        if changed_threshold and self._model is not None and self._outputs is not None:
            self._outputs.publish_label_info(self._model.class_names, settings.score_threshold)
        return SetParametersResult(successful=True)

    def _on_qos_mismatch(self, topic: str, problem: str) -> None:
        self._qos_problems[topic] = problem
        self.get_logger().warning(problem)

    # What happens to a frame, in the worker's thread

    def _segment(self, frame: Frame, segmenter: Segmenter, inputs: Inputs, outputs: Outputs) -> None:
        settings = self._settings
        try:
            result = segmenter.segment(frame, settings, now_ns=self.get_clock().now().nanoseconds)
        except Dropped as drop:
            self._statistics.count_drop(drop.reason)
            self._report(drop.reason, f"image dropped: {drop}")
            return
        camera, samples = None, {f"stage.{name}_ms": ms for name, ms in result.stage_ms.items()}
        if (depth := result.sensor_depth) is not None:
            try:
                camera = inputs.pinhole((result.rgb.shape[0], result.rgb.shape[1]))
            except ValueError as error:
                self._report("camera_info", f"no 3-D positions: {error}")
            samples |= {"depth_skew_ms": depth.skew_s * 1e3, "depth_valid_percent": depth.valid_percent}
        elif (why := result.no_depth) is not None:
            self._statistics.count_depth_problem(why.reason)
            if why.reason != "absent":  # a camera without depth is nothing to warn of
                self._report("depth", f"depth not used: {why}")
        samples |= outputs.publish(result, camera=camera, overlay=settings.overlay)
        self._statistics.count_out(result.prediction.depth_source, samples)
        large = result.instances.masks.nbytes + result.rgb.nbytes > _LARGE_BYTES
        del result, depth
        if large:
            give_back_freed_memory()

    def _on_failure(self, error: Exception) -> None:
        self._statistics.count_drop("inference_error")
        self._report("inference", f"{type(error).__name__}: {error}")
        self.get_logger().error(traceback_of(error), throttle_duration_sec=_LOG_PERIOD_S)

    # What is said about it

    def report_fault(self, error: Exception) -> None:
        """Report what a callback raised."""
        self._report("callback", describe(error))
        self.get_logger().error(traceback_of(error), throttle_duration_sec=_LOG_PERIOD_S)

    def _report(self, kind: str, message: str) -> None:
        self._statistics.problem(kind, message)
        self.get_logger().error(message, throttle_duration_sec=_LOG_PERIOD_S)

    def _publish_diagnostics(self) -> None:
        image_topic = transport_topic(self, "image", self._settings.image_transport)
        facts = self._facts | ({} if self._model is None else dict(self._model.runtime.facts()))
        state = diagnostics.NodeState(
            lifecycle=self.lifecycle_label,
            failed_transition=self.failed_transition,
            enabled=self._enabled,
            active_s=time.monotonic() - self._active_since_s if self.lifecycle_label == "active" else 0.0,
            image_topic=image_topic,
            image_publishers=self.count_publishers(image_topic),
            qos_problems=self._qos_problems,
            facts=facts,
        )
        name = self.get_fully_qualified_name().lstrip("/")
        status = diagnostics.make_status(name, self._statistics.snapshot(), state)
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Returns:
        0, or 2 when it was started with parameters that it refuses.
    """
    # our own handlers, so that the last frame is finished and the model freed before the context goes
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stop_signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stop_signals.append(received))
    try:
        try:
            node = SpdaSamNode()
        except (ParameterException, ValueError) as error:
            print(f"segment: {error}", file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop_signals:
            try:
                executor.spin_once(timeout_sec=0.2)
            except Exception as error:  # a fault of ours in a callback: the node lives on, and tells it
                node.report_fault(error)
        if node.lifecycle_label != "finalized":
            node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
        return 0
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
