"""What happens to one image: decode it, find its depth, run the network, keep what is asked for."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from spda_sam_core.messages.depth import decode_compressed_depth, decode_depth
from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.messages.image import ImageMessageError, decode_compressed_image, decode_image
from spda_sam_core.results.instances import Instances
from spda_sam_core.tracking.tracker import Tracker, TrackerSettings
from spda_sam_ros.pairing import DepthPairing, NoDepth
from spda_sam_ros.parameters import Settings

if TYPE_CHECKING:
    from spda_sam_core.spda_sam import Prediction, SpdaSam

_LARGE_BYTES = 64 << 20
"""20 masks of 2048 x 1536 pixels."""
_REGISTER = "bring depth into the camera's view with depth_image_proc/register"


@dataclass(frozen=True)
class Frame:
    """An image as it came, still encoded, and when it came by the monotonic clock."""

    message: Image | CompressedImage
    arrived_s: float


class Dropped(Exception):
    """An image is given up.

    Attributes:
        reason: `too_old`, `bad_image` or `no_depth`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class SensorDepth:
    """Depth that a sensor measured for an image.

    Attributes:
        depth_m: (H, W) float32 metres along the optical axis, NaN unknown.
        skew_s: its stamp minus that of the image.
        valid_percent: share of known pixels, 0..100.
    """

    depth_m: NDArray[np.float32]
    skew_s: float
    valid_percent: float


@dataclass(frozen=True)
class Segmented:
    """The result for one image.

    Attributes:
        header: that of the image message.
        rgb: (H, W, 3) uint8.
        instances: what is to be published, classes filtered.
        prediction: what the network gave, and the depth that it saw.
        sensor_depth: what was measured, or None.
        no_depth: why nothing was.
        stage_ms: duration of each stage in milliseconds.
        track_ids: number of each instance's track; None where `tracking` is off.
    """

    header: Header
    rgb: NDArray[np.uint8]
    instances: Instances
    prediction: Prediction
    sensor_depth: SensorDepth | None
    no_depth: NoDepth | None
    stage_ms: dict[str, float]
    track_ids: tuple[int, ...] | None = None

    @property
    def large(self) -> bool:
        """Whether picture and masks take so much memory that no room is kept for the next."""
        return self.instances.masks.nbytes + self.rgb.nbytes > _LARGE_BYTES


class Segmenter:
    """Segments images with SPDA-SAM and with the depth that a pairing holds for them."""

    def __init__(self, model: SpdaSam, pairing: DepthPairing) -> None:
        self._model = model
        self._pairing = pairing
        self._tracker: Tracker | None = None

    def segment(self, frame: Frame, settings: Settings, *, now_ns: int) -> Generator[float, None, Segmented]:
        """Segment one image, in steps.

        Args:
            frame: the image.
            settings: one snapshot for the whole frame.
            now_ns: time by the clock of the image stamps.

        Yields:
            Seconds for which it waits for depth, or until the pairing changes.

        Returns:
            What was found.

        Raises:
            Dropped: too old, malformed, or without depth where `depth_policy` is `drop`.
            PairingClosed: nobody waits for the result any more.
        """
        stamp_ns = stamp_to_ns(frame.message.header.stamp)
        age_s = (now_ns - stamp_ns) / 1e9
        if settings.max_age_s and not stamp_ns:
            raise Dropped(
                "too_old", f"the image has stamp 0, so that its age is unknown, and max_age_s is {settings.max_age_s:g}"
            )
        if settings.max_age_s and age_s > settings.max_age_s:
            raise Dropped(
                "too_old",
                f"the image is {age_s:.3f} s old, max_age_s is {settings.max_age_s:g}: for a bag, play it "
                "with --clock and set use_sim_time; for a camera, compare its clock with this machine's",
            )
        began_s = time.perf_counter()
        try:
            message = frame.message
            rgb = decode_image(message) if isinstance(message, Image) else decode_compressed_image(message)
        except ImageMessageError as error:
            raise Dropped("bad_image", str(error)) from error
        decoded_s = time.perf_counter()
        sensor_depth, no_depth = None, None
        try:
            sensor_depth = yield from self._sensor_depth(frame, (rgb.shape[0], rgb.shape[1]), settings)
        except NoDepth as error:
            # its traceback has this frame, and with it all that is made here: a cycle, which would hold the pictures
            # until the garbage collector comes, and have the next ones made in memory that the system must clear first
            no_depth = error.with_traceback(None)
            if settings.depth_policy == "drop":
                raise Dropped("no_depth", str(error)) from error
        paired_s = time.perf_counter()
        following = TrackerSettings.beginning_at(settings.score_threshold) if settings.tracking else None
        (prediction,) = self._model.predict_batch(
            [rgb],
            [None if sensor_depth is None else sensor_depth.depth_m],
            score_threshold=settings.score_threshold if following is None else following.keep_score,
            estimate_depth=settings.depth_policy == "estimate",
        )
        own_ms = {"decode": (decoded_s - began_s) * 1e3, "pair": (paired_s - decoded_s) * 1e3}
        predicted_s = time.perf_counter()
        instances, track_ids = self._tracked(prediction.instances, rgb, stamp_ns, following, settings.wanted_classes)
        if track_ids is not None:
            own_ms["track"] = (time.perf_counter() - predicted_s) * 1e3
        return Segmented(
            frame.message.header,
            rgb,
            instances,
            prediction,
            sensor_depth,
            no_depth,
            {**own_ms, **prediction.stage_ms},
            track_ids,
        )

    def _tracked(
        self,
        found: Instances,
        rgb: NDArray[np.uint8],
        stamp_ns: int,
        following: TrackerSettings | None,
        wanted: tuple[str, ...] | None,
    ) -> tuple[Instances, tuple[int, ...] | None]:
        """What is to be published, with the numbers of its tracks; classes are filtered after they are followed."""
        if following is None:
            self._tracker = None
            return found.filter(class_names=wanted), None
        if self._tracker is None:
            self._tracker = Tracker()
        self._tracker.settings = following
        tracked = self._tracker.update(found, rgb, stamp_ns).of_classes(wanted)
        return tracked.instances, tuple(tracked.ids.tolist())

    def _sensor_depth(
        self, frame: Frame, size_hw: tuple[int, int], settings: Settings
    ) -> Generator[float, None, SensorDepth]:
        header = frame.message.header
        paired = yield from self._pairing.find(
            stamp_to_ns(header.stamp),
            slop_s=settings.depth_slop_s,
            deadline_s=frame.arrived_s + settings.depth_wait_s,
        )
        message = paired.message
        if message.header.frame_id != header.frame_id:
            raise NoDepth(
                "refused",
                f"depth is in frame '{message.header.frame_id}', not in the image's '{header.frame_id}': {_REGISTER}",
            )
        try:
            raw = isinstance(message, Image)
            depth_m = decode_depth(message) if raw else decode_compressed_depth(message)
        except ImageMessageError as error:
            raise NoDepth("refused", str(error)) from error
        if depth_m.shape != size_hw:
            sizes = [f"{width}x{height}" for height, width in (depth_m.shape, size_hw)]
            raise NoDepth("refused", f"depth has {sizes[0]} pixels, the image {sizes[1]}: {_REGISTER}")
        valid_percent = 100.0 * np.count_nonzero(np.isfinite(depth_m)) / depth_m.size
        if not valid_percent:
            raise NoDepth("empty", "depth has no valid pixel: sensor covered, or scene out of its range?")
        return SensorDepth(depth_m, paired.skew_s, valid_percent)
