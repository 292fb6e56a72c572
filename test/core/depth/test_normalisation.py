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


def rough(height: int, width: int) -> np.ndarray:
    """(H, W) metres: a slope with steps, noise of a sensor, and holes in a tenth of it."""
    rng = np.random.default_rng(0)
    depth_m = np.linspace(1, 6, height)[:, None] + np.repeat(rng.uniform(0, 2, width // 40 + 1), 40)[:width]
    depth_m += rng.normal(0, 0.01, depth_m.shape)
    holes = np.repeat(np.repeat(rng.random((height // 20 + 1, width // 20 + 1)) < 0.1, 20, axis=0), 20, axis=1)
    return np.where(holes[:height, :width], np.nan, depth_m).astype(np.float32)


def shrunk(depth: NormalisedDepth, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The whole way: every pixel normalised, then means of those known; and where at least half of them are."""
    (height, width), (h, w) = depth.valid.shape, size_hw
    rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
    cell = (rows[:, None] * w + columns).reshape(-1)
    counts = np.bincount(cell, minlength=h * w)
    known = np.bincount(cell, depth.valid.reshape(-1), minlength=h * w)
    total = np.bincount(cell, depth.inverse_depth.reshape(-1), minlength=h * w)
    return (total / np.maximum(known, 1)).reshape(h, w), (known >= counts / 2).reshape(h, w)


@pytest.mark.parametrize(("size_hw", "small_hw"), [((720, 1280), (216, 384)), ((480, 640), (288, 384))])
def test_at_the_networks_size_it_is_what_the_whole_map_gives_when_shrunk(
    size_hw: tuple[int, int], small_hw: tuple[int, int]
) -> None:
    depth_m = rough(*size_hw)
    result = normalise_depth(depth_m, small_hw)
    known = np.isfinite(depth_m)
    low, high = np.percentile(1 / depth_m[known].astype(np.float64), [2, 98])  # of every known pixel
    whole = np.where(known, np.clip((1 / np.where(known, depth_m, 1) - low) / (high - low), 0, 1), 0)
    expected, expected_known = shrunk(NormalisedDepth(whole.astype(np.float32), known), small_hw)
    assert (result.valid == expected_known).mean() > 0.97
    both = result.valid & expected_known
    difference = np.abs(result.inverse_depth - expected)[both]
    assert difference.mean() < 0.006
    assert np.percentile(difference, 90) < 0.01
    assert (result.inverse_depth[~result.valid] == 0).all()


@pytest.mark.parametrize("height", [720, 480, 1080, 2160, 288])
def test_shrinking_does_not_shift(height: int) -> None:
    """A ramp from far to near is as far from the one end of the picture as from the other."""
    ramp = np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], 300, axis=1)
    seen = normalise_inverse_depth(ramp, (216, 90)).inverse_depth[:, 45]
    np.testing.assert_allclose(seen + seen[::-1], 1, atol=1e-3)


def test_a_wall_with_holes_is_one_wall_at_the_networks_size() -> None:
    """Holes do not darken the depth beside them."""
    depth_m = np.full((100, 100), 2, np.float32)
    depth_m[:, 33:66] = np.nan
    for size_hw in ((64, 64), (40, 40), (200, 200)):
        result = normalise_depth(depth_m, size_hw)
        assert result.valid.shape == size_hw
        assert 0.6 < result.valid_fraction < 0.72
        np.testing.assert_allclose(result.inverse_depth[result.valid], 0.5, atol=1e-4)


def test_a_speck_close_to_the_lens_does_not_draw_its_neighbours_near() -> None:
    depth_m = np.full((300, 300), 2, np.float32)
    depth_m[:, 150:] = 4
    clean = normalise_depth(depth_m, (100, 100)).inverse_depth
    depth_m[10::30, 10::30] = 0.001
    specked = normalise_depth(depth_m, (100, 100)).inverse_depth
    assert np.abs(specked - clean).mean() < 0.02


def test_few_known_pixels_still_give_their_percentiles() -> None:
    depth_m = np.full((720, 1280), np.nan, np.float32)
    depth_m[100:110, 100:200] = np.linspace(1, 2, 1000).reshape(10, 100)
    result = normalise_depth(depth_m)
    low, high = np.percentile(1 / np.linspace(1, 2, 1000), [2, 98])
    expected = np.clip((1 / np.linspace(1, 2, 1000) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(result.inverse_depth[result.valid], expected, atol=1e-4)
    assert not normalise_depth(np.full((720, 1280), np.nan, np.float32), (216, 384)).valid.any()


def test_relative_inverse_depth_is_brought_to_a_size_in_the_same_way() -> None:
    depth_m = rough(480, 640)
    metric, relative = (
        normalise_depth(depth_m, (288, 384)),
        normalise_inverse_depth((5 / depth_m - 2).astype(np.float32), (288, 384)),
    )
    assert np.array_equal(metric.valid, relative.valid)
    np.testing.assert_allclose(relative.inverse_depth, metric.inverse_depth, atol=1e-3)
