"""Measures of estimated depth against closed forms, and whose estimate is measured."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth
from training.data.dataset import CocoRgbdDataset
from training.evaluate_depth import constant, depth_metrics, evaluate_depth, own_estimate, vertical_gradient


def test_metrics_are_perfect_for_any_scale_and_offset_of_the_truth() -> None:
    depth_m = np.random.default_rng(0).uniform(1, 5, (30, 40)).astype(np.float32)
    depth_m[:5] = np.nan
    metrics = depth_metrics((3 / depth_m - 1).astype(np.float32), depth_m)
    assert metrics["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert metrics["delta1"] == 1
    assert metrics["spearman"] == pytest.approx(1, abs=1e-4)
    assert metrics["normalised_error"] == pytest.approx(0, abs=1e-4)


def test_metrics_of_a_constant() -> None:
    depth_m = np.array([[1.0, 2.0], [1.0, 2.0]], np.float32)
    metrics = depth_metrics(constant(np.zeros((2, 2, 3), np.uint8)), depth_m)
    # best constant inverse depth is 0.75, a depth of 4/3
    assert metrics["abs_rel"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert metrics["delta1"] == 0
    assert metrics["spearman"] == 0


def test_rank_correlation_agrees_with_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1, 5, (20, 30)).astype(np.float32)
    estimate = (1 / depth_m + rng.normal(0, 0.2, depth_m.shape)).astype(np.float32)
    expected = spearmanr(estimate.ravel(), (1 / depth_m.astype(np.float64)).ravel()).statistic
    assert depth_metrics(estimate, depth_m)["spearman"] == pytest.approx(expected)


def test_lower_is_nearer_suits_a_sea_floor() -> None:
    depth_m = (1 / np.linspace(0.2, 1, 30, dtype=np.float32))[:, None].repeat(40, axis=1)
    metrics = depth_metrics(vertical_gradient(np.zeros((30, 40, 3), np.uint8)), depth_m)
    assert metrics["spearman"] == pytest.approx(1)
    assert metrics["delta1"] == 1


def test_a_set_without_depth_cannot_be_measured(dataset: CocoRgbdDataset) -> None:
    for path in (dataset.root / "depth").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="none of 6 pictures has depth"):
        evaluate_depth(constant, dataset)


class Network:
    """Stands for `SpdaSam`: a preset, and the depth that it says to have seen."""

    preset = "tiny"

    def __init__(self, depth: NormalisedDepth | None) -> None:
        self.depth = depth

    def predict_batch(self, images: list[np.ndarray]) -> list[SimpleNamespace]:
        return [SimpleNamespace(depth=self.depth) for _ in images]


def test_the_networks_own_estimate_is_the_depth_that_it_saw_where_none_was_given() -> None:
    seen = normalise_depth(np.linspace(1, 5, 12, dtype=np.float32).reshape(3, 4))
    rgb = np.zeros((3, 4, 3), np.uint8)
    np.testing.assert_array_equal(own_estimate(Network(seen))(rgb), seen.inverse_depth)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="preset 'tiny' estimates no depth of its own: give --estimator"):
        own_estimate(Network(None))(rgb)  # type: ignore[arg-type]
