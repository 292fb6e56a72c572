"""Official Depth Anything V2 files (.pth) as `transformers` has that network: other names, the same tensors.

The files are those of the repository DepthAnything/Depth-Anything-V2 (Yang et al., NeurIPS 2024, arXiv 2406.09414).
For an input of 518x518 pixels the outputs are equal. For others `transformers` resizes the position embeddings to the
grid's size, while the official code resizes by a factor for 0.1 patches more, so outputs differ a little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from transformers import DepthAnythingConfig, Dinov2Config

from spda_sam_core.weights.files import CheckpointError
from spda_sam_core.weights.tensor_files import read_state_dict

HOW_TO_GET_FILE = (
    "`hf download depth-anything/Depth-Anything-V2-Small depth_anything_v2_vits.pth --local-dir DIR` gets an official "
    "file"
)

_TAPS = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24)}
"""After which blocks, counted from 1, the head takes features: Small and Base have 12 blocks, Large has 24."""

_HEAD_WIDTH = 64
"""Channels of one attention head in every DINOv2: the only size that no tensor's shape tells."""

_FILE_NAME = re.compile(r"depth_anything_v2_(?:metric_(hypersim|vkitti)_)?vit[sbl]\.pth")
_MAX_DEPTH_M = {"hypersim": 20, "vkitti": 80}
"""What the head's sigmoid is multiplied by in the metric files, in metres; no tensor has it."""


def read_official(path: Path) -> tuple[DepthAnythingConfig, dict[str, Tensor]]:
    """Read an official file; nothing in it is executed.

    All sizes are read from the tensors. What they cannot tell is told by the file's name, which must be the
    official one: whether depth is relative or metric, and that it is not version 1, whose tensors are alike while
    its head takes features elsewhere.

    Args:
        path: `depth_anything_v2_vit{s,b,l}.pth` or `depth_anything_v2_metric_{hypersim,vkitti}_vit{s,b,l}.pth`.

    Returns:
        The configuration, and the tensors under the names that `transformers` stores; query, key and value are views
        into one tensor.

    Raises:
        CheckpointError: the file cannot be read, holds more than tensors, is of another network, or its name is
            not an official one.
    """
    official = read_state_dict(path)
    renamed = _check_entries(path, official)
    name = _FILE_NAME.fullmatch(path.name)
    if name is None:
        raise CheckpointError(
            f"{path}: is named '{path.name}', expected 'depth_anything_v2_vits.pth' or with metric_hypersim_ or "
            "metric_vkitti_ before vits, vitb or vitl: its tensors do not tell relative from metric depth, nor "
            "version 2 from 1; give it the name it was published under"
        )
    weights: dict[str, Tensor] = {}
    try:
        config = _read_config(official, dataset=name[1])
        for old, new in renamed.items():
            weights |= zip(new, official[old].chunk(len(new)), strict=True)
    except (IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: a tensor has a shape that Depth Anything V2 does not have ({error}): {HOW_TO_GET_FILE}"
        ) from error
    return config, weights


