"""Depth of any kind becomes inverse depth in [0, 1] plus a mask; nothing unknown looks near or far."""

from __future__ import annotations

import numpy as np
import pytest

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth


def ramp() -> np.ndarray:
    """(40, 50) depth from 0.5 to 5 m."""
    return np.linspace(0.5, 5.0, 2000, dtype=np.float32).reshape(40, 50)


def test_values_follow_the_percentiles_of_inverse_depth() -> None:
    depth_m = ramp()
    low, high = np.percentile(1 / depth_m.astype(np.float64), [2, 98])
    expected = np.clip((1 / depth_m.astype(np.float64) - low) / (high - low), 0, 1)
    result = normalise_depth(depth_m)
    assert result.inverse_depth.dtype == np.float32
    np.testing.assert_allclose(result.inverse_depth, expected, atol=1e-5)
    assert result.inverse_depth[0, 0] == 1  # near is large
    assert result.valid.all()


@pytest.mark.parametrize("unknown", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e-40])
def test_holes_are_invalid_and_do_not_move_the_scale(unknown: float) -> None:
    whole = normalise_depth(ramp())
    depth_m = ramp()
    depth_m[10:30, 20:22] = unknown
    holed = normalise_depth(depth_m)
    assert not holed.valid[10:30, 20:22].any()
    assert (holed.inverse_depth[10:30, 20:22] == 0).all()
    assert holed.valid.sum() == depth_m.size - 40
    np.testing.assert_allclose(holed.inverse_depth[holed.valid], whole.inverse_depth[holed.valid], atol=0.02)


@pytest.mark.parametrize("unknown", [0.0, np.nan, np.inf, -3.0])
def test_depth_without_any_known_pixel_is_all_invalid(unknown: float) -> None:
    result = normalise_depth(np.full((6, 7), unknown, np.float32))
    assert not result.valid.any()
    assert (result.inverse_depth == 0).all()
    assert result.valid_fraction == 0


def test_zero_size_depth_does_not_raise() -> None:
    assert normalise_depth(np.zeros((0, 5), np.float32)).valid_fraction == 0


def test_a_single_known_pixel_is_in_the_middle() -> None:
    depth_m = np.full((4, 4), np.nan, np.float32)
    depth_m[1, 2] = 3.0
    result = normalise_depth(depth_m)
    assert result.valid.sum() == 1
    assert result.inverse_depth[1, 2] == pytest.approx(0.5)


def test_sensor_noise_on_a_flat_wall_stays_small() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, (40, 50))
    result = normalise_depth((2.0 + noise).astype(np.float32))
    assert result.inverse_depth.std() < 0.02
    assert result.inverse_depth.mean() == pytest.approx(0.5, abs=0.01)


def test_a_few_wild_values_do_not_flatten_the_rest() -> None:
    depth_m = ramp()
    depth_m[0, :20] = 0.001  # one per cent of the picture, 500 times nearer than the rest
    result = normalise_depth(depth_m)
    assert result.inverse_depth[20:].std() > 0.02
    assert result.inverse_depth.max() == 1


def test_relative_inverse_depth_is_invariant_to_scale_and_offset() -> None:
    inverse = (1 / ramp()).astype(np.float32)
    metric = normalise_depth(ramp())
    relative = normalise_inverse_depth(7 * inverse - 3)
    np.testing.assert_allclose(relative.inverse_depth, metric.inverse_depth, atol=1e-5)
    assert relative.valid.all()  # zero and negative values are as good as any


def test_estimator_output_that_is_not_finite_is_invalid() -> None:
    inverse = (1 / ramp()).astype(np.float32)
    inverse[3, 4], inverse[5, 6] = np.nan, np.inf
    result = normalise_inverse_depth(inverse)
    assert not result.valid[3, 4]
    assert not result.valid[5, 6]
    assert np.isfinite(result.inverse_depth).all()


def test_constant_estimate_is_in_the_middle() -> None:
    result = normalise_inverse_depth(np.full((5, 5), 3.25, np.float32))
    np.testing.assert_allclose(result.inverse_depth, 0.5)


def test_integer_depth_is_refused_because_its_unit_is_a_guess() -> None:
    with pytest.raises(TypeError, match=r"depth_m is uint16: convert to float32 metres first"):
        normalise_depth(np.ones((4, 4), np.uint16))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4, 1\): expected \(H, W\)"):
        normalise_depth(np.ones((4, 4, 1), np.float32))
    with pytest.raises(ValueError, match=r"inverse_depth \(2, 2\) and valid \(2, 3\)"):
        NormalisedDepth(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.bool_))
