"""More water between camera and scene: what turbid water does to a picture whose depth is known."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MOST = 1.2
"""Largest optical depth added at the median range: a third of the contrast is left there."""


def add_turbidity(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Veil a picture by the image formation model with one coefficient for direct light and backscatter.

        I = J exp(-b z) + B (1 - exp(-b z))        per colour channel, in linear light

    b grows from 0 to strong, red fades fastest as often as blue does, and B is a tint of the picture's own mean.
    Source: Akkaynak and Treibitz, CVPR 2018, with beta_d = beta_b. Depth itself does not change: sonar and stereo see
    the same scene, whatever the water hides from the camera.

    Args:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, NaN unknown, taken as far; None: everything at one range.
        rng: source of all chance.

    Returns:
        (H, W, 3) uint8.
    """
    strength = rng.uniform(0, _MOST) * np.exp(rng.uniform(-0.5, 0.5, 3))
    light = (rgb.astype(np.float32) / 255) ** 2  # a gamma of 2 stands for sRGB's curve
    veil = light.mean(axis=(0, 1)) * np.exp(rng.uniform(-0.7, 0.7, 3)) * np.exp(rng.uniform(-0.7, 0.7))
    through = np.exp(-_relative_range(rgb.shape[:2], depth_m)[..., None] * strength.astype(np.float32))
    veiled = light * through + veil.astype(np.float32) * (1 - through)
    result: NDArray[np.uint8] = (np.sqrt(np.clip(veiled, 0, 1)) * 255 + 0.5).astype(np.uint8)
    return result


def _relative_range(size_hw: tuple[int, int], depth_m: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(H, W) depth in units of its median, unknown places as far as the farthest; 1 everywhere without any depth."""
    known = np.isfinite(depth_m) if depth_m is not None else np.zeros(size_hw, np.bool_)
    if depth_m is None or not known.any():
        return np.ones(size_hw, np.float32)
    relative = depth_m / np.float32(np.median(depth_m[known]))
    far = np.quantile(relative[known], 0.95).astype(np.float32)
    # light is scattered on its way: the veil has no sharper edges than a few pixels
    return cv2.blur(np.where(known, np.minimum(relative, far), far), (3, 3))
