"""EfficientNet-Lite's features against timm's own network, whose batch normalisation is not folded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder, folded, timm_base
from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD

SIDE = 96


def with_statistics(name: str) -> Any:
    """Timm's network with weights and statistics that are not those of a new one."""
    torch.manual_seed(0)
    base = timm_base(name)
    with torch.no_grad():
        for module in base.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.uniform_(0.7, 1.5)
                module.bias.normal_(std=0.3)
    return base.eval()


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
@torch.no_grad()
def test_features_of_a_picture_are_those_of_timm(name: str) -> None:
    base = with_statistics(name)
    encoder = EfficientNetLiteEncoder(name).eval()
    encoder.base.load_state_dict(folded(copy.deepcopy(base)).state_dict())
    pixels = torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8).float()
    expected = base((pixels - 127) / 128)  # as in TensorFlow, whose weights these are
    mean, deviation = (torch.from_numpy(x)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
    actual = encoder((pixels - mean) / deviation)
    assert [x.shape[-1] for x in actual] == [SIDE // stride for stride in (4, 8, 16, 32)]
    for a, e in zip(actual, expected, strict=True):
        assert e.std() > 0.05
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-4 * float(e.abs().max()))


def test_stem_and_first_stages_are_frozen_and_all_else_learns() -> None:
    encoder = EfficientNetLiteEncoder("efficientnet_lite0").train()
    sum(x.square().mean() for x in encoder(torch.randn(1, 3, SIDE, SIDE))).backward()
    frozen = {".".join(n.split(".")[:3]) for n, p in encoder.named_parameters() if p.grad is None}
    assert frozen == {"base.conv_stem.weight", "base.conv_stem.bias", "base.blocks.0", "base.blocks.1"}
    assert not any(n for n, p in encoder.named_parameters() if p.grad is None and p.requires_grad)


@torch.no_grad()
def test_one_picture_while_training_gives_what_it_gives_when_running() -> None:
    torch.manual_seed(0)
    encoder, image = EfficientNetLiteEncoder("efficientnet_lite0"), torch.randn(1, 3, SIDE, SIDE)
    running, before = encoder.eval()(image), copy.deepcopy(encoder.state_dict())
    for a, b in zip(encoder.train()(image), running, strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
