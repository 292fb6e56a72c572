"""Metric depth from a file, as robots and cameras store it (REP-118)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.metres import metres
from spda_sam_core.picture_file import read_pixels


def read_depth_m(path: Path, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Read one channel of 16-bit millimetres, or of 32-bit floating point metres.

    Args:
        path: a PNG or TIFF.
        size_hw: height and width to expect.

    Returns:
        (H, W) float32 metres, NaN is unknown.

    Raises:
        FileNotFoundError: no such file, or no picture.
        ValueError: another size or type, or cut off.
    """
    stored = read_pixels(path)
    if stored.shape != size_hw or stored.dtype not in (np.uint16, np.float32):
        raise ValueError(
            f"{path}: {stored.dtype} {stored.shape}, expected {size_hw} pixels (height, width) in one channel: uint16 "
            "millimetres or float32 metres"
        )
    return metres(stored)
