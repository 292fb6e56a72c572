"""From activation to deactivation: images are heard, the newest is segmented in a thread, results are published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from spda_sam_core.runtimes.memory import give_back_freed_memory
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros.health import Activity
from spda_sam_ros.inputs import Inputs
from spda_sam_ros.node_statistics import NodeStatistics
from spda_sam_ros.outputs import Outputs
from spda_sam_ros.pairing import PairingClosed
from spda_sam_ros.parameters import Settings
from spda_sam_ros.segmenter import Dropped, Frame, Segmented, Segmenter
from spda_sam_ros.watchdog import Lag
from spda_sam_ros.worker import Worker

_LARGE_BYTES = 64 << 20
"""A frame whose picture and masks take more is not kept room for: 20 masks of 2048 x 1536 pixels."""
_FINISH_S = 0.5
"""What a frame at hand gets at the end, so that a usual one is still published."""


class Session:
    """Segments from construction until `close`.

    Args:
        node: the node that owns the subscriptions.
        model: what segments.
        outputs: where results go.
        settings: gives the settings as they are; asked once per frame.
        enabled: tells whether images are wanted at the moment.
        statistics: counts frames.
        report: called with a kind and a sentence about what goes wrong, from any thread.
        failed: called with what the network raised, in the session's thread.
        mismatch: called with topic and sentence for a publisher which cannot connect.
        after: the session before, whose last frame may not be done yet: two at once would meet in the model.

    Raises:
        ValueError: a subscription cannot be made; nothing is left then.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: SpdaSam,
        outputs: Outputs,
        *,
        settings: Callable[[], Settings],
        enabled: Callable[[], bool],
        statistics: NodeStatistics,
        report: Callable[[str, str], None],
        failed: Callable[[Exception], None],
        mismatch: Callable[[str, str], None],
        after: Session | None,
    ) -> None:
        self._node = node
        self._outputs = outputs
        self._settings = settings
        self._enabled = enabled
        self._statistics = statistics
        self._report = report
        self._report_failure = failed
        self._inputs = Inputs(
            node,
            settings(),
            statistics=statistics,
            on_image=self._on_image,
            report=report,
            mismatch=mismatch,
        )
        self._segmenter = Segmenter(model, self._inputs.pairing)
        self._deciding = threading.Lock()
        self._undecided = False  # a frame is at hand which is neither out nor counted as dropped
        self._given_up = False
        self._newest: Frame | None = None
        self._worker: Worker[Frame] = Worker(
            self._process,
            failed=self._failed,
            dropped=statistics.count_drop,
            minimum_interval_s=self._interval_s,
            after=None if after is None else after._worker,
        )
        self._began_s = time.monotonic()
        self._worker.start()

    @property
    def busy_s(self) -> float:
        """Seconds for which the frame at hand has been at hand, 0 where there is none; still counted once closed."""
        return self._worker.busy_s

    def activity(self, unanswered_s: float) -> Activity:
        """Return what it sees.

        Args:
            unanswered_s: for how long images have come in without a result.
        """
        return Activity(
            active_s=time.monotonic() - self._began_s,
            image=self._inputs.stream("image"),
            depth=self._inputs.stream("depth"),
            camera_info=self._inputs.stream("camera_info"),
            lag=Lag(self._worker.busy_s, self._worker.usual_s, unanswered_s, self._interval_s()),
        )

    def close(self) -> bool:
        """Unsubscribe, and finish the frame at hand.

        Returns:
            Whether it is finished; where it is not done soon it is given up, and nothing of it is heard any more.
        """
        try:
            self._inputs.destroy()
        finally:
            finished = self._finish()
        return finished

    def _finish(self) -> bool:
        if self._worker.stop(_FINISH_S):
            return True
        # where it is being published this very moment it is counted as published
        decided = not self._deciding.acquire(timeout=_FINISH_S)
        self._given_up = True
        if not decided:
            if self._undecided:
                self._statistics.count_drop("inactive")
            self._deciding.release()
        self._node.get_logger().warning(f"a frame is not done {_FINISH_S:g} s after the end of its session: given up")
        return False

    def when_done(self, action: Callable[[], None]) -> None:
        """Call something once a closed session's last frame is done with: now, or in its thread."""
        self._worker.when_done(action)

    def _interval_s(self) -> float:
        rate_hz = self._settings().max_rate_hz
        return 1.0 / rate_hz if rate_hz else 0.0

    def segment_newest(self) -> str:
        """Segment the newest image that came, whether images are wanted or not; results go where they always go.

        Returns:
            What is being done.

        Raises:
            ValueError: no image came since activation.
        """
        if self._newest is None:
            raise ValueError(
                "no image has come since activation: is the camera there, and image remapped to its topic?"
            )
        self._worker.submit(Frame(self._newest.message, time.monotonic()))
        stamp = self._newest.message.header.stamp
        return f"the image of {stamp.sec}.{stamp.nanosec:09d} is being segmented, see ~/instances and ~/detections"

    def _on_image(self, frame: Frame) -> None:
        self._newest = frame
        if self._enabled():
            self._worker.submit(frame)
        else:
            self._statistics.count_drop("disabled")

    # In the worker's thread

    def _process(self, frame: Frame) -> None:
        self._undecided = True
        settings = self._settings()
        try:
            result = self._segmenter.segment(frame, settings, now_ns=self._node.get_clock().now().nanoseconds)
        except (Dropped, PairingClosed) as drop:
            if self._decide():
                self._drop(drop)
            return
        with self._deciding:
            if self._given_up:
                return
            self._undecided = False
            self._deliver(result, settings)
        large = result.instances.masks.nbytes + result.rgb.nbytes > _LARGE_BYTES
        del result
        if large:
            give_back_freed_memory()

    def _decide(self) -> bool:
        """Whether the frame at hand is still this session's to count."""
        with self._deciding:
            self._undecided = False
            return not self._given_up

    def _drop(self, drop: Dropped | PairingClosed) -> None:
        self._statistics.count_drop(drop.reason)
        if isinstance(drop, Dropped):
            self._report(drop.reason, f"image dropped: {drop}")

    def _deliver(self, result: Segmented, settings: Settings) -> None:
        camera, samples = None, {f"stage.{name}_ms": ms for name, ms in result.stage_ms.items()}
        if (depth := result.sensor_depth) is not None:
            try:
                camera = self._inputs.pinhole((result.rgb.shape[0], result.rgb.shape[1]), result.header.frame_id)
            except ValueError as error:
                self._report("camera_info", f"no 3-D positions: {error}")
            samples |= {"depth_skew_ms": depth.skew_s * 1e3, "depth_valid_percent": depth.valid_percent}
        elif (why := result.no_depth) is not None:
            self._statistics.count_depth_problem(why.reason)
            if why.reason != "absent":  # a camera without depth is nothing to warn of
                self._report("depth", f"depth not used: {why}")
        samples |= self._outputs.publish(result, camera=camera, overlay=settings.overlay)
        self._statistics.count_out(result.prediction.depth_source, samples)

    def _failed(self, error: Exception) -> None:
        if self._decide():
            self._statistics.count_drop("inference_error")
            self._report_failure(error)
