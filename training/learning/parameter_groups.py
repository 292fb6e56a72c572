"""Which weights learn how fast, and which decay: the parameter groups of the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder
from spda_sam_core.network.encoders.mobile_sam import MobileSamEncoder
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder
from spda_sam_core.network.network import SpdaSamNetwork


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
    model: SpdaSamNetwork, one_to_many: nn.Module, *, encoder_rate: float, layer_decay: float
) -> list[ParameterGroup]:
    """Group what is trained; layer-wise learning rates as in BEiT (Bao et al., ICLR 2022).

    Args:
        model: what its encoder trains in layer k of n, from 0, gets encoder_rate * layer_decay ** (n - 1 - k), the rest
            of its encoder encoder_rate, all else 1.
        one_to_many: the head that exists in training only.
        encoder_rate: share of the learning rate that the encoder gets.
        layer_decay: in (0, 1]; 1: all layers of the encoder learn alike.

    Returns:
        Groups without empty ones, slowest first. Biases and norms do not decay: they shall not be drawn to zero.
    """
    layers = encoder_layers(model.rgb_path)
    rates = dict.fromkeys(model.rgb_path.parameters(), encoder_rate)
    rates |= {
        parameter: encoder_rate * layer_decay ** (len(layers) - 1 - k)
        for k, layer in enumerate(layers)
        for module in layer
        for parameter in module.parameters()
    }
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in (*model.parameters(), *one_to_many.parameters()):
        if parameter.requires_grad:
            groups.setdefault((rates.get(parameter, 1.0), parameter.ndim > 1), []).append(parameter)
    order = sorted(groups, key=lambda key: (key[0], not key[1]))
    return [ParameterGroup(groups[key], *key) for key in order]


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
