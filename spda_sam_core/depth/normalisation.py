"""Depth of any origin, metric or relative, becomes one normalised inverse-depth map with a validity mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINIMUM_DEPTH_M = 1e-4
"""Depth below a tenth of a millimetre, the resolution of no sensor, is unknown rather than very near."""

MINIMUM_RELATIVE_SPAN = 0.01
"""A flatter scene (a wall seen square on) is not stretched to [0, 1]: that would show only noise."""

_PERCENTILES = (2.0, 98.0)
_SAMPLES = 20_000


@dataclass(frozen=True)
class NormalisedDepth:
    """What the network sees of depth.

    Attributes:
        inverse_depth: (H, W) float32 in [0, 1], 1 is near; 0 where not valid.
        valid: (H, W) bool, whether depth is known.
    """

    inverse_depth: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.inverse_depth.ndim != 2 or self.inverse_depth.shape != self.valid.shape:
            raise ValueError(
                f"inverse_depth {self.inverse_depth.shape} and valid {self.valid.shape} must both be (H, W)"
            )

    @property
    def valid_fraction(self) -> float:
        """Share of the pixels with known depth, 0..1."""
        return float(self.valid.mean()) if self.valid.size else 0.0


def normalise_depth(depth_m: NDArray[np.floating]) -> NormalisedDepth:
    """Scale metric depth: 1/depth, its 2nd and 98th percentile to 0 and 1.

    Args:
        depth_m: (H, W) floating point depth along the optical axis in metres (REP-118); values <= 0, NaN and
            inf are unknown.

    Returns:
        The map at the same size. Without a single known pixel `valid` is False everywhere.

    Raises:
        TypeError: integer depth, whose unit would have to be guessed.
        ValueError: not (H, W).
    """
    _check(depth_m, "depth_m", "convert to float32 metres first (16UC1 is millimetres, REP-118)")
    # NaN compares False, so this leaves out all that is unknown
    valid = (depth_m >= MINIMUM_DEPTH_M) & (depth_m < np.inf)
    inverse = 1.0 / np.where(valid, depth_m, 1.0).astype(np.float32)
    return _scale(inverse, valid, MINIMUM_RELATIVE_SPAN)


def normalise_inverse_depth(relative_inverse_depth: NDArray[np.floating]) -> NormalisedDepth:
    """Scale the relative inverse depth of an estimator, of unknown scale and offset, in the same way.

    Args:
        relative_inverse_depth: (H, W) floating point, larger is nearer; NaN and inf are unknown.

    Returns:
        The map at the same size.

    Raises:
        TypeError: not floating point.
        ValueError: not (H, W).
    """
    _check(relative_inverse_depth, "relative_inverse_depth", "pass the estimator's float output")
    valid = np.isfinite(relative_inverse_depth)
    # the offset is arbitrary, so a span relative to the values means nothing: only rounding is held down
    return _scale(np.where(valid, relative_inverse_depth, 0).astype(np.float32), valid, 1e-5)


def _check(depth: NDArray[np.floating], name: str, fix: str) -> None:
    if not np.issubdtype(depth.dtype, np.floating):
        raise TypeError(f"{name} is {depth.dtype}: {fix}")
    if depth.ndim != 2:
        raise ValueError(f"{name} has shape {depth.shape}: expected (H, W)")


def _scale(values: NDArray[np.float32], valid: NDArray[np.bool_], minimum_relative_span: float) -> NormalisedDepth:
    known = values[valid]
    if known.size == 0:
        return NormalisedDepth(np.zeros(values.shape, np.float32), valid)
    # percentiles of an even sample: the full partition costs more than the rest of this module
    low, high = np.percentile(known[:: known.size // _SAMPLES + 1], _PERCENTILES)
    span = max(high - low, minimum_relative_span * max(abs(low), abs(high)), 1e-12)
    scaled = (values - np.float32((low + high) / 2)) / np.float32(span) + np.float32(0.5)
    return NormalisedDepth(np.where(valid, np.clip(scaled, 0, 1), 0).astype(np.float32), valid)
