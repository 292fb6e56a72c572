"""C2FFM: exact identity untrained and without depth, the whole image in its summary, holes, and reliability."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from network_cases import SMALL, awakened
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.fusion import C2FFM, KEY_GRID, CoarseGuidance, Reliability
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


@torch.no_grad()
def test_a_network_of_rgb_alone_has_no_depth_weights_and_sees_none() -> None:
    torch.manual_seed(0)
    network = build_network(dataclasses.replace(SMALL, use_depth=False)).eval()
    names = [name for name, _ in network.named_parameters()]
    assert not [name for name in names if name.startswith(("depth_path", "depth_head", "fusion"))]
    image, valid = torch.randn(1, 3, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)
    near, far = (network(image, valid * d, valid, torch.ones(1)).mask_logits for d in (0.2, 0.8))
    assert torch.equal(near, far)


def one_level(config: ModelConfig, level: int) -> tuple[CoarseGuidance, Tensor, Tensor, Tensor]:
    """The coarse part of a level, and RGB, depth and what is seen, for it."""
    rgb, depth, inverse_depth, valid = taps(config, batch=1)
    guidance = fusion(config).levels[level].coarse
    assert isinstance(guidance, CoarseGuidance)
    seen = torch.cat([F.avg_pool2d(inverse_depth * valid, 4), F.avg_pool2d(valid, 4)], dim=1)
    return guidance, rgb[level], depth[level], seen


@torch.no_grad()
@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_summary_of_the_scene_reaches_to_its_right_and_lower_edge(size: int, level: int) -> None:
    """What lies there is seen from the opposite corner: nothing is cut off where 12 does not divide the size."""
    guidance, rgb, depth, seen = one_level(dataclasses.replace(SMALL, input_size=size), level)
    guidance.falls.zero_()  # distance must not hide it
    before = guidance(rgb, depth, seen)[..., 0, 0]
    for edge in ((..., slice(None), -1), (..., -1, slice(None))):
        for changed in (rgb.clone(), depth.clone()):
            changed[edge] += 10
            is_rgb = changed.shape == rgb.shape
            after = guidance(changed if is_rgb else rgb, depth if is_rgb else changed, seen)[..., 0, 0]
            assert (after - before).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("size", [128, 256, 384, 512, 800])
def test_places_hear_of_what_lies_where_they_are(size: int) -> None:
    """Attention that falls quickly with distance: what moves surrounds what was changed, wherever that is."""
    guidance, rgb, depth, seen = one_level(dataclasses.replace(SMALL, input_size=size), 2)
    guidance.falls[:, 0], guidance.falls[:, 1] = 200.0, 0.0
    torch.nn.init.zeros_(guidance.gate.weight)
    torch.nn.init.zeros_(guidance.gate.bias)
    before = guidance(rgb, depth, seen)
    side = rgb.shape[-1]
    wide = side // 4
    for top, left in ((1, 1), (1, side - wide - 1), (side // 2, side // 3), (side - wide - 1, side - wide - 1)):
        changed = depth.clone()
        changed[..., top : top + wide, left : left + wide] += 5
        moved = (guidance(rgb, changed, seen) - before).abs().sum(dim=1)[0]
        share = moved / moved.sum()
        y, x = (((torch.arange(side) + 0.5) * share.sum(dim=dim)).sum().item() for dim in (1, 0))
        assert abs(y - (top + wide / 2)) < 0.5 * side / KEY_GRID
        assert abs(x - (left + wide / 2)) < 0.5 * side / KEY_GRID


@torch.no_grad()
def test_attention_prefers_what_is_as_near() -> None:
    """Two halves at different depths: with a steep fall in depth each half hears of itself alone."""
    guidance, rgb, depth, seen = one_level(dataclasses.replace(SMALL, input_size=384), 2)
    guidance.falls[:, 0], guidance.falls[:, 1] = 0.0, 1000.0
    torch.nn.init.zeros_(guidance.gate.weight)
    torch.nn.init.zeros_(guidance.gate.bias)
    seen[:, 0, :, :48], seen[:, 0, :, 48:] = 0.2, 0.7
    before = guidance(rgb, depth, seen)
    changed = depth.clone()
    changed[..., 12:] += 1
    moved = (guidance(rgb, changed, seen) - before).abs().amax(dim=(0, 1, 2))  # by column
    assert moved[:11].max() < 1e-5
    assert moved[13:].min() > 1e-3


@torch.no_grad()
def test_attention_equals_a_calculation_written_out() -> None:
    config = dataclasses.replace(SMALL, input_size=192)  # 12 x 12 at stride 16: nothing is pooled
    guidance, rgb, depth, seen = one_level(config, 2)
    n = KEY_GRID
    seen[:, :, :8] = 0  # the uppermost two rows of cells are a hole
    seen[:, :, 8:10] *= 0.5  # and half of the next is
    known = F.avg_pool2d(seen[:, 1:], 4)[0, 0]
    near = (F.avg_pool2d(seen[:, :1], 4)[0, 0] / known.clamp(min=1e-9)).flatten()
    structure = depth * (known > 0)
    keys, values = guidance.key_value(torch.cat([rgb, structure], dim=1)).flatten(2).split(32, dim=1)
    queries = guidance.query(rgb).flatten(2)
    out = torch.empty(32, n * n)
    place = [((i % n + 0.5) / n, (i // n + 0.5) / n) for i in range(n * n)]
    is_known = (known > 0).flatten().tolist()
    for head in range(4):
        q, k, v = (x[0, 8 * head : 8 * head + 8] for x in (queries, keys, values))
        in_image, in_depth = guidance.falls[head].tolist()
        bias = torch.zeros(n * n, n * n)
        for i, (xi, yi) in enumerate(place):
            for j, (xj, yj) in enumerate(place):
                bias[i, j] = -in_image * ((xi - xj) ** 2 + (yi - yj) ** 2) ** 0.5
                if is_known[i] and is_known[j]:
                    bias[i, j] -= in_depth * abs(near[i] - near[j]).item()
        out[8 * head : 8 * head + 8] = v @ torch.softmax(q.T @ k / 8**0.5 + bias, dim=1).T
    guided = guidance.out(out.reshape(1, 32, n, n))
    gate = torch.tanh(guidance.gate(structure)) * (known > 0)
    torch.testing.assert_close(guidance(rgb, depth, seen), guided + rgb * gate, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_what_stands_in_a_hole_changes_nothing() -> None:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).eval()
    image, depth, valid = torch.randn(1, 3, SIZE, SIZE), torch.rand(1, 1, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)
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
