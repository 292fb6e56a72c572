"""Resizing without aliasing: area average to shrink, bilinear to enlarge."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", np.uint8, np.float32)


def resize(image: NDArray[Pixel], size_hw: tuple[int, int]) -> NDArray[Pixel]:
    """Bring an image to another size.

    Args:
        image: (H, W) or (H, W, C), at least one pixel.
        size_hw: height and width of the result, at least 1 each.

    Returns:
        (h, w) or (h, w, C). The image itself where it has that size already.
    """
    if image.shape[:2] == size_hw:
        return image
    height, width = size_hw
    shrinks = height < image.shape[0] or width < image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: NDArray[Pixel] = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized
