"""Fit the map from raw to calibrated scores: Platt, "Probabilistic outputs for support vector machines", 1999."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.calibration import Calibration
from training.measuring.matching import Matches

ENOUGH = 200
"""Detections from which on a class gets a map of its own."""
EDGE = 1e-6
"""Raw scores are kept this far from 0 and 1, whose logits are infinite."""
MAX_STEPS = 100


def fit_calibration(matches: Matches) -> Calibration:
    """One map for each class with at least 200 detections, one fitted to all detections for the other classes.

    Args:
        matches: detections with uncalibrated scores. What makes one true makes the score mean that.

    Raises:
        ValueError: as `fit_platt`, of all detections together.
    """
    target = matches.true.astype(np.float64)
    pooled = fit_platt(matches.scores, target)
    maps = []
    for class_id in range(len(matches.class_names)):
        own = matches.class_ids == class_id
        try:
            maps.append(fit_platt(matches.scores[own], target[own]) if own.sum() >= ENOUGH else pooled)
        except ValueError:  # a class that is always right, or whose scores say nothing
            maps.append(pooled)
    slopes, offsets = zip(*maps, strict=True)
    return Calibration(slopes, offsets)


def fit_platt(raw: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """The slope and offset with the least cross-entropy between target and calibrated score, by Newton's method.

    Args:
        raw: (D,) uncalibrated scores in 0..1.
        target: (D,) what each score should be, 0..1: 1 and 0 for true and false.

    Raises:
        ValueError: no finite slope above 0 is best: there are too few detections, none or all of them are true, or
            better scores are not more often true.
    """
    clipped = np.clip(raw, EDGE, 1 - EDGE)
    logits = np.log(clipped / (1 - clipped))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)  # (D, 2)
    weights = np.array([1.0, 0.0])  # slope, offset

    def loss(at: NDArray[np.float64]) -> float:
        z = inputs @ at
        return float((np.logaddexp(0, z) - target * z).sum())

    for _ in range(MAX_STEPS):
        scores = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (scores - target)
        curvature = (inputs * (scores * (1 - scores))[:, None]).T @ inputs
        if np.linalg.cond(curvature) > 1 / np.finfo(np.float64).eps:
            break
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while loss(weights - size * step) > loss(weights) and size > EDGE:  # far from the minimum a step may overshoot
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < 1e-9:
            if weights[0] > 0:
                return float(weights[0]), float(weights[1])
            break
    raise ValueError(
        f"no calibration fits {len(raw)} detections, {100 * float(np.mean(target)) if len(raw) else 0:.1f} % of them "
        "true, with better scores more often true: take more pictures, or train the network further"
    )
