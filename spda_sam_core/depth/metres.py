"""Depth as sensors and files store it, in metres (REP-118)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MM_TO_M = np.float32(1e-3)


def metres(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Depth in metres.

    Args:
        stored: (H, W), uint16 millimetres or float32 metres.

    Returns:
        (H, W) float32 metres; NaN where unknown: 0, negative, NaN or inf. The array given, where all is known.
    """
    depth_m: NDArray[np.float32] = (
        stored * _MM_TO_M if stored.dtype == np.uint16 else stored.astype(np.float32, copy=False)
    )
    with np.errstate(invalid="ignore"):
        known = (depth_m > 0) & (depth_m < np.inf)
    return depth_m if known.all() else np.where(known, depth_m, np.float32(np.nan))
