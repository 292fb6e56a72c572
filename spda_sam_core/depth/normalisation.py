"""Depth of any origin, metric or relative, becomes one normalised inverse-depth map with a validity mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.resize import resize

MINIMUM_DEPTH_M = 1e-4
"""Depth below a tenth of a millimetre, the resolution of no sensor, is unknown rather than very near."""

MINIMUM_RELATIVE_SPAN = 0.01
"""A flatter scene (a wall seen square on) is not stretched to [0, 1]: that would show only noise."""

_PERCENTILES = (2.0, 98.0)
_SAMPLES = 20_000
_ENOUGH_SAMPLES = 2_000
_KNOWN_SHARE = 0.5


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


def normalise_depth(depth_m: NDArray[np.floating], size_hw: tuple[int, int] | None = None) -> NormalisedDepth:
    """Scale metric depth: 1/depth, its 2nd and 98th percentile to 0 and 1.

    Args:
        depth_m: (H, W) floating point depth along the optical axis in metres (REP-118); values <= 0, NaN and
            inf are unknown.
        size_hw: height and width of the result; None: those of `depth_m`. A pixel of a smaller map is the mean of
            known inverse depths under it, and known if half of those looked at are.

    Returns:
        The map. Without a single known pixel `valid` is False everywhere.

    Raises:
        TypeError: integer depth, whose unit would have to be guessed.
        ValueError: not (H, W).
    """
    _check(depth_m, "depth_m", "convert to float32 metres first (16UC1 is millimetres, REP-118)")
    seen_m = _thinned(depth_m, size_hw)
    # NaN compares False, so this leaves out all that is unknown
    valid = (seen_m >= MINIMUM_DEPTH_M) & (seen_m < np.inf)
    inverse = np.where(valid, seen_m, np.float32(np.inf))
    np.divide(np.float32(1), inverse, out=inverse)
    return _scale(inverse, valid, MINIMUM_RELATIVE_SPAN, size_hw)


def normalise_inverse_depth(
    relative_inverse_depth: NDArray[np.floating], size_hw: tuple[int, int] | None = None
) -> NormalisedDepth:
    """Scale the relative inverse depth of an estimator, of unknown scale and offset, in the same way.

    Args:
        relative_inverse_depth: (H, W) floating point, larger is nearer; NaN and inf are unknown.
        size_hw: see `normalise_depth`.

    Returns:
        The map.

    Raises:
        TypeError: not floating point.
        ValueError: not (H, W).
    """
    _check(relative_inverse_depth, "relative_inverse_depth", "pass the estimator's float output")
    seen = _thinned(relative_inverse_depth, size_hw)
    valid = np.isfinite(seen)
    inverse = np.where(valid, seen, np.float32(-np.inf))
    # the offset is arbitrary, so a span relative to the values means nothing: only rounding is held down
    return _scale(inverse, valid, 1e-5, size_hw)


def _check(depth: NDArray[np.floating], name: str, fix: str) -> None:
    if not np.issubdtype(depth.dtype, np.floating):
        raise TypeError(f"{name} is {depth.dtype}: {fix}")
    if depth.ndim != 2:
        raise ValueError(f"{name} has shape {depth.shape}: expected (H, W)")


def _thinned(depth: NDArray[np.floating], size_hw: tuple[int, int] | None) -> NDArray[np.float32]:
    """The middle one of each n x n pixels, n odd and as large as leaves one for each pixel of the result.

    As in training, where depth is taken from the nearest pixel: what the sensor says of a place matters, and to look
    at all of a large map costs more than the rest of this module.
    """
    if size_hw is not None:
        factor = int(min(depth.shape[0] / size_hw[0], depth.shape[1] / size_hw[1]))
        step = max(1, factor - 1 + factor % 2)
        depth = np.ascontiguousarray(depth[step // 2 :: step, step // 2 :: step])
    return depth.astype(np.float32, copy=False)


def _scale(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    minimum_relative_span: float,
    size_hw: tuple[int, int] | None,
) -> NormalisedDepth:
    """Scale `values`, which are changed in place and infinitely far where not valid, and bring them to a size."""
    size_hw = size_hw or (values.shape[0], values.shape[1])
    known = _sample(values, valid)
    if known.size == 0:
        return NormalisedDepth(np.zeros(size_hw, np.float32), np.zeros(size_hw, np.bool_))
    low, high = (float(value) for value in np.percentile(known, _PERCENTILES))
    middle = (low + high) / 2
    span = max(high - low, minimum_relative_span * max(abs(low), abs(high)), 1e-12)
    # what is unknown becomes 0 as what is far does, and adds nothing to a mean
    np.clip(values, np.float32(middle - span / 2), np.float32(middle + span / 2), out=values)
    scaled = (resize(values, size_hw) - np.float32(middle)) / np.float32(span) + np.float32(0.5)
    if not valid.all():
        share = resize(valid.astype(np.float32), size_hw)
        valid = share >= _KNOWN_SHARE
        scaled = np.where(valid, scaled / np.maximum(share, np.float32(_KNOWN_SHARE)), np.float32(0))
    else:
        valid = np.ones(size_hw, np.bool_)
    return NormalisedDepth(np.clip(scaled, 0, 1), valid)


def _sample(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Known values of some pixels: percentiles of all cost more than the rest of this module."""
    step = 1 + values.size // _SAMPLES
    while math.gcd(step, values.shape[1]) > 1:  # so that every row and every column has its part
        step += 1
    known = values.reshape(-1)[::step][valid.reshape(-1)[::step]]
    return known if known.size >= _ENOUGH_SAMPLES else values[valid]
