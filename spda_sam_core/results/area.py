"""How large a thing is: the area of the surface that a mask covers, from metric depth.

A pixel looks at more surface the farther and the more inclined it is. On a plane n . P = d the inverse depth is linear
in the picture, 1/z = (n . r) / d with the ray r = ((u - cx)/fx, (v - cy)/fy, 1). So a plane fitted to inverse depth
around a pixel gives its inclination, and the pixel covers z^3 |n/d| / (fx fy).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.metric import Pinhole

LEAST_KNOWN = 0.3
"""Share of a mask's pixels with depth; below it the area would be a guess."""
_LEAST_PIXELS = 12
_ENOUGH_PIXELS = 20_000
_WINDOW_SHARE = 0.15
"""Side of the window of a fit, of the root of the mask's pixels: noise in depth averages out, a curve remains one."""
_WINDOW_PX = (5, 61)
_STEEPEST = math.cos(math.radians(80))
"""A surface seen at a flatter angle than this is an edge between two things, not a surface."""


def surface_area_m2(
    camera: Pinhole, mask: NDArray[np.bool_], box_xyxy: NDArray[np.float32], depth_m: NDArray[np.float32]
) -> float | None:
    """The area of the surface that is seen through a mask, or None where too little of it has depth.

    Args:
        camera: that took the picture, rectified.
        mask: (H, W) bool.
        box_xyxy: (4,) a box in pixels that holds the mask; only there is looked.
        depth_m: (H, W) float32 metres along the optical axis, NaN unknown.

    Returns:
        Square metres. Pixels of the mask without depth count as the mean of the others; of a large instance an even
        sample of its pixels is taken.
    """
    x0, y0 = (max(0, int(np.floor(v))) for v in box_xyxy[:2])
    x1, y1 = (min(side, int(np.ceil(v))) for v, side in zip(box_xyxy[2:], mask.shape[::-1], strict=True))
    step = 1 + int(math.sqrt(np.count_nonzero(mask[y0:y1, x0:x1]) / _ENOUGH_PIXELS))
    inside = mask[y0:y1:step, x0:x1:step]
    z = depth_m[y0:y1:step, x0:x1:step].astype(np.float64)
    known = inside & np.isfinite(z) & (z > 0)
    n_mask, n_known = np.count_nonzero(inside), np.count_nonzero(known)
    if n_known < max(_LEAST_PIXELS, LEAST_KNOWN * n_mask):
        return None
    rays_x = np.broadcast_to((np.arange(x0, x1, step) - camera.cx) / camera.fx, z.shape)
    rays_y = np.broadcast_to(((np.arange(y0, y1, step) - camera.cy) / camera.fy)[:, None], z.shape)
    inverse = np.divide(1.0, z, out=np.zeros_like(z), where=known)
    low, high = _WINDOW_PX
    window = int(np.clip(_WINDOW_SHARE * math.sqrt(n_mask), low, high)) | 1
    slope_x, slope_y, level = _fit_planes(rays_x, rays_y, inverse, known, window)
    gradient = np.sqrt(slope_x**2 + slope_y**2 + (level - slope_x * rays_x - slope_y * rays_y) ** 2)  # |n / d|
    # |n . r| / (|n| |r|), the cosine of the angle between the surface's normal and the ray
    facing = level / np.maximum(gradient * np.sqrt(rays_x**2 + rays_y**2 + 1), 1e-12)
    seen = known & (level > 0)
    if not seen.any():
        return None
    inclined = 1 / np.maximum(facing, _STEEPEST)
    of_pixel = inclined * np.divide(1.0, level, out=np.zeros_like(z), where=seen) ** 2
    of_pixel /= np.sqrt(rays_x**2 + rays_y**2 + 1) * camera.fx * camera.fy
    return float(of_pixel[seen].mean() * n_mask * step**2)


def _fit_planes(
    x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64], known: NDArray[np.bool_], window: int
) -> tuple[NDArray[np.float64], ...]:
    """Least-squares planes w = a x + b y + c over the known pixels around each pixel.

    Args:
        x: (h, w) coordinates of the pixels.
        y: likewise.
        w: (h, w) values, 0 where unknown.
        known: (h, w).
        window: side of the square that is looked at, odd.

    Returns:
        a, b and the plane's value at the pixel, (h, w) each; where the pixels around one lie on a line, a and b are 0.
    """
    weight = known.astype(np.float64)

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = cv2.boxFilter(
            values, cv2.CV_64F, (window, window), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        return total

    count = np.maximum(summed(weight), 1e-9)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return summed(values * weight) / count

    mx, my, mw = mean(x), mean(y), mean(w)
    xx, xy, yy = mean(x * x) - mx * mx, mean(x * y) - mx * my, mean(y * y) - my * my
    xw, yw = mean(x * w) - mx * mw, mean(y * w) - my * mw
    determinant = xx * yy - xy * xy
    solvable = determinant > 1e-3 * (xx + yy) ** 2
    a, b = (
        np.divide(top, determinant, out=np.zeros_like(top), where=solvable)
        for top in (yy * xw - xy * yw, xx * yw - xy * xw)
    )
    return a, b, mw + a * (x - mx) + b * (y - my)
