"""How the camera moved between two frames, from what the picture shows: sparse optical flow and RANSAC.

On a hull the things stand still and the camera moves, so one homography tells where each of them went. What is burnt
into the picture (time, depth, compass) and the robot's own arm stay in place when everything else moves: left in, they
say "no motion" in most pairs of real ROV pictures. So features that move decide, and places at which something stayed
while the scene moved are remembered and no longer looked at.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 480
"""The picture is halved until it is no longer than this."""
N_FEATURES = 150
STILL_PX = 0.5
"""A feature that moved less, at `LONG_SIDE`, stayed in place."""
LEAST_MOVING = 12
"""Fewer features that agree are chance: floating particles, or a fish."""
LEAST_AGREEING = 0.4
"""Of the features that moved."""
_FLOW: dict[str, Any] = {
    "winSize": (15, 15),
    "maxLevel": 4,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
    "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
}
_RANSAC_PX = 2.0
_BACK_PX = 1.0
"""A feature that does not come back to where it was when followed backwards was lost."""
_OVERLAY_RADIUS = 6
_OVERLAY_SEEN = 2
"""So often must a place stay while the scene moves before it counts as part of the picture, not of the scene."""

MotionKind = Literal["moved", "still", "unknown"]


class Motion(NamedTuple):
    """Where what was seen in the last frame is now.

    Attributes:
        kind: "unknown": there is no last frame, or nothing that could be followed; `homography` is then the identity.
        homography: (3, 3) float64, from pixel coordinates of the last frame to those of this one; a pixel's centre
            has whole coordinates.
    """

    kind: MotionKind
    homography: NDArray[np.float64]


class CameraMotion:
    """Follows features from each frame to the next. One thread at a time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the last frame and what was learned of overlays."""
        self._last: NDArray[np.uint8] | None = None
        self._stayed: NDArray[np.uint8] | None = None
        self._size_hw: tuple[int, int] | None = None

    def update(self, rgb: NDArray[np.uint8]) -> Motion:
        """Motion from the last frame to this one; begins anew where the size of the picture changes.

        Args:
            rgb: (H, W, 3) uint8.
        """
        size_hw = (rgb.shape[0], rgb.shape[1])
        if size_hw != self._size_hw:
            self.reset()
            self._size_hw = size_hw
        small = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        while max(small.shape) > LONG_SIDE:  # the area of two by two pixels: a tenth of the time of any other factor
            small = cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        last, self._last = self._last, small
        if last is None:
            self._stayed = np.zeros(small.shape, np.uint8)
            return Motion("unknown", np.eye(3))
        motion = self._between(last, small, np.zeros(2))
        if motion.kind == "unknown":
            # flow finds a tenth of the picture at most; correlation finds any shift, but nothing else
            shift, _ = cv2.phaseCorrelate(last.astype(np.float32), small.astype(np.float32), _hann(small.shape))
            motion = self._between(last, small, np.array(shift))
        return Motion(motion.kind, _at_size(motion.homography, (small.shape[1], small.shape[0]), size_hw))

    def _between(self, last: NDArray[np.uint8], now: NDArray[np.uint8], shift_xy: NDArray[np.float64]) -> Motion:
        """Motion between small grey pictures; features are looked for where they would be after a shift."""
        before, after = self._follow(last, now, shift_xy)
        dx, dy = (after - before).T
        moving = np.hypot(dx, dy) >= STILL_PX
        found = _homography(before[moving], after[moving])
        if found is not None:
            self._learn_overlays(before[~moving], found)
            return Motion("moved", found)
        # nothing that moved agrees: the camera stands still if more than overlays stayed
        n_moving = int(np.count_nonzero(moving))
        still = len(moving) - n_moving >= max(LEAST_MOVING, n_moving)
        return Motion("still" if still else "unknown", np.eye(3))

    def _follow(
        self, last: NDArray[np.uint8], now: NDArray[np.uint8], shift_xy: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], ...]:
        """Places (n, 2) of features in the last and in this frame, those that could be followed there and back."""
        assert self._stayed is not None
        scene = np.where(self._stayed < _OVERLAY_SEEN, np.uint8(255), np.uint8(0))
        corners = cv2.goodFeaturesToTrack(last, N_FEATURES, 0.01, 12, mask=scene)
        if corners is None:
            return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
        expected = (corners + shift_xy).astype(np.float32)
        moved, found, _ = cv2.calcOpticalFlowPyrLK(last, now, corners, expected, **_FLOW)
        returned = (moved - shift_xy).astype(np.float32)
        back, found_back, _ = cv2.calcOpticalFlowPyrLK(now, last, moved, returned, **_FLOW)
        good = (found & found_back)[:, 0].astype(bool)
        good &= np.linalg.norm((back - corners)[:, 0], axis=1) < _BACK_PX
        return corners[good, 0], moved[good, 0]

    def _learn_overlays(self, stayed: NDArray[np.float32], homography: NDArray[np.float64]) -> None:
        """Remember places that stayed though the scene there moved."""
        assert self._stayed is not None
        if not len(stayed):
            return
        expected = cv2.perspectiveTransform(stayed[:, None], homography)[:, 0]
        wrong = np.linalg.norm(expected - stayed, axis=1) > 2 * STILL_PX
        for x, y in stayed[wrong].round().astype(int).tolist():
            spot = self._stayed[
                max(0, y - _OVERLAY_RADIUS) : y + _OVERLAY_RADIUS + 1,
                max(0, x - _OVERLAY_RADIUS) : x + _OVERLAY_RADIUS + 1,
            ]
            np.minimum(spot + 1, _OVERLAY_SEEN, out=spot)
        if np.count_nonzero(self._stayed == _OVERLAY_SEEN) > self._stayed.size / 2:  # no overlay covers that much
            self._stayed[:] = 0


@functools.lru_cache(maxsize=4)
def _hann(size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Weights that fall to nothing at the border, where pictures have nothing in common."""
    window: NDArray[np.float32] = cv2.createHanningWindow(size_hw[::-1], cv2.CV_32F)
    return window


def _homography(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """The homography on which enough features agree; None: there is none, or it is no motion of a camera."""
    if len(before) < LEAST_MOVING:
        return None
    found, agree = cv2.findHomography(before, after, cv2.RANSAC, _RANSAC_PX)
    if found is None or np.count_nonzero(agree) < max(LEAST_MOVING, LEAST_AGREEING * len(before)):
        return None
    area = float(np.linalg.det(found[:2, :2]))
    tilt = float(np.abs(found[2, :2]).sum()) * LONG_SIDE
    if not 0.5 < area < 2 or tilt > 0.5:  # a jump in scale, or a plane that folds: features were confused
        return None
    homography: NDArray[np.float64] = found
    return homography


def _at_size(
    homography: NDArray[np.float64], small_wh: tuple[int, int], size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """The same motion in the pixels of the full picture; the centres of pixels are half a pixel off their corners."""
    scale_x, scale_y = small_wh[0] / size_hw[1], small_wh[1] / size_hw[0]
    shrink = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])
    whole: NDArray[np.float64] = np.linalg.inv(shrink) @ homography @ shrink
    return whole / whole[2, 2]
