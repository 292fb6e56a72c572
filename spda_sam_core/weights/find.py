"""The file of a checkpoint, given by its name or by its path."""

from __future__ import annotations

import os
from pathlib import Path

from spda_sam_core.weights.download import PUBLISHED
from spda_sam_core.weights.files import CheckpointError

FOLDER_VARIABLE = "SPDA_SAM_CHECKPOINTS"
"""Environment variable: a folder that is searched first for checkpoints given by name."""

_WITHOUT_HEADS = (
    "'{}' is a pretrained base without trained heads, which would draw noise: train on it first (training/train.py "
    "--config config/train/fine_tune_sam.yaml) and give the file that this writes, or use 'tiny'"
)


def is_name(checkpoint: str | Path) -> bool:
    """Whether this names a shipped checkpoint ("tiny") rather than a file ("tiny.safetensors", "./tiny")."""
    return isinstance(checkpoint, str) and not any(c in checkpoint for c in "./\\")


def find_checkpoint(checkpoint: str | Path) -> Path:
    """The file of a checkpoint given by path or by name.

    A name is looked up as `spda_sam_<name>.safetensors` in the folder of `SPDA_SAM_CHECKPOINTS`, in
    `checkpoints/` of this repository, and in `share/spda_sam_ros/checkpoints` where the package is installed.

    Args:
        checkpoint: a path, or a name such as "tiny".

    Returns:
        A file that exists.

    Raises:
        CheckpointError: there is none, and the message lists where it was looked for; or it is the official file of a
            SAM, which has no trained heads.
    """
    if Path(checkpoint).name in {Path(official.url).name for official in PUBLISHED.values()}:
        raise CheckpointError(_WITHOUT_HEADS.format(checkpoint))
    if is_name(checkpoint):
        places = [folder / f"spda_sam_{checkpoint}.safetensors" for folder in _folders()]
        for place in places:
            if place.is_file():
                return place
        if checkpoint in PUBLISHED:
            raise CheckpointError(_WITHOUT_HEADS.format(checkpoint))
        listed = ", ".join(str(place) for place in places)
        raise CheckpointError(
            f"no checkpoint '{checkpoint}' (looked for {listed}): give the path of a .safetensors file, or "
            f"set {FOLDER_VARIABLE} to the folder that has it"
        )
    path = Path(checkpoint)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file: give the path of a .safetensors file, or 'tiny' for the shipped one"
        )
    return path


def _folders() -> list[Path]:
    here = Path(__file__).resolve()
    folders = [here.parents[2] / "checkpoints"]
    folders += [p / "share/spda_sam_ros/checkpoints" for p in here.parents if (p / "share").is_dir()]
    first = os.environ.get(FOLDER_VARIABLE)
    return [Path(first), *folders] if first else folders
