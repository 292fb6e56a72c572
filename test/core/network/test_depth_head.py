"""The network's own estimate of depth: where it stands in, and that it never touches what a sensor has measured."""

from __future__ import annotations

import pytest
import torch
from network_cases import SMALL, awakened, inputs, small
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.network.depth_head import DepthHead, fill_missing_depth
from spda_sam_core.network.network import build_network

SIZE = SMALL.input_size


def measured() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of an estimate, and depth: image 0 with holes, image 1 with a single pixel, images 2 and 3 without any."""
    g = torch.Generator().manual_seed(0)
    valid = torch.zeros(4, 1, SIZE, SIZE)
    valid[0] = (torch.rand(1, SIZE, SIZE, generator=g) > 0.7).float()
    valid[1, 0, 3, 5] = 1
    depth = torch.rand(4, 1, SIZE, SIZE, generator=g) * valid
    return 2 * torch.randn(4, 2, SIZE // 4, SIZE // 4, generator=g), depth, valid


def test_an_estimate_stands_in_only_where_it_is_wanted_and_nothing_is_known() -> None:
    logits, depth, valid = measured()
    wanted = torch.tensor([1.0, 1, 1, 0])
    filled, filled_valid = fill_missing_depth(logits, depth, valid, wanted)
    for i in (0, 1, 3):  # holes stay holes, even almost everywhere
        assert torch.equal(filled[i], depth[i])
        assert torch.equal(filled_valid[i], valid[i])
    near, seen = F.interpolate(1 / (1 + (-logits[2:3]).exp()), size=(SIZE, SIZE), mode="bilinear")[0]
    assert 0.2 < (seen > 0.5).float().mean() < 0.8
    assert torch.equal(filled_valid[2, 0], (seen > 0.5).float())
    torch.testing.assert_close(filled[2, 0], torch.where(seen > 0.5, near, torch.zeros(())))


def test_no_gradient_flows_into_the_estimate() -> None:
    logits, depth, valid = measured()
    logits.requires_grad_(True)
    filled, filled_valid = fill_missing_depth(logits, depth, valid, torch.ones(4))
    assert not filled.requires_grad
    assert not filled_valid.requires_grad


def test_masks_do_not_teach_the_estimate_that_they_are_drawn_from() -> None:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).train()
    image, depth, _, _ = inputs(2)
    nothing = torch.zeros_like(depth)
    features = network.encode(image, nothing, nothing, torch.ones(2))
    assert features.depth_logits is not None
    sum(fused.square().mean() for fused in features.fused).backward(retain_graph=True)
    assert network.depth_head is not None
    assert all(parameter.grad is None for parameter in network.depth_head.parameters())
    features.depth_logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.depth_head.parameters())


@torch.no_grad()
@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])  # SAM's encoders end at stride 16
def test_the_head_gives_two_logits_at_stride_4_that_every_stride_has_a_part_in(preset: str) -> None:
    torch.manual_seed(0)
    config = small(preset)
    head = awakened(DepthHead(config)).eval()
    rgb = tuple(torch.randn(2, c, 32 >> i, 32 >> i) for i, c in enumerate(config.encoder_widths))
    logits = head(rgb)
    assert logits.shape == (2, 2, 32, 32)
    for i in range(len(rgb)):
        changed = tuple(features.flip(2) if i == j else features for j, features in enumerate(rgb))
        assert not torch.allclose(head(changed), logits, atol=0.01)


@torch.no_grad()
def test_it_goes_from_coarse_to_fine_and_takes_edges_from_stride_4() -> None:
    torch.manual_seed(0)
    head = awakened(DepthHead(SMALL)).eval()
    rgb = tuple(torch.randn(1, c, 32 >> i, 32 >> i) for i, c in enumerate(SMALL.encoder_widths))

    def twice(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear")

    x = head.laterals[2](rgb[3])
    for i in (2, 1):
        x = head.laterals[i - 1](rgb[i]) + twice(x)
    x = (twice(head.mix(x)) + head.edges(rgb[0])).clamp(min=0)
    torch.testing.assert_close(head(rgb), head.out(x), rtol=1e-4, atol=1e-5)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return awakened(build_network(SMALL)).eval()


@torch.no_grad()
def test_without_depth_and_estimate_rgb_features_stay_as_they_are() -> None:
    net = network()
    image, depth, _, _ = inputs(2)
    nothing = torch.zeros_like(depth)
    given = net(image, nothing, nothing, torch.zeros(2))
    rgb = net.rgb_path(net.normalise(image))
    fused = net.encode(image, nothing, nothing, torch.zeros(2)).fused
    for a, b in zip(fused, rgb, strict=True):
        assert torch.equal(a, b)
    net.fusion = None  # a network that reads no depth
    for name, a, b in zip(given._fields, given, net(image, nothing, nothing, torch.zeros(2)), strict=True):
        assert torch.equal(a, b), name


@torch.no_grad()
def test_with_an_estimate_the_network_sees_what_it_would_if_that_were_measured() -> None:
    net = network()
    image, depth, _, _ = inputs(2)
    nothing = torch.zeros_like(depth)
    wanted = torch.tensor([1.0, 0.0])
    features = net.encode(image, nothing, nothing, wanted)
    assert features.depth_valid[0].any()
    assert not features.depth_valid[1].any()
    given = net.encode(image, features.inverse_depth, features.depth_valid, torch.zeros(2))
    for a, b in zip(features.fused, given.fused, strict=True):
        assert torch.equal(a, b)
    out = net(image, nothing, nothing, wanted)
    expected = F.avg_pool2d(features.inverse_depth, 4)
    torch.testing.assert_close(out.inverse_depth, expected)
    assert out.inverse_depth[0].any()
    assert not out.inverse_depth[1].any()
