"""`TrainConfig`: what a training run depends on, from a YAML file in `config/train/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spda_sam_core.config import check_keys, load_model_config
from spda_sam_core.weights.files import write_whole
from training.data.augment import AugmentConfig
from training.learning.losses import LossWeights
from training.learning.schedule import check_schedule


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        data: YAML of the data set, with splits "train" and "val".
        model: preset, or YAML of the model.
        output: folder for checkpoints, TensorBoard and the finished model.
        seed: seed of initial weights, order and augmentation.
        steps: number of batches.
        batch_size: pictures per step, over all processes.
        decoded_per_image: P, masks decoded per picture.
        learning_rate: highest learning rate; it rises over `warmup_steps` and falls to 0 as a cosine.
        warmup_steps: see there.
        weight_decay: of AdamW, for matrices only.
        clip_gradient: largest norm of the gradient.
        ema_decay: share that a step keeps of the averaged weights, which are what is measured and exported.
        bfloat16: compute in mixed precision.
        save_every: steps between files to resume from.
        validate_every: steps between validations, each with a checkpoint.
        n_validation: pictures of split "val" to validate on.
        loss_weights: weight of each term.
        augment: ranges of augmentation.
        init_from: checkpoint, file or name, to begin with where it fits; null: from nothing, or from the base alone.
        accumulate: micro-batches that a step's batch is computed in, one after another: memory falls by that factor.
            Batch normalisation and what the losses are divided by are then of the micro-batch.
        layer_decay: share of the learning rate that each layer of the encoder keeps of the next one's, in (0, 1], see
            `training.learning.parameter_groups`.
    """

    data: str
    model: str
    output: str
    seed: int
    steps: int
    batch_size: int
    decoded_per_image: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_gradient: float
    ema_decay: float
    bfloat16: bool
    save_every: int
    validate_every: int
    n_validation: int
    loss_weights: LossWeights
    augment: AugmentConfig
    init_from: str | None = None
    accumulate: int = 1
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "decoded_per_image",
            "save_every",
            "validate_every",
            "n_validation",
            "accumulate",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay {self.layer_decay} must lie in (0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay {self.ema_decay} must lie in [0, 1)")
        check_schedule(self.learning_rate, self.warmup_steps, self.steps)


def write_model(path: Path, preset: str, changes: Mapping[str, Any]) -> None:
    """Write the YAML of a model for `TrainConfig.model`: a preset, or another YAML, with some fields changed."""
    model = {**dataclasses.asdict(load_model_config(preset)), **changes}
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in model.items()}
    write_whole(path, yaml.safe_dump(listed, sort_keys=False).encode())


def load_train_config(path: str | Path) -> TrainConfig:
    """Read a training configuration.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown or a missing key, or a value out of range.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such training configuration: see config/train/ for examples")
    data: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    check_keys(f"{path}", data, TrainConfig)
    check_keys(f"{path}, loss_weights", data["loss_weights"], LossWeights)
    check_keys(f"{path}, augment", data["augment"], AugmentConfig)
    augment = {k: tuple(v) if isinstance(v, list) else v for k, v in data["augment"].items()}
    try:
        return TrainConfig(
            **{
                **data,
                "loss_weights": LossWeights(**data["loss_weights"]),
                "augment": AugmentConfig(**augment),
            }
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
