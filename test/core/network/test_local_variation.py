"""Local variation of depth against closed forms; its pyramid."""

from __future__ import annotations

import pytest
import torch
from network_cases import SMALL
from torch import Tensor

from spda_sam_core.network.fusion import DepthVariation, local_variation

SIDE = 64
INNER = (..., slice(8, -8), slice(8, -8))


def everywhere() -> Tensor:
    return torch.ones(1, 1, SIDE, SIDE)


def squeezed(x: float) -> float:
    return x / (abs(x) + 0.02)


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_constant_depth_has_no_variation(value: float) -> None:
    flat = local_variation(value * everywhere(), everywhere())
    assert flat.shape == (1, 5, 32, 32)
    assert flat[:, :4].abs().max() < 1e-4
    assert torch.equal(flat[:, 4], torch.ones(1, 32, 32))


def test_a_ramp_has_a_constant_one_in_its_own_direction() -> None:
    ramp = torch.linspace(0, 1, SIDE).expand(1, 1, SIDE, SIDE)
    step = squeezed(2 / 63)  # two pixels
    for depth, moving, still in ((ramp, 0, 1), (ramp.transpose(2, 3), 1, 0)):
        variation = local_variation(depth, everywhere())[0]
        torch.testing.assert_close(variation[moving][INNER], torch.full((16, 16), step))
        for straight in (still, 2, 3):  # no change across, and no curvature
            assert variation[straight][INNER].abs().max() < 1e-3


def test_a_step_is_between_the_two_places_that_it_parts() -> None:
    depth = torch.zeros(1, 1, SIDE, SIDE)
    depth[..., 32:] = 0.5
    right, down, fine, wide = local_variation(depth, everywhere())[0, :4]
    expected = torch.zeros(32)
    expected[15] = squeezed(0.5)
    torch.testing.assert_close(right[10], expected)
    assert not down.any()
    # of a window of n columns those beyond the step count: 1 of 3, and 4 of 9
    assert fine[10, 15].item() == pytest.approx(squeezed(-0.5 / 3), rel=1e-4)
    assert fine[10, 16].item() == pytest.approx(squeezed(0.5 / 3), rel=1e-4)
    assert wide[10, 15].item() == pytest.approx(squeezed(-0.5 * 4 / 9), rel=1e-4)
    assert fine[10, 14].item() == pytest.approx(0, abs=1e-4)
    assert wide[10, 14].item() == pytest.approx(squeezed(-0.5 * 3 / 9), rel=1e-4)


def test_the_edge_of_a_hole_is_no_edge_of_depth() -> None:
    depth, valid = 0.9 * everywhere(), everywhere()
    valid[..., 21:40, 20:40] = 0
    variation = local_variation(depth * valid, valid)
    assert variation[:, :4].abs().max() < 1e-4
    assert variation[0, 4, 15, 15] == 0
    assert variation[0, 4, 10, 15] == 0.5
    assert variation[0, 4, 2, 2] == 1


def test_next_to_a_hole_differences_are_of_what_is_known() -> None:
    """A 2x2 block of which one pixel alone is known has that pixel's depth, and is compared with it."""
    depth, valid = 0.2 * everywhere(), everywhere()
    valid[..., 10:12, 10:12] = 0
    valid[..., 11, 10] = 1
    depth[..., 11, 10] = 0.6
    variation = local_variation(depth, valid)[0]
    assert variation[4, 5, 5] == 0.25
    assert variation[0, 5, 4].item() == pytest.approx(squeezed(0.4), rel=1e-4)  # to its left
    assert variation[0, 5, 5].item() == pytest.approx(squeezed(-0.4), rel=1e-4)
    assert variation[2, 5, 5].item() == pytest.approx(squeezed(0.4 * 8 / 9), rel=1e-4)


@torch.no_grad()
def test_its_pyramid_has_the_sides_and_channels_of_the_depth_path() -> None:
    levels = DepthVariation(SMALL).eval()(torch.rand(2, 1, 128, 128), torch.ones(2, 1, 128, 128))
    assert [tuple(x.shape) for x in levels] == [
        (2, c, n, n) for c, n in zip(SMALL.depth_widths, (32, 16, 8, 4), strict=True)
    ]
