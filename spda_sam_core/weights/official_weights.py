"""Pretrained bases: official SAM and MobileSAM files into our network, and which of its weights are theirs.

With a base, the encoder is frozen but for LoRA, SAM's prompt encoder is frozen, its mask decoder is trained on (as
in RSPrompter), and all that is ours is trained. What is frozen is never stored again: see `checkpoint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from segment_anything import sam_model_registry
from torch import Tensor

from spda_sam_core.network.encoders.mobile_sam import mobile_sam_encoder_state
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.weights.files import CheckpointError, file_sha256
from spda_sam_core.weights.tensor_files import read_state_dict

_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
"""The parts of an official SAM."""


class Base(NamedTuple):
    """Which base a network stands on.

    Attributes:
        name: the encoder's name in `ModelConfig`.
        sha256: hash of the official file, hexadecimal.
    """

    name: str
    sha256: str


class TrainedCount(NamedTuple):
    """Numbers of weights: those that are trained, and all."""

    trained: int
    total: int


def load_base(network: SpdaSamNetwork, path: Path) -> Base:
    """Put an official file's weights into a network that was built for it.

    Args:
        network: its configuration names the base; changed in place.
        path: official `sam_vit_*.pth` of segment-anything, or MobileSAM's `mobile_sam.pt`.

    Returns:
        Name and hash of the base.

    Raises:
        CheckpointError: the file cannot be read, holds more than tensors, or is for another base.
    """
    name = network.config.encoder
    official = read_state_dict(path)
    try:
        parts = _mobile_sam_parts(official) if name == "mobile_sam" else _sam_parts(name, official)
        _put_in(network, parts)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is no official {name} ({' '.join(str(error).split())[:300]}): "
            f"get it with python -m spda_sam_core.weights.download {name}"
        ) from error
    return Base(name, file_sha256(path))


def _sam_parts(name: str, official: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Load strictly by segment_anything's own classes, then hand out their parts."""
    with torch.device("meta"):  # shapes only: the weights are those of the file
        sam = sam_model_registry[name.removeprefix("sam_")]()
    sam.load_state_dict(official, strict=True, assign=True)
    return {part: getattr(sam, part).state_dict() for part in _PARTS}


def _mobile_sam_parts(official: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for key, tensor in official.items():
        part, _, rest = key.partition(".")
        if part not in parts:
            raise ValueError(f"unknown entry '{key}'")
        parts[part][rest] = tensor
    return parts | {"image_encoder": mobile_sam_encoder_state(parts["image_encoder"])}


def _put_in(network: SpdaSamNetwork, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    places = _places(network.config.encoder)
    own = {places[part] + key: tensor for part, state in parts.items() for key, tensor in state.items()}
    missing, unexpected = network.load_state_dict(own, strict=False)
    left = [key for key in missing if key.startswith(tuple(places.values())) and ".lora_" not in key]
    if unexpected or left:
        raise ValueError(f"{len(unexpected)} unknown entries and {len(left)} missing ones: {[*unexpected, *left][:3]}")


def _places(name: str) -> dict[str, str]:
    """Where the parts live in `SpdaSamNetwork`."""
    return {
        "image_encoder": "rgb_path." if name == "mobile_sam" else "rgb_path.base.",
        "prompt_encoder": "spatial_prompts.prompt_encoder.",
        "mask_decoder": "decoder.mask_decoder.",
    }


def base_weights(network: SpdaSamNetwork) -> set[str]:
    """Names in the network's state dict that are the base's and not trained; empty without a base."""
    if not network.config.pretrained:
        return set()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    places = tuple(_places(network.config.encoder).values())
    return {name for name in network.state_dict() if name.startswith(places) and name not in trained}


def trained_state(network: SpdaSamNetwork) -> dict[str, Tensor]:
    """The network's state dict without what is the base's."""
    left_out = base_weights(network)
    return {name: tensor for name, tensor in network.state_dict().items() if name not in left_out}


def load_trained_state(network: SpdaSamNetwork, weights: Mapping[str, Tensor]) -> None:
    """Put back what `trained_state` gave.

    Raises:
        RuntimeError: weights that are missing, too many, or of another shape.
    """
    missing, unexpected = network.load_state_dict(weights, strict=False)
    wrong = [*unexpected, *sorted(set(missing) - base_weights(network))]
    if wrong:
        raise RuntimeError(f"{len(wrong)} weights are missing or too many, the first is '{wrong[0]}'")


def count_weights(network: SpdaSamNetwork) -> TrainedCount:
    """How many weights are trained, and how many there are."""
    sizes = [(parameter.requires_grad, parameter.numel()) for parameter in network.parameters()]
    return TrainedCount(sum(size for trained, size in sizes if trained), sum(size for _, size in sizes))
