"""Train Mask R-CNN on the pictures of a training run of ours, for a given time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from tqdm import tqdm

from benchmarks.mask_rcnn import build_mask_rcnn
from spda_sam_core.config import load_model_config
from training.data.batches import Batch, TrainingBatches
from training.data.dataset import CocoRgbdDataset
from training.learning.precision import precision_of
from training.learning.run_files import load_run, save_run
from training.learning.schedule import check_schedule, learning_rate
from training.learning.train_config import TrainConfig

ENDLESS = 2**31
"""More steps than any run has."""


@dataclass(frozen=True)
class TimedRun:
    """A run that ends with its time.

    Attributes:
        train: the run, but for `steps`, `warmup_steps` and `decay_steps`, which are not read; S is that of its model.
        budget_ms: length of the run.
        warmup_ms: length of the learning rate's rise.
        decay_ms: length of its fall to 0, until the time is up.
    """

    train: TrainConfig
    budget_ms: int
    warmup_ms: int
    decay_ms: int

    def __post_init__(self) -> None:
        check_schedule(self.train.learning_rate, self.warmup_ms, self.decay_ms, self.budget_ms)


class MaskRcnnTrainer:
    """Network, optimiser, and the step and the time reached.

    The schedule follows the clock: steps counted in advance would miss the budget when the machine becomes faster or
    slower.

    Args:
        run: the run.
        pictures: to learn from.
        device: where to compute.
    """

    def __init__(self, run: TimedRun, pictures: CocoRgbdDataset, device: torch.device) -> None:
        self.run, self.config, self.device = run, run.train, device
        self.precision = precision_of(self.config.precision, device)
        self.pictures = pictures
        self.size = load_model_config(run.train.model, class_names=pictures.class_names).input_size
        torch.manual_seed(run.train.seed)
        network = build_mask_rcnn(len(pictures.class_names), self.size)
        self.network = network.to(device, memory_format=torch.channels_last)
        parameters = list(self.network.parameters())
        # biases and norms shall not be drawn to zero
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.config.learning_rate,
        )
        self.step = 0
        self.seconds = 0.0
        self.folder = Path(self.config.output)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def resume_path(self) -> Path:
        """The file from which training goes on."""
        return self.folder / "resume.pt"

    @property
    def seconds_left(self) -> float:
        """What is left of the budget; below 0 by what the last step took too long."""
        return self.run.budget_ms / 1e3 - self.seconds

    def batches(self, workers: int) -> Iterator[Batch]:
        """Batches from the step reached on, without end."""
        endless = dataclasses.replace(self.config, steps=ENDLESS)
        source = TrainingBatches(self.pictures, endless, self.size, first_step=self.step)
        return source.made_by(workers)

    def run_step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; returns torchvision's losses and their sum, "total".

        Raises:
            FloatingPointError: the loss is not finite.
        """
        rate = learning_rate(
            round(1e3 * self.seconds),
            peak=self.config.learning_rate,
            warmup_steps=self.run.warmup_ms,
            decay_steps=self.run.decay_ms,
            steps=self.run.budget_ms,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(hash((self.config.seed, self.step)))  # which boxes are sampled follows from the step
        self.network.train()
        targets = [
            {"boxes": boxes, "labels": class_ids + 1, "masks": masks.to(torch.uint8)}  # label 0 is the background
            for boxes, class_ids, masks in zip(batch.boxes_xyxy, batch.class_ids, batch.masks, strict=True)
        ]
        targets = [{name: tensor.to(self.device) for name, tensor in target.items()} for target in targets]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16):
            losses = self.network(list(batch.image.to(self.device)), targets)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not bool(torch.isfinite(total)):
            raise FloatingPointError(f"loss {float(total)} at step {self.step}: lower learning_rate {rate:.2g}")
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient)
        self.optimiser.step()
        self.step += 1
        return {"total": float(total.detach()), **{name: float(loss.detach()) for name, loss in losses.items()}}

    def save(self) -> None:
        """Write what `resume` needs."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save_run(self.resume_path, self.run, state)

    def resume(self) -> None:
        """Go on from the last file of `save`; raises what `load_run` raises."""
        state, _ = load_run(self.resume_path, self.run, self.device, may_change=())
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def train_mask_rcnn(trainer: MaskRcnnTrainer, *, workers: int) -> None:
    """Train until the time is up; what was lost by a kill does not count, it is done again."""
    with tqdm(total=round(trainer.run.budget_ms / 1e3), desc="training Mask R-CNN", unit="s", mininterval=2) as bar:
        batches, last = trainer.batches(workers), monotonic()
        while trainer.seconds_left > 0:
            values = trainer.run_step(next(batches))
            now = monotonic()
            trainer.seconds, last = trainer.seconds + now - last, now
            bar.update(round(min(trainer.seconds, bar.total)) - bar.n)
            bar.set_postfix({"step": trainer.step, "loss": f"{values['total']:.2f}"})
            if trainer.step % trainer.config.save_every == 0 or trainer.seconds_left <= 0:
                trainer.save()
                last = monotonic()  # writing half a gigabyte is not training
