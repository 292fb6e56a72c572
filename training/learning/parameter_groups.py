"""Which weights learn how fast, and which decay: the parameter groups of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder
from spda_sam_core.network.encoders.mobile_sam import MobileSamEncoder
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder


class ParameterGroup(NamedTuple):
    """Parameters that are treated alike.

    Attributes:
        parameters: those that are trained.
        rate: share of the learning rate that they get.
        decays: whether weight decay draws them to zero.
    """

    parameters: list[nn.Parameter]
    rate: float
    decays: bool


def parameter_groups(
    parameters: Iterable[nn.Parameter], encoder: nn.Module, *, encoder_rate: float, layer_decay: float
) -> list[ParameterGroup]:
    """Group what is trained; layer-wise learning rates as in BEiT (Bao et al., ICLR 2022).

    Args:
        parameters: all of the run, also those that are not trained.
        encoder: what it trains in layer k of n, from 0, gets encoder_rate * layer_decay ** (n - 1 - k), the rest of it
            encoder_rate, all else 1.
        encoder_rate: share of the learning rate that the encoder gets.
        layer_decay: in (0, 1]; 1: all layers of the encoder learn alike.

    Returns:
        Groups without empty ones, slowest first. Biases and norms do not decay: they shall not be drawn to zero.
    """
    layers = encoder_layers(encoder)
    rates = dict.fromkeys(encoder.parameters(), encoder_rate)
    rates |= {
        parameter: encoder_rate * layer_decay ** (len(layers) - 1 - k)
        for k, layer in enumerate(layers)
        for module in layer
        for parameter in module.parameters()
    }
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            groups.setdefault((rates.get(parameter, 1.0), parameter.ndim > 1), []).append(parameter)
    order = sorted(groups, key=lambda key: (key[0], not key[1]))
    return [ParameterGroup(groups[key], *key) for key in order]


def build_adamw(groups: Sequence[ParameterGroup], weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the groups in their order; its learning rates are those of `set_rates`, to be called before a step."""
    return torch.optim.AdamW(
        [{"params": g.parameters, "weight_decay": weight_decay if g.decays else 0.0} for g in groups], lr=0.0
    )


def set_rates(optimiser: torch.optim.AdamW, groups: Sequence[ParameterGroup], rate: float) -> None:
    """Give each group of `build_adamw` its share of a learning rate."""
    for given, group in zip(optimiser.param_groups, groups, strict=True):
        given["lr"] = rate * group.rate


def encoder_layers(encoder: nn.Module) -> Sequence[Sequence[nn.Module]]:
    """The n layers of an encoder in the order in which an image passes them; each may be several modules.

    Layers of a pretrained base are its transformer blocks, with MobileSAM also the convolution blocks before them;
    those of EfficientNet-Lite are its stages.
    """
    if isinstance(encoder, SamViTEncoder):
        return [[block] for block in encoder.base.blocks]
    if isinstance(encoder, MobileSamEncoder):
        return [[block] for stage in encoder.stages for block in stage.blocks]
    assert isinstance(encoder, EfficientNetLiteEncoder)
    return [[stage] for stage in encoder.base.blocks]
