"""From pixels and metric depth to points in the camera's optical frame (x right, y down, z forward)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ENOUGH_PIXELS = 20_000


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera: focal lengths and principal point in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    def centroid(
        self, mask: NDArray[np.bool_], box_xyxy: NDArray[np.float32], depth_m: NDArray[np.float32]
    ) -> tuple[float, float, float] | None:
        """Return the mean of an instance's visible surface points, or None without valid depth.

        Args:
            mask: (H, W) bool.
            box_xyxy: (4,) a box in pixels that holds the mask; only there is looked.
            depth_m: (H, W) float32 metres along the optical axis, NaN unknown.

        Returns:
            x, y, z in metres in the optical frame; of a large instance from an even sample of its pixels.
        """
        x0, y0 = (max(0, int(np.floor(v))) for v in box_xyxy[:2])
        x1, y1 = (min(side, int(np.ceil(v))) for v, side in zip(box_xyxy[2:], mask.shape[::-1], strict=True))
        step = 1 + int(math.sqrt(np.count_nonzero(mask[y0:y1, x0:x1]) / _ENOUGH_PIXELS))
        v, u = np.arange(y0, y1, step), np.arange(x0, x1, step)
        z = depth_m[y0:y1:step, x0:x1:step]
        known = mask[y0:y1:step, x0:x1:step] & np.isfinite(z)
        n = np.count_nonzero(known)
        if not n:
            return None
        depths = np.where(known, z, np.float32(0))
        of_columns, of_rows = (depths.sum(axis=axis).astype(np.float64) for axis in (0, 1))
        x = (of_columns * (u - self.cx)).sum() / self.fx
        y = (of_rows * (v - self.cy)).sum() / self.fy
        return float(x / n), float(y / n), float(of_rows.sum() / n)