def _check_entries(path: Path, official: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Refuse what is no Depth Anything V2; gives what `_new_names` gives."""
    numbers = [int(match[1]) for name in official if (match := re.match(r"pretrained\.blocks\.(\d+)\.", name))]
    blocks = max(numbers, default=-1) + 1
    if blocks and blocks not in _TAPS:
        raise CheckpointError(
            f"{path}: its encoder has {blocks} blocks, expected 12 (Small, Base) or 24 (Large): {HOW_TO_GET_FILE}"
        )
    renamed = _new_names(blocks)
    for kind, wrong in (("unknown", official.keys() - renamed.keys()), ("missing", renamed.keys() - official.keys())):
        if wrong:
            first = next(name for name in (*official, *renamed) if name in wrong)
            raise CheckpointError(
                f"{path}: is no complete Depth Anything V2, {len(wrong)} entries are {kind}, the first is '{first}': "
                f"{HOW_TO_GET_FILE}"
            )
    return renamed


def _read_config(official: Mapping[str, Tensor], dataset: str | None) -> DepthAnythingConfig:
    width, _, patch, _ = official["pretrained.patch_embed.proj.weight"].shape
    positions = official["pretrained.pos_embed"].shape[1] - 1  # one is for the class token
    grid = math.isqrt(positions)
    if grid**2 != positions or width % _HEAD_WIDTH:
        raise ValueError(f"{positions} positions must be a square, {width} channels a multiple of {_HEAD_WIDTH}")
    blocks = sum(name.endswith(".ls1.gamma") for name in official)
    backbone = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=width // _HEAD_WIDTH,
        mlp_ratio=official["pretrained.blocks.0.mlp.fc1.weight"].shape[0] // width,
        image_size=grid * patch,
        patch_size=patch,
        out_features=[f"stage{block}" for block in _TAPS[blocks]],
        reshape_hidden_states=False,
    )
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=width,
        neck_hidden_sizes=[official[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4)],
        fusion_hidden_size=official["depth_head.scratch.layer1_rn.weight"].shape[0],
        head_hidden_size=official["depth_head.scratch.output_conv2.0.weight"].shape[0],
        depth_estimation_type="metric" if dataset else "relative",
        max_depth=_MAX_DEPTH_M[dataset] if dataset else 1,
    )


def _new_names(blocks: int) -> dict[str, tuple[str, ...]]:
    """Name of every official tensor to that of `transformers`, or to three: query, key and value are one there."""
    tensors = {
        "pretrained.cls_token": "backbone.embeddings.cls_token",
        "pretrained.pos_embed": "backbone.embeddings.position_embeddings",
        "pretrained.mask_token": "backbone.embeddings.mask_token",
    }
    # of these, both weight and bias
    layers = {
        "pretrained.patch_embed.proj": "backbone.embeddings.patch_embeddings.projection",
        "pretrained.norm": "backbone.layernorm",
        "depth_head.scratch.output_conv1": "head.conv1",
        "depth_head.scratch.output_conv2.0": "head.conv2",
        "depth_head.scratch.output_conv2.2": "head.conv3",
    }
    attention: dict[str, tuple[str, ...]] = {}
    for i in range(blocks):
        old, new = f"pretrained.blocks.{i}", f"backbone.encoder.layer.{i}"
        tensors |= {f"{old}.ls{k}.gamma": f"{new}.layer_scale{k}.lambda1" for k in (1, 2)}
        layers |= {f"{old}.{part}": f"{new}.{part}" for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")}
        layers[f"{old}.attn.proj"] = f"{new}.attention.output.dense"
        for kind in ("weight", "bias"):
            parts = ("query", "key", "value")
            attention[f"{old}.attn.qkv.{kind}"] = tuple(f"{new}.attention.attention.{part}.{kind}" for part in parts)
    for i in range(4):
        layers[f"depth_head.projects.{i}"] = f"neck.reassemble_stage.layers.{i}.projection"
        if i != 2:  # the scale that is kept
            layers[f"depth_head.resize_layers.{i}"] = f"neck.reassemble_stage.layers.{i}.resize"
        tensors[f"depth_head.scratch.layer{i + 1}_rn.weight"] = f"neck.convs.{i}.weight"
        # the coarsest is fused first: one list counts by size, the other in that order
        old, new = f"depth_head.scratch.refinenet{4 - i}", f"neck.fusion_stage.layers.{i}"
        layers[f"{old}.out_conv"] = f"{new}.projection"
        for unit in (1, 2):
            for conv in (1, 2):
                layers[f"{old}.resConfUnit{unit}.conv{conv}"] = f"{new}.residual_layer{unit}.convolution{conv}"
    tensors |= {f"{old}.{kind}": f"{new}.{kind}" for old, new in layers.items() for kind in ("weight", "bias")}
    return attention | {old: (new,) for old, new in tensors.items()}
