"""One camera from activation to deactivation: its images are heard, segmented in the worker's turn, and published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from spda_sam_core.runtimes.memory import give_back_freed_memory
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros.camera import Camera
from spda_sam_ros.drawing import Drawing
from spda_sam_ros.health import Activity
from spda_sam_ros.inputs import Inputs
from spda_sam_ros.pairing import PairingClosed
from spda_sam_ros.parameters import Settings
from spda_sam_ros.segmenter import Dropped, Frame, Segmented, Segmenter
from spda_sam_ros.watchdog import Lag
from spda_sam_ros.worker import Mailbox, Steps, Worker

_GIVE_BACK_EVERY_S = 30.0
"""The frame after it takes some milliseconds more, because its memory has to be cleared anew."""


class CameraSession:
    """Hears images from construction until `close`, and has them segmented by a worker.

    Args:
        node: the node that owns the subscriptions.
        camera: whose images they are.
        model: what segments.
        worker: in whose thread; not yet started.
        draughtsman: who draws pictures of them; not yet started.
        settings: gives the settings as they are; asked once per frame.
        enabled: tells whether images are wanted at the moment.

    Raises:
        ValueError: a subscription cannot be made; nothing is left then.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: Camera,
        model: SpdaSam,
        worker: Worker,
        draughtsman: Worker,
        *,
        settings: Callable[[], Settings],
        enabled: Callable[[], bool],
    ) -> None:
        assert camera.outputs is not None
        self._node = node
        self._camera = camera
        self._outputs = camera.outputs
        self._statistics = camera.statistics
        self._settings = settings
        self._enabled = enabled
        self._worker = worker
        self._mailbox: Mailbox[Frame] = worker.mailbox(
            self._process,
            failed=self._failed,
            dropped=self._statistics.count_drop,
            minimum_interval_s=self._interval_s,
        )
        self._inputs = Inputs(node, camera, settings(), on_image=self._on_image, depth_changed=self._mailbox.wake)
        self._drawing = Drawing(camera, self._outputs.pictures, draughtsman)
        self._segmenter = Segmenter(model, self._inputs.pairing)
        self._deciding = threading.Lock()
        self._undecided = False  # a frame is at hand which is neither out nor counted as dropped
        self._given_up = False
        self._newest: Frame | None = None
        self._given_back_s = time.monotonic()
        self._began_s = time.monotonic()

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
            lag=Lag(self._mailbox.busy_s, self._worker.usual_s, unanswered_s, self._interval_s()),
            inputs=self._camera.inputs,
        )

    def close(self) -> None:
        """Unsubscribe; the frame at hand waits for nothing any more."""
        self._inputs.destroy()

    def give_up(self, timeout_s: float) -> None:
        """Hear nothing any more of the frame at hand, where there is one.

        Args:
            timeout_s: for one that is being published this very moment, so that it is counted as published.
        """
        decided = not self._deciding.acquire(timeout=timeout_s)
        self._given_up = True
        if not decided:
            if self._undecided:
                self._statistics.count_drop("inactive")
            self._deciding.release()

    def give_up_drawing(self, timeout_s: float) -> None:
        """Hear nothing any more of the picture that is being drawn; see `Drawing.give_up`."""
        self._drawing.give_up(timeout_s)

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
            topic = self._inputs.stream("image").topic
            raise ValueError(
                f"no image has come since activation on {topic}: is the camera there, and image remapped to its topic?"
            )
        self._mailbox.submit(Frame(self._newest.message, time.monotonic()))
        stamp = self._newest.message.header.stamp
        where = f"{self._outputs.name}/instances and {self._outputs.name}/detections"
        return f"the image of {stamp.sec}.{stamp.nanosec:09d} is being segmented, see {where}"

    def _on_image(self, frame: Frame) -> None:
        self._newest = frame
        if self._enabled():
            self._mailbox.submit(frame)
        else:
            self._statistics.count_drop("disabled")

    # In the worker's thread

    def _process(self, frame: Frame) -> Steps:
        self._undecided = True
        settings = self._settings()
        try:
            now_ns = self._node.get_clock().now().nanoseconds
            result = yield from self._segmenter.segment(frame, settings, now_ns=now_ns)
        except (Dropped, PairingClosed) as drop:
            if self._decide():
                self._drop(drop)
            return
        with self._deciding:
            if self._given_up:
                return
            self._undecided = False
            self._deliver(result, settings)
        large = result.large
        del result
        # messages and pictures are held elsewhere for a while after their frame, so once is not enough
        if large or time.monotonic() - self._given_back_s > _GIVE_BACK_EVERY_S:
            give_back_freed_memory()
            self._given_back_s = time.monotonic()

    def _decide(self) -> bool:
        """Whether the frame at hand is still this session's to count."""
        with self._deciding:
            self._undecided = False
            return not self._given_up

    def _drop(self, drop: Dropped | PairingClosed) -> None:
        self._statistics.count_drop(drop.reason)
        if isinstance(drop, Dropped):
            self._camera.report(drop.reason, f"image dropped: {drop}")

    def _deliver(self, result: Segmented, settings: Settings) -> None:
        pinhole, samples = None, {f"stage.{name}_ms": ms for name, ms in result.stage_ms.items()}
        if (depth := result.sensor_depth) is not None:
            try:
                pinhole = self._inputs.pinhole((result.rgb.shape[0], result.rgb.shape[1]), result.header.frame_id)
            except ValueError as error:
                self._camera.report("camera_info", f"no 3-D positions: {error}")
            samples |= {"depth_skew_ms": depth.skew_s * 1e3, "depth_valid_percent": depth.valid_percent}
        elif (why := result.no_depth) is not None:
            self._statistics.count_depth_problem(why.reason)
            if why.reason != "absent":  # a camera without depth is nothing to warn of
                self._camera.report("depth", f"depth not used: {why}")
        samples |= self._outputs.publish(result, camera=pinhole)
        self._drawing.offer(result, settings)
        self._statistics.count_out(result.prediction.depth_source, samples)

    def _failed(self, error: Exception) -> None:
        if self._decide():
            self._statistics.count_drop("inference_error")
            self._camera.report_failure(error)
