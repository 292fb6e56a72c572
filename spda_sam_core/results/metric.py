"""From pixels and metric depth to points in the camera's optical frame (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        """Return the mean of an instance's visible surface points, or None without one valid depth.

        Args:
            mask: (H, W) bool.
            box_xyxy: (4,) a box in pixels that holds the mask; only there is looked.
            depth_m: (H, W) float32 metres along the optical axis, NaN unknown.

        Returns:
            x, y, z in metres in the optical frame.
        """
        x0, y0 = (max(0, int(np.floor(v))) for v in box_xyxy[:2])
        x1, y1 = (int(np.ceil(v)) for v in box_xyxy[2:])
        z = depth_m[y0:y1, x0:x1]
        rows, columns = np.nonzero(mask[y0:y1, x0:x1] & np.isfinite(z))
        if not len(rows):
            return None
        depths = z[rows, columns].astype(np.float64)
        x = (columns + x0 - self.cx) * depths / self.fx
        y = (rows + y0 - self.cy) * depths / self.fy
        return float(x.mean()), float(y.mean()), float(depths.mean())
