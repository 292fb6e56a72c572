"""Whether a picture shows anything: dark, glare, blank, or clear."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Sight = Literal["clear", "dark", "glare", "blank", "lost"]
"""lost: there is no picture."""

_DARK, _DARK_SHARE = 30, 0.95
"""Of 255: nothing can be told apart below."""
_GLARE, _GLARE_SHARE = 250, 0.3
_BLANK = 2.0
"""Standard deviation of the grey values at an eighth of the size: fog, a cover, a stream that shows one colour."""


def sight_of(rgb: NDArray[np.uint8]) -> Sight:
    """What can be seen in a picture, (H, W, 3) uint8; the limits are our choice."""
    step = max(1, min(rgb.shape[:2]) // 90)
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[::step, ::step]), cv2.COLOR_RGB2GRAY)
    if np.mean(grey < _DARK) >= _DARK_SHARE:
        return "dark"
    if np.mean(grey >= _GLARE) >= _GLARE_SHARE:
        return "glare"
    return "blank" if float(grey.std()) < _BLANK else "clear"
