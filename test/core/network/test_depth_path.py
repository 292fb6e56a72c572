"""The depth path: strides and channels of the RGB path, and what an unknown pixel is to it."""

from __future__ import annotations

import pytest
import torch
from network_cases import small
from torch import nn
from torch.nn import functional as F

from spda_sam_core.network.depth_path import DepthPath


@torch.no_grad()
@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])
def test_every_stride_of_the_rgb_path_has_its_level(preset: str) -> None:
    torch.manual_seed(0)
    config = small(preset)
    levels = DepthPath(config).eval()(torch.rand(2, 1, 128, 128), torch.ones(2, 1, 128, 128))
    assert [tuple(x.shape) for x in levels] == [(2, c, 32 >> i, 32 >> i) for i, c in enumerate(config.depth_widths)]
    assert len(levels) == len(config.encoder_widths)


@torch.no_grad()
def test_it_reads_centred_depth_in_which_unknown_is_neither_near_nor_far() -> None:
    torch.manual_seed(0)
    path = DepthPath(small("tiny")).eval()
    for norm in path.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
    depth, valid = torch.rand(1, 1, 64, 64), (torch.rand(1, 1, 64, 64) > 0.3).float()
    centred = torch.where(valid > 0, depth - 0.5, torch.zeros(()))
    x = torch.cat([centred, torch.where(valid > 0, 0.5, -0.5)], dim=1)
    for stage, level in zip(path.stages, path(depth, valid), strict=True):
        for block in stage:
            convolution, norm = block[0], block[1]
            x = F.conv2d(x, convolution.weight, stride=convolution.stride, padding=1)
            mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
            x = ((x - mean) / (variance + norm.eps).sqrt()).clamp(min=0)
        torch.testing.assert_close(level, x, rtol=1e-4, atol=1e-5)
