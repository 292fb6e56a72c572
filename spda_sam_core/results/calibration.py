"""From the network's raw score to one that means what it says: a monotone map, fitted by `training/calibrate.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Platt's map, `logit(score) = slope * logit(raw) + offset`, the same for all classes; by default no change.

    One map keeps the order of all instances of a picture, whatever their classes: class-agnostic figures, and which
    of two doubles stays, are those of the raw scores.

    Attributes:
        slope: above 0, so that better stays better.
        offset: above 0 lifts scores.

    Raises:
        ValueError: a slope that is not above 0, or a number that is not finite.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf and np.isfinite(self.offset)):
            raise ValueError(
                f"calibration with slope {self.slope} and offset {self.offset}: the slope must be above 0, both finite"
            )

    def __call__(self, raw: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(N,) float scores in 0..1 to (N,) float32 scores in 0..1; 0 stays 0, 1 stays 1, NaN stays NaN."""
        raw = np.asarray(raw, np.float64)
        # the odds to the power of the slope, times exp(offset), without dividing by 1 - raw
        for_it, against = raw**self.slope * np.exp(self.offset / 2), (1 - raw) ** self.slope * np.exp(-self.offset / 2)
        return np.asarray(for_it / (for_it + against), np.float32)

    def to_dict(self) -> dict[str, float]:
        """What `from_dict` takes, for the header of a checkpoint."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` gave.

        Raises:
            ValueError: other keys, or values that are no numbers or cannot be.
        """
        try:
            return cls(**{name: float(value) for name, value in values.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"calibration {values!r}: expected {{'slope': above 0, 'offset': number}} ({error})"
            ) from error


UNCALIBRATED = Calibration()
"""Leaves raw scores as they are."""
