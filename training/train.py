"""Train SPDA-SAM on pictures with instance masks.

python training/train.py --config config/train/tiny.yaml            # begin
python training/train.py --config config/train/tiny.yaml --resume   # go on where it stopped

Step i sees the same pictures in the same changes whether or not training was interrupted: order and augmentation
follow from (seed, i) alone. TensorBoard: `tensorboard --logdir <output>/tensorboard`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from spda_sam_core.base import Base, count_weights, load_base, load_trained_state, trained_state
from spda_sam_core.checkpoint import save_checkpoint
from spda_sam_core.config import load_model_config
from spda_sam_core.depth_estimator import DepthEstimator
from spda_sam_core.network import SpdaSamNetwork, build_network
from spda_sam_core.spda_sam import SpdaSam, check_device
from spda_sam_core.weights import find_weights
from training.batches import Batch, TrainingBatches
from training.dataset import CocoRgbdDataset, open_split
from training.evaluate import evaluate
from training.fine_tune import take_fitting_weights
from training.losses import OneToManyHead, Targets, training_losses
from training.moving_average import MovingAverage
from training.run_files import current_commit, load_run, save_run
from training.schedule import learning_rate
from training.train_config import TrainConfig, load_train_config


class Trainer:
    """Model, its moving average, optimiser and the step reached.

    Args:
        config: the run.
        train: pictures to learn from; the model gets their classes.
        validation: pictures to measure on.
        device: where to compute.
    """

    def __init__(
        self, config: TrainConfig, train: CocoRgbdDataset, validation: CocoRgbdDataset, device: torch.device
    ) -> None:
        if validation.class_names != train.class_names:
            raise ValueError(
                f"{config.data}: 'train' has classes {train.class_names}, 'val' has {validation.class_names}: "
                "they must be the same, in the same order"
            )
        with_depth = sum(validation.has_depth(i) for i in range(len(validation)))
        if 0 < with_depth < len(validation):  # now, not at the first validation
            raise ValueError(
                f"{config.data}: {with_depth} of {len(validation)} pictures to validate on have depth: estimate the "
                f"rest with python -m training.estimate_depth --data {config.data} --split val"
            )
        model_config = dataclasses.replace(load_model_config(config.model), class_names=train.class_names)
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.train_set, self.validation = train, validation
        # convolutions on CPU and GPU run faster with channels last
        self.model: SpdaSamNetwork = build_network(model_config).to(device, memory_format=torch.channels_last)
        self.base: Base | None = None
        if model_config.pretrained:
            self.base = load_base(self.model, find_weights(model_config.encoder))
        if config.init_from is not None:
            print(take_fitting_weights(self.model, config.init_from))
        self.one_to_many = OneToManyHead(self.model).to(device)
        self.average = MovingAverage(self.model, config.ema_decay)
        named = [*self.model.named_parameters(), *self.one_to_many.named_parameters()]
        trained = [p for _, p in named if p.requires_grad]
        # biases and norms shall not be drawn to zero
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        self.step = 0
        self.seconds = 0.0
        self.folder = Path(config.output)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def resume_path(self) -> Path:
        """The file from which training goes on."""
        return self.folder / "resume.pt"

    def batches(self, workers: int) -> Iterator[Batch]:
        """Batches from the step reached to the end."""
        estimator = self.config.depth_estimator if self.config.augment.estimated_depth > 0 else None
        source = TrainingBatches(
            self.train_set,
            self.config,
            self.model.config.input_size,
            first_step=self.step,
            depth_estimator=estimator,
        )
        if workers == 0:
            return iter(source)
        # spawn, not fork: a forked worker hangs in OpenCV where this process has used OpenCV's threads before
        loader = DataLoader(
            source, batch_size=None, num_workers=workers, prefetch_factor=4, multiprocessing_context="spawn"
        )
        return iter(loader)

    def run_step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch.

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
        torch.manual_seed(hash((self.config.seed, self.step)))  # chance in the losses follows from the step
        self.model.train()
        image, inverse_depth, valid = (
            tensor.to(self.device, memory_format=torch.channels_last)
            for tensor in (batch.image, batch.inverse_depth, batch.depth_valid)
        )
        targets = Targets(
            *([t.to(self.device) for t in part] for part in (batch.masks, batch.boxes_xyxy, batch.class_ids))
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            losses = training_losses(
                self.model,
                self.one_to_many,
                image,
                inverse_depth,
                valid,
                targets,
                decoded=self.config.decoded_per_image,
                weights=self.config.loss_weights,
            )
        if not bool(torch.isfinite(losses["total"])):
            value = float(losses["total"].detach())
            raise FloatingPointError(f"loss {value} at step {self.step}: lower learning_rate {rate:.2g} and --resume")
        self.optimiser.zero_grad()
        losses["total"].backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_gradient)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.model, self.step)
        return {
            **{k: float(v.detach()) for k, v in losses.items()},
            "gradient_norm": float(norm),
            "learning_rate": rate,
        }

    def validate(self) -> dict[str, Any]:
        """Metrics of `training.evaluate` of the averaged model on the validation pictures.

        It sees the depth of the data if there is any.
        """
        depth = "true" if self.validation.has_depth(0) else "none"
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)
        with autocast, self.average.inside(self.model):
            metrics = evaluate(SpdaSam(self.model), self.validation, depth)
        return metrics

    def save(self) -> None:
        """Write what `resume` needs."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": trained_state(self.model),
            "base_sha256": self.base.sha256 if self.base else "",
            "average": self.average.weights,
            "one_to_many": self.one_to_many.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save_run(self.resume_path, self.config, state)

    def resume(self) -> None:
        """Go on from the last file of `save`; raises what `load_run` raises."""
        state = load_run(self.resume_path, self.config, self.device)
        if self.base and state["base_sha256"] != self.base.sha256:
            raise ValueError(
                f"{self.resume_path}: began on {self.base.name} with SHA-256 {state['base_sha256'][:12]}, found "
                f"{self.base.sha256[:12]}: put the same file back, or start anew without --resume"
            )
        load_trained_state(self.model, state["model"])
        self.average.load(state["average"])
        self.one_to_many.load_state_dict(state["one_to_many"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def export(self, metrics: dict[str, Any]) -> Path:
        """Write the averaged model as it is now, for `SpdaSam` and the node."""
        path = self.folder / f"spda_sam_{self.model.config.preset}.safetensors"
        metadata = {
            "metrics": metrics,
            "training": dataclasses.asdict(self.config),
            "steps_done": self.step,
            "training_seconds": round(self.seconds),
            "n_training_images": len(self.train_set),
            "commit": current_commit(),
        }
        with self.average.inside(self.model):
            save_checkpoint(path, self.model, metadata, base=self.base)
        return path


def train(trainer: Trainer, *, workers: int = 0, max_minutes: float | None = None) -> Path:
    """Train to the end of the configuration, or until time is up; either way `--resume` can go on.

    Args:
        trainer: new or resumed.
        workers: processes that prepare batches.
        max_minutes: stop after the step at which this much time has passed.

    Returns:
        The checkpoint's file.
    """
    config, start = trainer.config, time.monotonic()
    metrics: dict[str, Any] = {}
    with (
        SummaryWriter(str(trainer.folder / "tensorboard")) as board,
        tqdm(total=config.steps, initial=trainer.step, desc="training", unit="step", mininterval=2) as bar,
    ):
        batches, last = trainer.batches(workers), time.monotonic()
        while trainer.step < config.steps:
            values = trainer.run_step(next(batches))
            now = time.monotonic()
            trainer.seconds, last = trainer.seconds + now - last, now
            bar.update()
            if trainer.step % 20 == 0:
                bar.set_postfix({k: f"{values[k]:.2f}" for k in ("total", "classes", "boxes", "mask_dice")})
                for name, value in values.items():
                    board.add_scalar(f"train/{name}", value, trainer.step)
            time_is_up = max_minutes is not None and now - start > 60 * max_minutes
            done = trainer.step == config.steps
            if trainer.step % config.save_every == 0 or done or time_is_up:
                trainer.save()
            if trainer.step % config.validate_every == 0 or done or time_is_up:
                metrics = trainer.validate()
                shown = {k: v for k, v in metrics.items() if isinstance(v, float)}
                for name, number in shown.items():
                    board.add_scalar(f"val/{name}", number, trainer.step)
                bar.write(f"step {trainer.step} {json.dumps({k: round(v, 2) for k, v in shown.items()})}")
                trainer.export(metrics)
                last = time.monotonic()  # measuring is not training
            if time_is_up:
                break
    return trainer.export(metrics or trainer.validate())


def main(arguments: list[str] | None = None) -> None:
    """Train SPDA-SAM and write <output>/spda_sam_<preset>.safetensors."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="Missing rendered pictures are rendered first. Ctrl-C and kill are safe: --resume goes on from the last "
        "save_every steps.",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML such as config/train/tiny.yaml")
    parser.add_argument("--data", help="YAML of the data set, in place of the configuration's")
    parser.add_argument("--output", help="folder of the run, in place of the configuration's")
    parser.add_argument("--resume", action="store_true", help="go on from <output>/resume.pt")
    parser.add_argument("--max-minutes", type=float, help="stop when this time has passed; --resume goes on")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or cuda:<n>"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network (default: all cores)")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    given = {key: getattr(options, key) for key in ("data", "output") if getattr(options, key) is not None}
    config = dataclasses.replace(load_train_config(options.config), **given)
    if config.augment.estimated_depth > 0:
        DepthEstimator.from_pretrained(config.depth_estimator)  # a missing one shall fail now, not in a worker
    pictures = open_split(config.data, "train", depth_estimator=config.depth_estimator)
    validation = open_split(config.data, "val", limit=config.n_validation, depth_estimator=config.depth_estimator)
    trainer = Trainer(config, pictures, validation, check_device(options.device))
    count = count_weights(trainer.model)
    print(f"{config.model}: {count.trained / 1e6:.2f} of {count.total / 1e6:.2f} million weights are trained")
    if options.resume:
        trainer.resume()
    print(train(trainer, workers=options.workers, max_minutes=options.max_minutes))


if __name__ == "__main__":
    main()
