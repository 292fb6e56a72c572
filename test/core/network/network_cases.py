"""Small networks and inputs that the tests of the network share."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from spda_sam_core.config import ModelConfig, load_model_config

CLASSES = ("anode", "hull", "object")
SMALL = load_model_config(
    "tiny", class_names=CLASSES, changes={"input_size": 128, "num_proposals": 6, "num_instances": 4}
)
"""The shipped preset at 128 pixels, G = 8, with few candidates."""


def small(preset: str) -> ModelConfig:
    """A preset at the same size."""
    config = load_model_config(preset, class_names=CLASSES)
    return dataclasses.replace(config, input_size=128, num_proposals=6, num_instances=4)


def awakened(module: nn.Module, std: float = 0.1) -> nn.Module:
    """Give every trained weight that begins at zero another value, for it hides what lies behind it."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad and not parameter.any():
                nn.init.normal_(parameter, std=std)
    return module


def inputs(batch: int = 1, size: int = 128) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, inverse depth known everywhere, its validity, and no wish for an estimate."""
    g = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (batch, size, size, 3), generator=g, dtype=torch.uint8)
    depth = torch.rand(batch, 1, size, size, generator=g)
    return image, depth, torch.ones_like(depth), torch.zeros(batch)
