"""Tensors in files: safetensors, and the pickles of official weights, of which nothing is executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from spda_sam_core.weights.files import CheckpointError, appears_whole


def write_safetensors(path: Path, weights: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write weights and header; the file appears whole or not at all."""
    with appears_whole(path) as temporary:
        safetensors.torch.save_file(weights, temporary, header)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict (.pt, .pth); nothing in the file is executed.

    Raises:
        CheckpointError: no such file, damaged, or anything but named tensors in it.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file: give the path of an official .pth or .pt file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: refused, it is damaged or holds code beside tensors, which is never executed ({reason}): "
            "download the official file again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no plain state dict of tensors: download the official file again")
    return dict(state)
