"""Layers that several rooms share: pooling by area against OpenCV's, attention against torch's own layer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from spda_sam_core.network.layers import TransformerBlock, area_pool


@pytest.mark.parametrize("side", [12, 24])
@pytest.mark.parametrize("n", [25, 32, 50, 64, 96, 100, 128, 256])
def test_pooling_by_area_is_that_of_opencv_whether_or_not_the_side_divides(n: int, side: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, n, n)
    expected = np.stack(
        [[cv2.resize(plane.numpy(), (side, side), interpolation=cv2.INTER_AREA) for plane in image] for image in x]
    )
    torch.testing.assert_close(area_pool(x, side), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [8, 12])
def test_what_is_small_enough_stays_as_it_is(n: int) -> None:
    x = torch.randn(1, 2, n, n)
    assert area_pool(x, 12) is x


@torch.no_grad()
def test_the_transformer_block_is_that_of_torch_after_its_convolution_of_places() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(32, heads=4).eval()
    reference = nn.TransformerEncoderLayer(
        32, 4, dim_feedforward=64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    for own, other in (
        (block.qkv.weight, reference.self_attn.in_proj_weight),
        (block.qkv.bias, reference.self_attn.in_proj_bias),
        (block.out.weight, reference.self_attn.out_proj.weight),
        (block.out.bias, reference.self_attn.out_proj.bias),
        (block.mlp[0].weight, reference.linear1.weight),
        (block.mlp[0].bias, reference.linear1.bias),
        (block.mlp[2].weight, reference.linear2.weight),
        (block.mlp[2].bias, reference.linear2.bias),
    ):
        own.copy_(torch.randn_like(own) * 0.2)
        other.copy_(own)
    x = torch.randn(2, 32, 5, 7)
    expected = reference((x + block.position(x)).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(2, 32, 5, 7)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
