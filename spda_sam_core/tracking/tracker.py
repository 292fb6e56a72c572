"""The same thing under the same number in frame after frame, by its mask.

A camera passes things that stand still: the masks of the last frames are carried along with the camera's motion, and
what is found now belongs to the mask that it covers best. Two stages, as ByteTrack has them (Zhang et al., ECCV 2022):
first what scores high, then what scores low and would else flicker; and within each, masks of the same class before
those of another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.instances import Instances
from spda_sam_core.settings import settings
from spda_sam_core.tracking.camera_motion import CameraMotion, MotionKind

MASK_SIDE = 320
"""Masks are compared at about so many pixels of the longer side."""
_LEAST_SEEN = 0.2
"""Share of a carried mask that must still lie in the picture; of a thing that has left, nothing can be compared."""


@settings
class TrackerSettings:
    """When tracks begin, go on and end.

    Attributes:
        begin_score: the lowest score of a thing that is new.
        keep_score: the lowest score of a thing that is followed already, so that masks do not flicker.
        overlap: the lowest IoU of a mask with the carried mask of its track.
        overlap_other_class: likewise, where the class differs.
        lost_s: seconds of stamps for which a thing that is not found is remembered.
    """

    begin_score: float = 0.3
    keep_score: float = 0.15
    overlap: float = 0.3
    overlap_other_class: float = 0.6
    lost_s: float = 2.0

    @classmethod
    def beginning_at(cls, score: float, *, lost_s: float = lost_s) -> TrackerSettings:
        """With `begin_score` at a score and `keep_score` at half of it."""
        return cls(begin_score=score, keep_score=score / 2, lost_s=lost_s)

    def __post_init__(self) -> None:
        for name in ("begin_score", "keep_score", "overlap", "overlap_other_class"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in 0..1")
        if self.keep_score > self.begin_score:
            raise ValueError(f"keep_score {self.keep_score} must be at most begin_score {self.begin_score}")
        if self.lost_s < 0:
            raise ValueError(f"lost_s {self.lost_s} must be at least 0 seconds")


class Tracked(NamedTuple):
    """What is found in a frame, with its numbers.

    Attributes:
        instances: the given ones without those that neither begin nor go on a track, in the same order.
        ids: (N,) int64, from 1; of each instance, the same as long as it is followed, and of no other thing ever.
        motion: how the camera moved, see `CameraMotion`.
        homography: (3, 3) float64, from pixels of the last frame to those of this one; see `Motion`.
    """

    instances: Instances
    ids: NDArray[np.int64]
    motion: MotionKind
    homography: NDArray[np.float64]

    def of_classes(self, wanted: Collection[str] | None, *, but: str = "") -> Tracked:
        """Those of these classes, None: of all, without one of them."""
        names = [self.instances.class_names[c] for c in self.instances.class_ids.tolist()]
        kept = [k for k, name in enumerate(names) if name != but and (wanted is None or name in wanted)]
        return self._replace(instances=self.instances.pick(kept), ids=self.ids[kept])


@dataclass
class _Track:
    """A thing that was seen: how it looked at last, and how the camera moved since."""

    number: int
    class_id: int
    mask: NDArray[np.uint8]  # (h, w) 0 or 1, of `MASK_SIDE`
    stamp_ns: int
    since: NDArray[np.float64]  # (3, 3), from pixels of `mask` to those of now


class Tracker:
    """Numbers what is found in the frames of one camera. One thread at a time.

    Args:
        settings: see there.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self._motion = CameraMotion()
        self._tracks: list[_Track] = []
        self._numbers = 0
        self._last_ns: int | None = None
        self._size_hw: tuple[int, int] | None = None

    def reset(self) -> None:
        """Forget all things; their numbers do not come back."""
        self._motion.reset()
        self._tracks = []
        self._last_ns = None
        self._size_hw = None

    def update(self, instances: Instances, rgb: NDArray[np.uint8], stamp_ns: int) -> Tracked:
        """Number the instances of the next frame. Begins anew where time runs back or the picture's size changes.

        Args:
            instances: everything from `keep_score` up; class filters come afterwards.
            rgb: (H, W, 3) uint8, the frame.
            stamp_ns: its time in nanoseconds.

        Raises:
            ValueError: instances of another size than the frame.
        """
        size_hw = (rgb.shape[0], rgb.shape[1])
        if (instances.height, instances.width) != size_hw:
            raise ValueError(f"instances are of {instances.height} x {instances.width} pixels, the frame of {size_hw}")
        if size_hw != self._size_hw or (self._last_ns is not None and stamp_ns < self._last_ns):
            self.reset()
            self._size_hw = size_hw
        self._last_ns = stamp_ns
        oldest = stamp_ns - int(self.settings.lost_s * 1e9)
        self._tracks = [track for track in self._tracks if track.stamp_ns >= oldest]
        step = max(1, round(max(size_hw) / MASK_SIDE))
        motion = self._motion.update(rgb)
        moved = _at_step(motion.homography, step)
        for track in self._tracks:
            track.since = moved @ track.since
        masks = instances.masks[:, step // 2 :: step, step // 2 :: step].astype(np.uint8)  # (N, h, w)
        owners = self._assign(instances, masks)
        begins = instances.scores >= np.float32(self.settings.begin_score)
        kept = [i for i in range(len(instances)) if owners[i] is not None or begins[i]]
        ids = np.zeros(len(kept), np.int64)
        for position, i in enumerate(kept):
            owner = owners[i] or self._begin()
            owner.class_id, owner.mask = int(instances.class_ids[i]), masks[i]
            owner.stamp_ns, owner.since = stamp_ns, np.eye(3)
            ids[position] = owner.number
        return Tracked(instances.pick(kept), ids, motion.kind, motion.homography)

    def _begin(self) -> _Track:
        self._numbers += 1
        track = _Track(self._numbers, 0, np.zeros((0, 0), np.uint8), 0, np.eye(3))
        self._tracks.append(track)
        return track

    def _assign(self, instances: Instances, masks: NDArray[np.uint8]) -> list[_Track | None]:
        """The track that each instance goes on, or none."""
        owners: list[_Track | None] = [None] * len(instances)
        if not self._tracks or not len(instances):
            return owners
        # here: it is half of what a node's start takes to import, and most nodes follow nothing
        from scipy.optimize import linear_sum_assignment

        overlaps = _overlaps(masks, self._tracks)  # (N, T)
        alike = instances.class_ids[:, None] == np.array([track.class_id for track in self._tracks])
        high = (instances.scores >= np.float32(self.settings.begin_score))[:, None]
        enough = np.where(alike, self.settings.overlap, self.settings.overlap_other_class)
        possible = (overlaps >= enough) & (instances.scores >= np.float32(self.settings.keep_score))[:, None]
        for stage in (high & alike, high & ~alike, ~high & alike, ~high & ~alike):
            gain = np.where(stage & possible, overlaps, 0.0)
            for i, t in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
                if gain[i, t] > 0:
                    owners[i] = self._tracks[t]
                    possible[i], possible[:, t] = False, False
        return owners


def _overlaps(masks: NDArray[np.uint8], tracks: list[_Track]) -> NDArray[np.float64]:
    """IoU (N, T) of masks (N, h, w) with those of tracks where they are now.

    Only what both frames could see counts: a hull that comes into view does not become less the same by it. Counted is
    in boxes, and not by one product of matrices, whose threads wait for each other where another process is busy.
    """
    size_wh = masks.shape[2], masks.shape[1]
    overlaps = np.zeros((len(masks), len(tracks)))
    boxes = [cv2.boundingRect(mask) for mask in masks]
    seen_areas: dict[bytes, list[int]] = {}  # by the motion since: most tracks were seen in the frame before
    for t, track in enumerate(tracks):
        carried = cv2.warpPerspective(track.mask, track.since, size_wh, flags=cv2.INTER_NEAREST)
        area = cv2.countNonZero(carried)
        if area < _LEAST_SEEN * cv2.countNonZero(track.mask) or not area:
            continue
        since = track.since.tobytes()
        if since not in seen_areas:
            seen = cv2.warpPerspective(np.ones_like(track.mask), track.since, size_wh, flags=cv2.INTER_NEAREST)
            seen_areas[since] = [_shared(mask, seen, box) for mask, box in zip(masks, boxes, strict=True)]
        box = cv2.boundingRect(carried)
        for i, mask in enumerate(masks):
            shared = _shared(mask, carried, _common(boxes[i], box))
            if shared:
                overlaps[i, t] = shared / (seen_areas[since][i] + area - shared)
    return overlaps


_Box = tuple[int, int, int, int]
"""x, y, width, height; nothing is in one without width or height."""


def _common(a: _Box, b: _Box) -> _Box:
    x, y = max(a[0], b[0]), max(a[1], b[1])
    return x, y, min(a[0] + a[2], b[0] + b[2]) - x, min(a[1] + a[3], b[1] + b[3]) - y


def _shared(a: NDArray[np.uint8], b: NDArray[np.uint8], box: _Box) -> int:
    """Pixels of a box that are in both of two (h, w) masks."""
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return 0
    inside = np.s_[y : y + height, x : x + width]
    count: int = cv2.countNonZero(cv2.bitwise_and(a[inside], b[inside]))
    return count


def _at_step(homography: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """A motion in pixels as one of every `step`-th pixel, of which the first is `step // 2`."""
    shrink = np.array([[1 / step, 0, -(step // 2) / step], [0, 1 / step, -(step // 2) / step], [0, 0, 1]])
    small: NDArray[np.float64] = shrink @ homography @ np.linalg.inv(shrink)
    return small
