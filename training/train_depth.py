"""Train the depth estimator on pictures with known depth.

python -m training.train_depth --config config/train/depth_tiny.yaml

Step i sees the same pictures whether or not training was interrupted: order and augmentation follow from
(seed, i). `training.data.depth_data` makes batches, `training.learning.depth_losses` compares,
`training.learning.depth_model` builds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import DepthAnythingForDepthEstimation

from spda_sam_core.config import check_keys
from spda_sam_core.depth.estimators import DepthEstimator, DepthInput, save_depth_checkpoint
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.depth_data import DepthBatch, DepthPictures
from training.evaluate_depth import evaluate_depth
from training.learning.depth_losses import absolute_loss, aligned_residual, gradient_loss
from training.learning.depth_model import load_depth_model
from training.learning.run_files import current_commit, enter_folder, load_run, save_run
from training.learning.schedule import check_schedule, learning_rate


@dataclass(frozen=True)
class DepthTrainConfig:
    """What a training run depends on; see `config/train/depth_tiny.yaml`.

    Attributes:
        data: YAML of the data set.
        model: YAML of the model.
        output: folder for checkpoints, TensorBoard and the finished estimator.
        seed: seed of initial weights, order and augmentation.
        steps: number of batches.
        batch_size: pictures per batch.
        learning_rate: highest learning rate; it rises over `warmup_steps` and falls to 0 as a cosine.
        warmup_steps: see there.
        weight_decay: of AdamW.
        gradient_weight: weight of the gradient matching loss beside the absolute one.
        unknown_is_open_water: whether pixels without depth are as far as the farthest known one.
        validate_every: steps between checkpoints, each with a validation.
        n_validation: pictures of split "val" to validate on.
    """

    data: str
    model: str
    output: str
    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    gradient_weight: float
    unknown_is_open_water: bool
    validate_every: int
    n_validation: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "n_validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        check_schedule(self.learning_rate, self.warmup_steps, self.steps)


def load_train_config(path: str | Path) -> DepthTrainConfig:
    """Read a training configuration.

    Raises:
        ValueError: an unknown or a missing key, or a value out of range.
    """
    data: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    check_keys(str(path), data, DepthTrainConfig)
    return DepthTrainConfig(**data)


class DepthTrainer:
    """Model, optimiser and the step reached.

    Args:
        config: the run.
        train: pictures to learn from.
        validation: pictures to measure on.
        device: where to compute.
    """

    def __init__(
        self,
        config: DepthTrainConfig,
        train: CocoRgbdDataset,
        validation: CocoRgbdDataset,
        device: torch.device,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.model: DepthAnythingForDepthEstimation
        self.depth_input: DepthInput
        self.model, self.depth_input = load_depth_model(config.model)
        # convolutions on CPU and GPU run faster with channels last
        self.model.to(device, memory_format=torch.channels_last)
        self.device = device
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )
        sample = train[0]
        self.pictures = DepthPictures(
            train,
            self.depth_input.size_hw(*sample.rgb.shape[:2]),
            batch_size=config.batch_size,
            seed=config.seed,
        )
        self.validation = validation
        self.step = 0
        self.folder = Path(config.output)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def resume_path(self) -> Path:
        """The file from which training goes on."""
        return self.folder / "resume.pt"

    def loss(self, batch: DepthBatch) -> dict[str, torch.Tensor]:
        """Losses of a batch: `absolute`, `gradient`, and `total`, which is minimised."""
        image, inverse_depth, known = (t.to(self.device) for t in (batch.image, batch.inverse_depth, batch.known))
        prediction = self.model(image).predicted_depth  # (B, h, w)
        far = ~known if self.config.unknown_is_open_water else None
        residual, counts = aligned_residual(prediction, inverse_depth, known, far)
        absolute, gradient = absolute_loss(residual, counts), gradient_loss(residual, counts)
        total = absolute + self.config.gradient_weight * gradient
        return {"absolute": absolute, "gradient": gradient, "total": total}

    def run_step(self) -> dict[str, float]:
        """Learn from the next batch.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        rate = learning_rate(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=self.config.warmup_steps,
            steps=self.config.steps,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses = self.loss(self.pictures.batch(self.step))
        if not bool(torch.isfinite(losses["total"])):
            raise FloatingPointError(
                f"loss {float(losses['total'])} at step {self.step}: start anew with a learning_rate below {rate:.2g}"
            )
        self.optimiser.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return {**{name: float(loss) for name, loss in losses.items()}, "learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Metrics of `training.evaluate_depth` on the validation pictures."""
        metrics = evaluate_depth(DepthEstimator(self.model, self.depth_input).estimate, self.validation)
        self.model.train()
        return metrics

    def save(self) -> None:
        """Write what `resume` needs."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save_run(self.resume_path, self.config, state)

    def resume(self) -> None:
        """Go on from the last file of `save`; raises what `load_run` raises."""
        state = load_run(self.resume_path, self.config, self.device)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])

    def export(self, metrics: dict[str, float], seconds: float) -> Path:
        """Write the estimator as it is now."""
        path = self.folder / "depth_tiny.safetensors"
        metadata = {
            "metrics": metrics,
            "training": dataclasses.asdict(self.config),
            "steps_done": self.step,
            "seconds_of_last_run": round(seconds),
            "data": yaml.safe_load(Path(self.config.data).read_text(encoding="utf-8")),
            "n_training_images": len(self.pictures),
            "commit": current_commit(),
        }
        save_depth_checkpoint(path, self.model, self.depth_input, metadata)
        return path


def train(trainer: DepthTrainer, *, max_minutes: float | None = None) -> Path:
    """Train to the end of the configuration, or until time is up; either way `--resume` can go on.

    Args:
        trainer: new or resumed.
        max_minutes: stop after the step at which this much time has passed.

    Returns:
        The estimator's file.

    Raises:
        FileExistsError: the trainer is new, and its folder holds a run that it would write over.
    """
    enter_folder(trainer.resume_path, trainer.step)
    config, start = trainer.config, time.monotonic()
    metrics: dict[str, float] = {}
    with (
        SummaryWriter(str(trainer.folder / "tensorboard")) as board,
        tqdm(total=config.steps, initial=trainer.step, desc="training depth", unit="step") as bar,
    ):
        while trainer.step < config.steps:
            values = trainer.run_step()
            bar.update()
            if trainer.step % 20 == 0:
                bar.set_postfix(loss=f"{values['total']:.3f}")
                for name, value in values.items():
                    board.add_scalar(f"train/{name}", value, trainer.step)
            time_is_up = max_minutes is not None and time.monotonic() - start > 60 * max_minutes
            if trainer.step % config.validate_every == 0 or trainer.step == config.steps or time_is_up:
                trainer.save()
                metrics = trainer.validate()
                for name, value in metrics.items():
                    board.add_scalar(f"val/{name}", value, trainer.step)
                bar.write(f"step {trainer.step} {json.dumps({k: round(v, 4) for k, v in metrics.items()})}")
            if time_is_up:
                break
    return trainer.export(metrics or trainer.validate(), time.monotonic() - start)


def main(arguments: list[str] | None = None) -> None:
    """Train the depth estimator and write <output>/depth_tiny.safetensors."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML such as config/train/depth_tiny.yaml")
    parser.add_argument("--resume", action="store_true", help="go on from <output>/resume.pt")
    parser.add_argument("--max-minutes", type=float, help="stop when this time has passed; --resume goes on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    config = load_train_config(options.config)
    validation = open_split(config.data, "val", limit=config.n_validation)
    trainer = DepthTrainer(config, open_split(config.data, "train"), validation, torch.device(options.device))
    if options.resume:
        trainer.resume()
    print(train(trainer, max_minutes=options.max_minutes))


if __name__ == "__main__":
    main()
