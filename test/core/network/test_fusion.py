"""C2FFM: exact identity untrained and without depth; local variation against closed forms."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.fusion import C2FFM, local_variation
from spda_sam_core.network.network import build_network

CONFIG = load_model_config("tiny", class_names=("anode", "object"))
SIDES = (96, 48, 24)


@pytest.fixture
def taps():
    torch.manual_seed(0)
    rgb = tuple(torch.randn(2, c, n, n) for c, n in zip(CONFIG.encoder_widths, SIDES, strict=True))
    depth = tuple(torch.randn(2, c, n, n) for c, n in zip(CONFIG.depth_widths, SIDES, strict=True))
    return rgb, depth, torch.rand(2, 1, 384, 384), torch.ones(2, 1, 384, 384)


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


@pytest.mark.parametrize(("coarse", "fine"), [(True, True), (True, False), (False, True), (False, False)])
def test_untrained_fusion_leaves_rgb_features_exactly(taps, coarse, fine):
    rgb, *rest = taps
    fused = C2FFM(dataclasses.replace(CONFIG, fusion_coarse=coarse, fusion_fine=fine)).eval()(rgb, *rest)
    for before, after in zip(rgb, fused, strict=True):
        assert torch.equal(before, after)


def test_an_image_without_depth_keeps_its_rgb_features_and_its_neighbour_does_not(taps):
    rgb, depth, inverse_depth, valid = taps
    valid[1] = 0
    fused = randomise(C2FFM(CONFIG))(rgb, depth, inverse_depth, valid)
    for before, after in zip(rgb, fused, strict=True):
        assert torch.equal(before[1], after[1])
        assert not torch.allclose(before[0], after[0], atol=1e-3)


@pytest.mark.parametrize("part", ["fusion_coarse", "fusion_fine"])
def test_each_part_can_be_switched_off(taps, part):
    config = dataclasses.replace(CONFIG, **{part: False})
    fused = randomise(C2FFM(config))(*taps)
    assert all(not torch.equal(a, b) for a, b in zip(taps[0], fused, strict=True))
    names = [name for name, _ in C2FFM(config).named_parameters()]
    removed = {"fusion_coarse": "coarse", "fusion_fine": "fine"}[part]
    assert not [name for name in names if f".{removed}." in name]


def test_rgb_only_model_has_no_depth_weights():
    model = build_network(dataclasses.replace(CONFIG, use_depth=False)).eval()
    assert not [n for n, _ in model.named_parameters() if n.startswith(("depth_path", "fusion"))]
    image, valid = torch.randn(1, 3, 384, 384), torch.ones(1, 1, 384, 384)
    near, far = (model(image, valid * d, valid).mask_logits for d in (0.2, 0.8))
    assert torch.equal(near, far)


def test_what_stands_in_a_hole_changes_nothing():
    torch.manual_seed(0)
    model = randomise(build_network(CONFIG))
    image, depth, valid = torch.randn(1, 3, 384, 384), torch.rand(1, 1, 384, 384), torch.ones(1, 1, 384, 384)
    valid[..., 100:200, 50:250] = 0
    zeros, ones, other = (model.encode(image, depth * valid + (1 - valid) * value, valid) for value in (0.0, 1.0, 7.0))
    for a, b, c in zip(zeros, ones, other, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    whole = model.encode(image, depth, torch.ones_like(valid))
    assert not torch.allclose(whole[2], zeros[2], atol=1e-3)


def test_constant_depth_has_no_variation_and_a_ramp_a_constant_one():
    valid = torch.ones(1, 1, 64, 64)
    flat = local_variation(torch.full((1, 1, 64, 64), 0.7), valid)
    inner = (..., slice(8, -8), slice(8, -8))
    assert flat[:, :4][inner].abs().max() < 1e-4
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    step = 2 / 63  # per pixel of the half-size grid
    right, down, fine, wide = local_variation(ramp, valid)[0, :4]
    torch.testing.assert_close(right[8:-8, 8:-8], torch.full((16, 16), step / (step + 0.02)))
    for straight in (down, fine, wide):  # no change downwards, and no curvature
        assert straight[8:-8, 8:-8].abs().max() < 1e-3


def test_the_edge_of_a_hole_is_no_edge_of_depth():
    depth, valid = torch.full((1, 1, 64, 64), 0.9), torch.ones(1, 1, 64, 64)
    valid[..., 20:40, 20:40] = 0
    variation = local_variation(depth * valid, valid)
    assert variation[:, :4].abs().max() < 1e-4
    assert variation[0, 4, 15, 15] == 0
    assert variation[0, 4, 2, 2] == 1
