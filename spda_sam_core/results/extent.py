"""How far a thing reaches in space: the box around the surface that a mask covers, from metric depth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.area import LEAST_KNOWN
from spda_sam_core.results.metric import Pinhole

_LEAST_PIXELS = 12
_ENOUGH_PIXELS = 20_000
_FENCE = 1.5
"""Of the spread of the middle half of the depths: how far outside it a depth may lie (Tukey, 1977)."""
_LEAST_REACH = 0.02
"""Of the median depth: so far at least it may, or a flat thing would have no thickness at all."""


class Box3d(NamedTuple):
    """A box whose sides are parallel to the axes of the camera's optical frame (x right, y down, z forward).

    Attributes:
        centre_m: x, y, z in metres.
        size_m: full sides along x, y, z in metres.
    """

    centre_m: tuple[float, float, float]
    size_m: tuple[float, float, float]


def box_3d(
    camera: Pinhole, mask: NDArray[np.bool_], box_xyxy: NDArray[np.float32], depth_m: NDArray[np.float32]
) -> Box3d | None:
    """The box around the visible surface of an instance, or None where too little of it has depth.

    At the rim of a mask depth is often that of what lies behind or before. So a depth counts only if it lies within 1.5
    times the spread of the middle half of all, or within 2 % of the median, of that half; of those that count the box
    holds all, each pixel with its full width.

    Args:
        camera: that took the picture, rectified.
        mask: (H, W) bool.
        box_xyxy: (4,) a box in pixels that holds the mask; only there is looked.
        depth_m: (H, W) float32 metres along the optical axis, NaN unknown.
    """
    x0, y0 = (max(0, int(np.floor(v))) for v in box_xyxy[:2])
    x1, y1 = (min(side, int(np.ceil(v))) for v, side in zip(box_xyxy[2:], mask.shape[::-1], strict=True))
    inside, z = mask[y0:y1, x0:x1], depth_m[y0:y1, x0:x1]
    known = inside & np.isfinite(z) & (z > 0)
    depths = z[known]  # (n,)
    if len(depths) < max(_LEAST_PIXELS, LEAST_KNOWN * np.count_nonzero(inside)):
        return None
    low, median, high = np.percentile(depths[:: 1 + len(depths) // _ENOUGH_PIXELS], (25, 50, 75))
    reach = max(_FENCE * (high - low), _LEAST_REACH * median)
    kept = known & (z >= low - reach) & (z <= high + reach)
    left, right = _across(kept, z, 0, camera.fx, camera.cx - x0)
    top, bottom = _across(kept, z, 1, camera.fy, camera.cy - y0)
    near, far = float(z[kept].min()), float(z[kept].max())
    ends = ((left, right), (top, bottom), (near, far))
    x, y, depth = ((least + most) / 2 for least, most in ends)
    width, height, thickness = (most - least for least, most in ends)
    return Box3d((x, y, depth), (width, height, thickness))


def _across(
    kept: NDArray[np.bool_], z: NDArray[np.float32], axis: int, focal: float, principal: float
) -> tuple[float, float]:
    """Least and greatest coordinate of the edges of pixels in metres, along rows (axis 0) or columns (axis 1).

    Args:
        kept: (h, w) pixels that count.
        z: (h, w) their depth in metres.
        axis: over which the pixels of a column, or of a row, lie.
        focal: length in pixels.
        principal: point, in pixels from the first column or row.
    """
    # for one column the coordinate grows with depth on one side of the axis and falls on the other: two depths will do
    there = kept.any(axis=axis)
    nearest = np.where(kept, z, np.float32(np.inf)).min(axis=axis)[there].astype(np.float64)
    farthest = np.where(kept, z, np.float32(0)).max(axis=axis)[there].astype(np.float64)
    places = np.flatnonzero(there) - principal
    first, last = (places - 0.5) / focal, (places + 0.5) / focal
    least = np.minimum(first * nearest, first * farthest).min()
    most = np.maximum(last * nearest, last * farthest).max()
    return float(least), float(most)
