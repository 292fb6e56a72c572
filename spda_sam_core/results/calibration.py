"""From the network's raw scores to scores that mean what they say: monotone maps, fitted by `training/calibrate.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Platt's map, `logit(score) = slope * logit(raw) + offset`, by default no change.

    Attributes:
        slopes: one for all classes, or one for each class by its id; above 0, so that within a class better stays
            better.
        offsets: as many; above 0 lifts scores.

    Raises:
        ValueError: a slope that is not above 0, a number that is not finite, or not as many offsets as slopes.
    """

    slopes: tuple[float, ...] = (1.0,)
    offsets: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not self.slopes or len(self.slopes) != len(self.offsets):
            raise ValueError(
                f"calibration has {len(self.slopes)} slopes and {len(self.offsets)} offsets: give one of each for all "
                "classes, or one of each for each class"
            )
        for slope, offset in zip(self.slopes, self.offsets, strict=True):
            if not (0 < slope < np.inf and np.isfinite(offset)):
                raise ValueError(
                    f"calibration with slope {slope} and offset {offset}: the slope must be above 0, both finite"
                )

    def __call__(self, raw: NDArray[np.floating[Any]], class_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Calibrate scores; 0 stays 0, 1 stays 1, NaN stays NaN.

        Args:
            raw: (N,) float in 0..1.
            class_ids: (N,) int64.

        Returns:
            (N,) float32 in 0..1.
        """
        per_class = np.array([self.slopes, self.offsets], np.float64)
        slope, offset = per_class if len(self.slopes) == 1 else per_class[:, class_ids]
        raw = np.asarray(raw, np.float64)
        # the odds to the power of the slope, times exp(offset), without dividing by 1 - raw
        for_it, against = raw**slope * np.exp(offset / 2), (1 - raw) ** slope * np.exp(-offset / 2)
        return np.asarray(for_it / (for_it + against), np.float32)

    def check_classes(self, n_classes: int) -> None:
        """Refuse a calibration that is one of other classes.

        Raises:
            ValueError: as many maps as neither one nor the number of classes.
        """
        if len(self.slopes) not in (1, n_classes):
            raise ValueError(f"calibration has maps for {len(self.slopes)} classes, but there are {n_classes}")

    def to_dict(self) -> dict[str, list[float]]:
        """What `from_dict` takes, for the header of a checkpoint."""
        return {"slopes": list(self.slopes), "offsets": list(self.offsets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` gave.

        Raises:
            ValueError: other keys, or values that are no lists of numbers or cannot be.
        """
        try:
            return cls(**{name: tuple(float(value) for value in given) for name, given in values.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"calibration {values!r}: expected {{'slopes': numbers above 0, 'offsets': numbers}} ({error})"
            ) from error


UNCALIBRATED = Calibration()
"""Leaves raw scores as they are."""
