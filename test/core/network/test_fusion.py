"""C2FFM: exact identity untrained and without depth, its parts, holes, and reliability."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from network_cases import SMALL, awakened
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.fusion import C2FFM, Reliability
from spda_sam_core.network.network import build_network

SIZE = SMALL.input_size
PARTS = [(True, True), (True, False), (False, True), (False, False)]


def taps(config: ModelConfig = SMALL, batch: int = 2) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor, Tensor]:
    """What C2FFM takes: features of both paths, depth and its validity."""
    g = torch.Generator().manual_seed(0)
    s = config.input_size
    sides = [s // stride for stride in (4, 8, 16, 32)]
    rgb = tuple(torch.randn(batch, c, n, n, generator=g) for c, n in zip(config.encoder_widths, sides, strict=True))
    depth = tuple(torch.randn(batch, c, n, n, generator=g) for c, n in zip(config.depth_widths, sides, strict=True))
    return rgb, depth, torch.rand(batch, 1, s, s, generator=g), torch.ones(batch, 1, s, s)


def fusion(config: ModelConfig = SMALL) -> C2FFM:
    torch.manual_seed(0)
    module = awakened(C2FFM(config)).eval()
    assert isinstance(module, C2FFM)
    return module


@torch.no_grad()
@pytest.mark.parametrize(("coarse", "fine"), PARTS)
def test_untrained_fusion_leaves_rgb_features_exactly(coarse: bool, fine: bool) -> None:
    rgb, *rest = taps()
    fused = C2FFM(dataclasses.replace(SMALL, fusion_coarse=coarse, fusion_fine=fine)).eval()(rgb, *rest)
    for before, after in zip(rgb, fused, strict=True):
        assert torch.equal(before, after)


@torch.no_grad()
@pytest.mark.parametrize(("coarse", "fine"), PARTS)
def test_an_image_without_depth_keeps_its_rgb_features_and_its_neighbour_does_not(coarse: bool, fine: bool) -> None:
    rgb, depth, inverse_depth, valid = taps()
    valid[1] = 0
    fused = fusion(dataclasses.replace(SMALL, fusion_coarse=coarse, fusion_fine=fine))(rgb, depth, inverse_depth, valid)
    for i, (before, after) in enumerate(zip(rgb, fused, strict=True)):
        assert torch.equal(before[1], after[1])
        changes = fine or not coarse or i >= 2  # the coarse part is at strides 16 and 32 alone
        assert torch.allclose(before[0], after[0], atol=1e-3) != changes


@pytest.mark.parametrize("part", ["fusion_coarse", "fusion_fine"])
def test_a_part_that_is_switched_off_has_no_weights(part: str) -> None:
    names = {name.split(".")[2] for name, _ in C2FFM(SMALL).levels[2].named_parameters(prefix="levels.2")}
    left = C2FFM(dataclasses.replace(SMALL, **{part: False})).levels[2].named_parameters(prefix="levels.2")
    assert names - {name.split(".")[2] for name, _ in left} == {part.removeprefix("fusion_")}


def test_coarse_alone_has_weights_at_strides_16_and_32_only() -> None:
    names = [name for name, _ in C2FFM(dataclasses.replace(SMALL, fusion_fine=False)).named_parameters()]
    assert {name.split(".")[1] for name in names} == {"2", "3"}


@torch.no_grad()
def test_a_network_of_rgb_alone_has_no_depth_weights_and_sees_none() -> None:
    torch.manual_seed(0)
    network = build_network(dataclasses.replace(SMALL, use_depth=False)).eval()
    names = [name for name, _ in network.named_parameters()]
    assert not [name for name in names if name.startswith(("depth_path", "depth_head", "fusion"))]
    image, valid = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8), torch.ones(1, 1, SIZE, SIZE)
    near, far = (network(image, valid * d, valid, torch.ones(1)).mask_logits for d in (0.2, 0.8))
    assert torch.equal(near, far)


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 3])
def test_a_level_adds_coarse_and_fine_as_far_as_depth_is_reliable(level: int) -> None:
    rgb, depth, inverse_depth, valid = taps()
    valid[..., 20:60, 5:90] = 0
    module = fusion()
    assert module.variation is not None
    parts = module.levels[level]
    x, d, v = rgb[level], depth[level], module.variation(inverse_depth, valid)[level]
    seen = torch.cat([F.avg_pool2d(inverse_depth * valid, 4), F.avg_pool2d(valid, 4)], dim=1)
    structure = torch.cat([d, v], dim=1)
    fine = parts.fine.detail(structure) / (1 + (-parts.fine.gate(torch.cat([x, structure], dim=1))).exp())
    coarse = parts.coarse(x, d, seen) if level == 3 else 0.0
    assert (parts.coarse is None) == (level == 0)
    expected = x + parts.reliability(x, d, seen) * (coarse + fine)
    assert not torch.allclose(expected, x, atol=0.1)
    torch.testing.assert_close(module(rgb, depth, inverse_depth, valid)[level], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_with_neither_part_depth_features_are_plainly_added() -> None:
    rgb, depth, inverse_depth, valid = taps()
    module = fusion(dataclasses.replace(SMALL, fusion_coarse=False, fusion_fine=False))
    fused = module(rgb, depth, inverse_depth, valid)
    for level, after, x, d in zip(module.levels, fused, rgb, depth, strict=True):
        weight, bias = level.project.weight[:, :, 0, 0], level.project.bias
        expected = x + torch.einsum("oc,bchw->bohw", weight, d) + bias[:, None, None]
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_stands_in_a_hole_changes_nothing() -> None:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).eval()
    image = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    depth, valid = torch.rand(1, 1, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)
    valid[..., 30:70, 17:83] = 0
    zeros, ones, other = (
        network.encode(image, depth * valid + (1 - valid) * value, valid, torch.ones(1)).fused
        for value in (0.0, 1.0, 7.0)
    )
    for a, b, c in zip(zeros, ones, other, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    whole = network.encode(image, depth, torch.ones_like(valid), torch.ones(1)).fused
    assert not torch.allclose(whole[2], zeros[2], atol=1e-3)


def reliability() -> tuple[Reliability, Tensor, Tensor]:
    torch.manual_seed(0)
    gate = Reliability(24, 16)
    torch.nn.init.normal_(gate.gate.weight)
    return gate, torch.randn(1, 24, 8, 8), torch.randn(1, 16, 8, 8)


def seen_of(share: Tensor) -> Tensor:
    """(h, h) share of known pixels to what levels are given."""
    return torch.stack([0.5 * share, share])[None]


@torch.no_grad()
def test_reliability_sees_holes_that_are_smaller_than_a_cell() -> None:
    gate, rgb, depth = reliability()
    share = torch.ones(8, 8)
    whole = gate(rgb, depth, seen_of(share))
    share[2, 3] = 0.25
    holed = gate(rgb, depth, seen_of(share))
    # logits differ at that place by the weight of validity times what is missing, and by little everywhere
    apart = (holed.logit() - whole.logit())[0, 0]
    elsewhere = apart[0, 0]
    torch.testing.assert_close(apart[2, 3] - elsewhere, -0.75 * gate.gate.weight[0, 1, 0, 0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_reliability_is_a_gate_of_agreement_here_validity_and_agreement_where_depth_is_known() -> None:
    gate, rgb, depth = reliability()
    share = torch.rand(8, 8)
    share[:, 5:] = 0
    a, b = gate.rgb(rgb)[0], gate.depth(depth)[0]
    agreement = (a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0))
    whole = (agreement * share).sum() / share.sum()
    weights, bias = gate.gate.weight[0, :, 0, 0], gate.gate.bias
    expected = 1 / (1 + (-(weights[0] * agreement + weights[1] * share + weights[2] * whole + bias)).exp())
    torch.testing.assert_close(gate(rgb, depth, seen_of(share))[0, 0], expected)


@torch.no_grad()
def test_padding_says_nothing_about_the_sensor() -> None:
    """What RGB and depth features are where an image is padded moves the gate of no other place."""
    gate, rgb, depth = reliability()
    share = torch.ones(8, 8)
    share[6:] = 0
    before = gate(rgb, depth, seen_of(share))
    rgb[..., 6:, :] = torch.randn(24, 2, 8)
    depth[..., 6:, :] = torch.randn(16, 2, 8)
    after = gate(rgb, depth, seen_of(share))
    torch.testing.assert_close(after[..., :6, :], before[..., :6, :])
    assert not torch.allclose(after[..., 6:, :], before[..., 6:, :], atol=1e-3)


@torch.no_grad()
def test_reliability_is_shut_without_any_depth_and_mostly_open_untrained() -> None:
    gate, rgb, depth = reliability()
    assert torch.equal(gate(rgb, depth, torch.zeros(1, 2, 8, 8)), torch.zeros(1, 1, 8, 8))
    torch.nn.init.zeros_(gate.gate.weight)
    opened = gate(rgb, depth, seen_of(torch.ones(8, 8)))
    torch.testing.assert_close(opened, torch.full((1, 1, 8, 8), 0.7311), rtol=1e-3, atol=0)
