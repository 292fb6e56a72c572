"""`TrainConfig`: what a training run depends on, from a YAML file in `config/train/`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spda_sam_core.config import ModelConfig, load_model_config
from spda_sam_core.settings import load_settings, settings
from spda_sam_core.weights.files import write_whole
from training.data.augment import AugmentConfig
from training.data.mixture import DataShare
from training.learning.losses import LossWeights
from training.learning.precision import Precision
from training.learning.schedule import check_schedule

ANY_CLASS = ("any",)
"""Stands for the classes of the data where a model is examined before the data are opened."""

MAY_CHANGE = frozenset({"steps", "output", "validate_every"})
"""What a resumed run may have other than the run that it goes on with: no step made so far would have been another."""


@settings
class TrainConfig:
    """One run.

    Attributes:
        data: YAML of the data set, with splits "train" and "val"; or a list of sets to learn from together.
        model: preset, or YAML of the model.
        input_size: side in pixels of the square input that the run learns and exports at; null: the model's. Most of a
            training at a smaller size, then a leg at the model's own that begins with it, saves time.
        output: folder for checkpoints, TensorBoard and the finished model.
        seed: seed of initial weights, order and augmentation.
        steps: number of batches.
        batch_size: pictures per step, over all processes.
        decoded_per_image: P, masks decoded per picture.
        learning_rate: highest learning rate; it rises over `warmup_steps` and falls to 0 over the last `decay_steps`.
        warmup_steps: see there.
        decay_steps: see there.
        weight_decay: of AdamW, for matrices only.
        clip_gradient: largest norm of the gradient.
        ema_decay: share that a step keeps of the averaged weights, which are what is measured and exported.
        precision: compute in float32, in bfloat16, or, for "auto", in bfloat16 where the machine is fast in it.
        save_every: steps between files to resume from.
        validate_every: steps between validations, each with a checkpoint.
        n_validation: pictures of split "val" to validate on; of a list, of what each set holds back.
        loss_weights: weight of each term.
        augment: ranges of augmentation.
        init_from: checkpoint, file or name, to begin with where it fits; null: from nothing, or from the base alone.
        accumulate: micro-batches that a step's batch is computed in, one after another: memory falls by that factor.
            Batch normalisation and what the losses are divided by are then of the micro-batch.
        encoder_rate: share of the learning rate that the encoder gets: it has learned from more pictures than these.
        layer_decay: share of the learning rate that each layer of the encoder keeps of the next one's, in (0, 1], see
            `training.learning.parameter_groups`.
        classes: YAML of the vocabulary that joins the classes of a list of sets; null: by the names that they have.
    """

    data: str | tuple[DataShare, ...]
    model: str
    output: str
    input_size: int | None = None
    seed: int = 0
    steps: int = 4000
    batch_size: int = 8
    decoded_per_image: int = 10
    learning_rate: float = 8e-4
    warmup_steps: int = 150
    decay_steps: int = 800
    weight_decay: float = 0.05
    clip_gradient: float = 5.0
    ema_decay: float = 0.998
    precision: Precision = "auto"
    save_every: int = 100
    validate_every: int = 500
    n_validation: int = 60
    loss_weights: LossWeights = LossWeights()
    augment: AugmentConfig = AugmentConfig()
    init_from: str | None = None
    accumulate: int = 1
    encoder_rate: float = 0.3
    layer_decay: float = 1.0
    classes: str | None = None

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
        for name in ("seed", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 0")
        if self.clip_gradient <= 0:
            raise ValueError(f"clip_gradient {self.clip_gradient} must be above 0")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate}")
        for name in ("encoder_rate", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in (0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay {self.ema_decay} must lie in [0, 1)")
        if isinstance(self.data, str):
            if self.classes is not None:
                raise ValueError(
                    f"classes {self.classes} join a list of sets, data is {self.data} alone: leave classes out (null)"
                )
        else:
            names = [share.name for share in self.data]
            if not names or len(set(names)) < len(names):
                raise ValueError(f"data lists {names}: give at least one set, and each split once, with one weight")
            if self.augment.copy_paste and not any(share.lends for share in self.data):
                raise ValueError(f"augment.copy_paste {self.augment.copy_paste}: no set of data lends things to paste")
        check_schedule(self.learning_rate, self.warmup_steps, self.decay_steps, self.steps)

    def model_config(self, class_names: Sequence[str], changes: Mapping[str, Any] | None = None) -> ModelConfig:
        """The model that the run trains, or a variant of it.

        Args:
            class_names: of the data.
            changes: fields that differ; `input_size` is the run's own.

        Raises:
            FileNotFoundError: as `load_model_config`.
            ValueError: as there, or `input_size` among the changes.
        """
        if changes and "input_size" in changes:
            raise ValueError("input_size is no key of model here: give it as one of train")
        size = {} if self.input_size is None else {"input_size": self.input_size}
        return load_model_config(self.model, class_names=class_names, changes={**(changes or {}), **size})

    @property
    def data_set(self) -> str:
        """The YAML of the one data set, for comparisons that are made on one.

        Raises:
            ValueError: there is a list of them.
        """
        if not isinstance(self.data, str):
            raise ValueError(f"data lists {len(self.data)} sets: give the YAML of one, to learn from and compare on")
        return self.data


def write_model(path: Path, preset: str, changes: Mapping[str, Any]) -> None:
    """Write the YAML of a model for `TrainConfig.model`: a preset, or another YAML, with some fields changed."""
    model = dataclasses.asdict(load_model_config(preset, class_names=ANY_CLASS, changes=changes))
    del model["class_names"]  # those of the data
    write_whole(path, yaml.safe_dump(json.loads(json.dumps(model)), sort_keys=False).encode())


def load_train_config(path: str | Path) -> TrainConfig:
    """Read a training configuration; raises what `load_settings` raises."""
    return load_settings(TrainConfig, path, "training configuration")
