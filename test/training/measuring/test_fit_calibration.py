"""The fitted map is the one that the detections came from, and the one that a general optimiser finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from training.measuring.fit_calibration import fit_calibration, fit_platt
from training.measuring.matching import Matches


def sample(seed: int, n: int, slope: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores, and whether each came true: with the chance that the map gives."""
    rng = np.random.default_rng(seed)
    raw = rng.beta(0.5, 1.5, n)
    chance = 1 / (1 + np.exp(-(slope * np.log(raw / (1 - raw)) + offset)))
    return raw, (rng.random(n) < chance).astype(np.float64)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.5, 1.0), (0.4, -2.0)])
def test_it_finds_the_map_that_the_truth_was_drawn_from(slope: float, offset: float) -> None:
    found = fit_platt(*sample(0, 100_000, slope, offset))
    assert found == (pytest.approx(slope, rel=0.05), pytest.approx(offset, abs=0.06))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_minimum_of_the_cross_entropy(seed: int) -> None:
    raw, target = sample(seed, 300, 1.7, -1.0)
    target = target * np.random.default_rng(seed).uniform(0.5, 1, 300)  # an IoU will do as well

    def loss(weights: np.ndarray) -> float:
        scores = 1 / (1 + np.exp(-(weights[0] * np.log(raw / (1 - raw)) + weights[1])))
        return float(-(target * np.log(scores) + (1 - target) * np.log(1 - scores)).sum())

    best = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert fit_platt(raw, target) == pytest.approx(tuple(best.x), abs=1e-5)


def test_scores_of_0_and_1_are_no_trouble() -> None:
    raw, target = [0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    assert np.isfinite(fit_platt(np.array(raw), np.array(target))).all()


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        ([], []),
        ([0.5], [1.0]),
        ([0.2, 0.4, 0.9], [0.0, 0.0, 0.0]),
        ([0.2, 0.4, 0.9], [1.0, 1.0, 1.0]),
        ([0.2, 0.4, 0.9], [0.0, 0.0, 1.0]),  # no slope is steep enough
        ([0.2, 0.4, 0.6, 0.9], [1.0, 1.0, 0.0, 0.0]),
        ([0.2, 0.4, 0.6, 0.9], [1.0, 0.0, 1.0, 0.0]),  # the worse, the more often true
    ],
)
def test_what_fixes_no_rising_map_is_refused(raw: list[float], target: list[float]) -> None:
    with pytest.raises(ValueError, match=rf"no calibration fits {len(raw)} detections, .* % of them true"):
        fit_platt(np.array(raw), np.array(target))


def test_a_class_has_its_own_map_from_200_detections_on_else_that_of_all() -> None:
    n = [199, 200, 5000, 250]
    drawn = [sample(k, count, slope, 0.0) for k, (count, slope) in enumerate(zip(n, (1, 1, 3, 1), strict=True))]
    drawn[3] = drawn[3][0], np.ones(250)  # always right: no map of its own fits
    raw, true = (np.concatenate(part) for part in zip(*drawn, strict=True))
    ids = np.repeat(np.arange(4), n)
    names = ("few", "enough", "many", "always")
    iou = 0.5 * true  # however well it fits, it is true
    found = fit_calibration(Matches(raw, ids, np.zeros_like(ids), iou, np.array(n), names))
    pooled = fit_platt(raw, true)
    expected = [pooled, fit_platt(*drawn[1]), fit_platt(*drawn[2]), pooled]
    assert list(zip(found.slopes, found.offsets, strict=True)) == [pytest.approx(each) for each in expected]
    assert found.slopes[2] > found.slopes[1] + 1
