"""The feature pyramid against its top-down pass written out; its widest level sees the whole image."""

from __future__ import annotations

import pytest
import torch
from network_cases import small
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import MASK_FEATURES
from spda_sam_core.network.pyramid import FeaturePyramid


def given(preset: str) -> tuple[FeaturePyramid, tuple[Tensor, ...]]:
    """A pyramid with statistics that are not those of a new one, and fused taps at 128 pixels."""
    torch.manual_seed(0)
    config = small(preset)
    module = FeaturePyramid(config).eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return module, tuple(torch.randn(2, c, 32 >> i, 32 >> i) for i, c in enumerate(config.encoder_widths))


def twice(x: Tensor) -> Tensor:
    """Each cell becomes 2 x 2."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])  # SAM's encoders end at stride 16
def test_each_level_is_its_tap_and_the_level_above(preset: str) -> None:
    module, taps = given(preset)
    p32 = module.attention(module.lateral32(taps[-1]))
    p16 = module.smooth16(module.lateral16(taps[2]) + twice(p32))
    p8 = module.smooth8(module.lateral8(taps[1]) + twice(p16))
    p4 = module.smooth4(module.lateral4(taps[0]) + F.interpolate(module.narrow8(p8), scale_factor=2.0, mode="bilinear"))
    actual = module(taps)
    width = p32.shape[1]
    shapes = [tuple(level.shape) for level in actual]
    assert shapes == [(2, MASK_FEATURES, 32, 32), (2, width, 16, 16), (2, width, 8, 8), (2, width, 4, 4)]
    for a, e in zip(actual, (p4, p8, p16, p32), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_corner_is_heard_of_in_the_whole_image_and_at_first_where_it_is() -> None:
    module, taps = given("tiny")
    before = module(taps)
    changed = tuple(tap.clone() for tap in taps)
    changed[-1][..., 0, 3] += 3
    after = module(changed)
    for name, a, b in zip(after._fields, after, before, strict=True):
        moved = (a - b).abs().sum(dim=(0, 1))
        assert (moved > 0).float().mean() > 0.9, name  # but for what a ReLU hides
        half = moved.shape[0] // 2
        quarters = moved[:half, :half], moved[:half, half:], moved[half:, :half], moved[half:, half:]
        assert max(quarters, key=lambda quarter: quarter.sum().item()) is quarters[1], name
