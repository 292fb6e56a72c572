"""Checkpoints: safetensors with weights in float16, and a JSON header that rebuilds the network. No pickle.

Header: `format` and `preset` are text; `config` (the `ModelConfig`) and whatever the writer adds, such as
`metrics`, `terms` and `commit`, are JSON. On a pretrained base the file is a delta: it holds what was trained, and
`base` has name and SHA-256 of the official file that is needed beside it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.settings import settings_from
from spda_sam_core.weights.download import find_weights
from spda_sam_core.weights.files import CheckpointError, file_sha256, read_header, write_header_entries
from spda_sam_core.weights.find import find_checkpoint, is_name
from spda_sam_core.weights.official_weights import Base, load_base, load_trained_state, trained_state
from spda_sam_core.weights.tensor_files import write_safetensors

FORMAT = "spda_sam/2"
_FORMAT_OF_0_1_0 = "spda_sam/1"

_log = logging.getLogger(__name__)
_RESERVED = ("format", "preset", "config", "base")


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of a checkpoint beside its weights.

    Attributes:
        path: the file.
        sha256: hash of the whole file, hexadecimal.
        config: the model's configuration; its `preset` and `class_names` are those of the checkpoint.
        base: the pretrained base, None where the checkpoint needs none.
        calibration: of its scores, fitted by `training/calibrate.py`; no change where it was not.
        metadata: all other header entries.
    """

    path: Path
    sha256: str
    config: ModelConfig
    base: Base | None
    calibration: Calibration
    metadata: dict[str, Any]

    @property
    def terms(self) -> tuple[str, ...]:
        """What it may be used for, one entry for each data set that demands it; empty: its licence is the project's."""
        return tuple(self.metadata.get("terms", ()))


def save_checkpoint(
    path: str | Path, model: SpdaSamNetwork, metadata: Mapping[str, Any], *, base: Base | None = None
) -> None:
    """Write a checkpoint; the file appears whole or not at all.

    Args:
        path: the file, by custom `*.safetensors`; its folder must exist.
        model: its floating point weights are stored in float16 (float32 where float16 overflows), all other
            tensors as they are.
        metadata: further header entries, anything that JSON can hold.
        base: what `load_base` gave, for a model on a pretrained base; its weights are left out.

    Raises:
        CheckpointError: weights that are not finite.
        ValueError: a metadata key that the format itself uses.
    """
    path = Path(path)
    _refuse_reserved(metadata)
    header = {key: json.dumps(value) for key, value in metadata.items()}
    header["format"] = FORMAT
    header["preset"] = model.config.preset
    header["config"] = json.dumps(dataclasses.asdict(model.config))
    if base is not None:
        header["base"] = json.dumps(base._asdict())
    assert (base is not None) == model.config.pretrained
    weights = {name: _to_disk(name, tensor, path) for name, tensor in trained_state(model).items()}
    write_safetensors(path, weights, header)


def update_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add or replace metadata of a checkpoint; its weights stay as they are, byte for byte.

    Args:
        path: a file that `save_checkpoint` wrote.
        metadata: as there.

    Raises:
        CheckpointError: the file cannot be read or is damaged.
        ValueError: a metadata key that the format itself uses.
    """
    _refuse_reserved(metadata)
    write_header_entries(path, {key: json.dumps(value) for key, value in metadata.items()})


def load_checkpoint(
    checkpoint: str | Path = "tiny", device: str | torch.device = "cpu", *, preset: str | None = None
) -> tuple[SpdaSamNetwork, CheckpointInfo]:
    """Rebuild the model of a checkpoint.

    Args:
        checkpoint: a file, or the preset of a shipped checkpoint such as "tiny".
        device: where to put the model.
        preset: refuse a checkpoint of another preset; for a shipped checkpoint this is its name.

    Returns:
        The model in float32, in evaluation mode, and what the header says.

    Raises:
        CheckpointError: no such file, not a checkpoint of this kind, truncated, of another preset, weights
            that do not fit the configuration, or a base that is missing or not the one trained on.
    """
    path = find_checkpoint(checkpoint)
    if preset is None and is_name(checkpoint):
        preset = str(checkpoint)
    header = read_header(path)
    if header.get("format") == _FORMAT_OF_0_1_0:
        raise CheckpointError(
            f"{path}: was written by version 0.1.0, whose network is another one: use the shipped 'tiny', train again "
            "with training/train.py, or use version 0.1.0"
        )
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format is {header.get('format')!r}, expected {FORMAT!r}: no SPDA-SAM checkpoint; "
            "give a file written by training/train.py"
        )
    if preset is not None and header.get("preset") != preset:
        raise CheckpointError(
            f"{path}: is for preset {header.get('preset')!r}, but {preset!r} was asked for: give the "
            f"checkpoint of {preset!r} or ask for {header.get('preset')!r}"
        )
    try:
        config = settings_from(ModelConfig, json.loads(header["config"]), "model configuration")
        base = Base(**json.loads(header["base"])) if config.pretrained else None
        metadata = {key: json.loads(text) for key, text in header.items() if key not in _RESERVED}
        calibration = Calibration.from_dict(metadata.get("calibration", {}))
        calibration.check_classes(len(config.class_names))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its header cannot be used ({error}): it was written by another version of this "
            "software; train again or use that version"
        ) from error
    model = build_network(config)
    if base is not None:
        _load_same_base(model, base, path)
    try:
        weights = safetensors.torch.load_file(path)
        load_trained_state(model, {name: _to_memory(tensor) for name, tensor in weights.items()})
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its weights do not fit its config, preset {config.preset!r} ({_shorten(error)}): "
            "it was written by another version of this software; train again or use that version"
        ) from error
    model.to(device).eval()
    info = CheckpointInfo(path, file_sha256(path), config, base, calibration, metadata)
    if info.terms:
        _log.warning("%s may be used on these terms only: %s", path.name, "; ".join(info.terms))
    return model, info


def _refuse_reserved(metadata: Mapping[str, Any]) -> None:
    taken = sorted(set(metadata) & set(_RESERVED))
    if taken:
        raise ValueError(f"metadata keys {taken} are written by save_checkpoint itself: rename them")


def _load_same_base(model: SpdaSamNetwork, base: Base, path: Path) -> None:
    file = find_weights(base.name)
    found = load_base(model, file)
    if found != base:
        raise CheckpointError(
            f"{path}: was trained on {base.name} with SHA-256 {base.sha256[:12]}, but {file} has {found.sha256[:12]}: "
            f"give that file, or train again on this one"
        )


def _to_disk(name: str, tensor: Tensor, path: Path) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor.clone()
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(
            f"{path}: not written, weight '{name}' is not finite: training diverged; lower the learning rate "
            "and resume from an earlier checkpoint"
        )
    half = tensor.half()
    return half if bool(torch.isfinite(half).all()) else tensor.float()


def _to_memory(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _shorten(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300]
