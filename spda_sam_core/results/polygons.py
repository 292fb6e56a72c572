"""Outlines of masks as COCO polygons, which labelling tools let a person correct."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_FINE = 4
"""OpenCV runs its contours through the middles of pixels: in a mask enlarged so many times that is an eighth of a
pixel inside the edge."""
_TOLERANCE_PX, _OF_SIDE = 1.0, 1 / 16
"""Corners that change an outline by less, or by less than this share of a thin mask's side, are left out: a person
should not have to drag each pixel's corner."""
_LEAST_POINTS = 3


def polygons_of(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The outer outlines of a mask; holes are lost, as COCO's polygons have none.

    Args:
        mask: (H, W) bool.

    Returns:
        One [x, y, x, y, ...] per part, in pixels whose edges lie at whole numbers (the left edge of the image is 0).
        Empty for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    y0, x0 = int(rows[0]), int(columns[0])
    part = mask[y0 : rows[-1] + 1, x0 : columns[-1] + 1].astype(np.uint8)
    fine = np.pad(part.repeat(_FINE, axis=0).repeat(_FINE, axis=1), 1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    tolerance = min(_TOLERANCE_PX, min(part.shape) * _OF_SIDE) * _FINE
    polygons = []
    for contour in contours:
        outline = cv2.approxPolyDP(contour, tolerance, closed=True)[:, 0].astype(np.float64)
        if len(outline) >= _LEAST_POINTS:
            polygons.append(((outline - 0.5) / _FINE + (x0, y0)).round(2).ravel().tolist())
    return polygons
