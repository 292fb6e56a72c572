"""C2FFM is aligned at every input size, and depth that is missing in places counts for what it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from network_cases import awakened
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.network.fusion import CoarseGuidance, FusionLevel

C, CD = 16, 6
SIZES = [(256, 16), (256, 32), (512, 16), (512, 32), (1024, 16), (1024, 32)]


def features(size: int, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RGB, depth and variation features, and what is seen of depth, with holes that do not keep to cells."""
    torch.manual_seed(size + stride)
    side = size // stride
    known = F.avg_pool2d((torch.rand(1, 1, size // 2, size // 2) > 0.4).float(), 2)
    known[..., : size // 12, size // 9 : size // 5] = 0
    near = torch.rand(1, 1, size // 4, size // 4) * known
    return (
        torch.randn(1, C, side, side),
        torch.randn(1, CD, side, side),
        torch.randn(1, CD, side, side),
        torch.cat([near, known], dim=1),
    )


def shrink(x: Tensor, side: int) -> np.ndarray:
    """(1, C, h, h) to (C, side, side) by OpenCV; what is smaller stays."""
    planes = x[0].numpy().astype(np.float64)
    if x.shape[-1] <= side:
        return planes
    return np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in planes])


def convolve(layer: torch.nn.Conv2d, x: np.ndarray) -> np.ndarray:
    """A 1x1 convolution of (C, h, w)."""
    weight, bias = layer.weight[:, :, 0, 0].double().numpy(), layer.bias.double().numpy()
    return np.einsum("oc,chw->ohw", weight, x) + bias[:, None, None]


def reference(module: CoarseGuidance, rgb: Tensor, depth: Tensor, seen: Tensor) -> Tensor:
    """The coarse part, one query at a time."""
    side = rgb.shape[-1]
    asking, scene = shrink(rgb, 24), shrink(rgb, 12)
    n_q, n_k = asking.shape[1], scene.shape[1]
    share = shrink(seen[:, 1:], side)
    known = shrink(torch.from_numpy(share)[None], 12)
    structure = shrink(depth * torch.from_numpy(share)[None], 12) / np.maximum(known, 1e-3)
    keys, values = np.split(convolve(module.key_value, np.concatenate([scene, structure])), 2)
    queries = convolve(module.query, asking)

    def depth_at(n: int) -> tuple[np.ndarray, np.ndarray]:
        near, share = shrink(seen, n)
        return near / np.maximum(share, 1e-4), share > 0

    (near_q, has_q), (near_k, has_k) = depth_at(n_q), depth_at(n_k)
    falls = module.falls.double().clamp(min=0).numpy()
    mixed = np.zeros((32, n_q, n_q))
    places = (np.arange(n_k) + 0.5) / n_k
    for row in range(n_q):
        for column in range(n_q):
            apart = np.hypot(places[:, None] - (row + 0.5) / n_q, places[None] - (column + 0.5) / n_q)
            in_depth = np.abs(near_q[row, column] - near_k) * (has_q[row, column] & has_k)
            for head in range(4):
                d = slice(8 * head, 8 * head + 8)
                logits = np.einsum("c,chw->hw", queries[d, row, column], keys[d]) / np.sqrt(8)
                logits -= falls[head, 0] * apart + falls[head, 1] * in_depth
                weights = np.exp(logits - logits.max())
                mixed[d, row, column] = (values[d] * weights).sum(axis=(1, 2)) / weights.sum()
    guided, gate = convolve(module.out, mixed), np.tanh(convolve(module.gate, structure)) * (known > 0)

    def grow(x: np.ndarray) -> Tensor:
        return F.interpolate(torch.from_numpy(x)[None], size=(side, side), mode="bilinear", align_corners=False).float()

    return grow(guided) + rgb * grow(gate)


@pytest.mark.parametrize(("size", "stride"), SIZES)
@torch.no_grad()
def test_the_coarse_part_is_what_a_plain_calculation_gives_at_every_size(size: int, stride: int) -> None:
    module = awakened(CoarseGuidance(C, CD), std=0.3).eval()
    module.falls[3] = torch.tensor([-2.0, -3.0])  # what was trained below zero is zero
    rgb, depth, _, seen = features(size, stride)
    actual = module(rgb, depth, seen)
    assert actual.std() > 0.1
    torch.testing.assert_close(actual, reference(module, rgb, depth, seen), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("size", "stride"), SIZES)
@torch.no_grad()
def test_a_mirrored_scene_is_fused_to_the_mirrored_features(size: int, stride: int) -> None:
    level = awakened(FusionLevel(C, CD, coarse=True, fine=True), std=0.3).eval()
    given = features(size, stride)
    fused = level(*given)
    assert not torch.allclose(fused, given[0], atol=0.1)
    for axes in ([2], [3]):
        mirrored = level(*(x.flip(axes) for x in given))
        torch.testing.assert_close(mirrored.flip(axes), fused, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("size", "stride"), SIZES)
@torch.no_grad()
def test_structure_at_the_right_and_lower_edge_reaches_the_summary(size: int, stride: int) -> None:
    module = awakened(CoarseGuidance(C, CD), std=0.3).eval()
    rgb, depth, _, seen = features(size, stride)
    seen[:, 1:] = 1
    before = module(rgb, depth, seen)
    for edge in ((..., -1, slice(None)), (..., slice(None), -1)):
        changed = depth.clone()
        changed[edge] += 2
        assert (module(rgb, changed, seen) - before)[0, :, 0, 0].abs().max() > 1e-4  # looked at from far away
