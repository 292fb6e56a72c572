"""Train Mask R-CNN on the pictures of a training run of ours, from the weights that our encoder begins with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import torch
from tqdm import tqdm

from benchmarks.mask_rcnn import build_mask_rcnn
from spda_sam_core.network.layers import NormaliseImage
from training.data.batches import Batch, TrainingBatches
from training.data.dataset import CocoRgbdDataset
from training.learning.imagenet import load_imagenet
from training.learning.parameter_groups import build_adamw, parameter_groups, set_rates
from training.learning.precision import keep_depthwise_float32, precision_of
from training.learning.run_files import load_run, save_run
from training.learning.schedule import learning_rate
from training.learning.train_config import TrainConfig


class MaskRcnnTrainer:
    """Network, optimiser, and the step reached.

    Args:
        config: the run; encoder and input size are those of its model.
        pictures: to learn from; the network gets their classes.
        device: where to compute.

    Raises:
        CheckpointError: as `load_imagenet`.
    """

    def __init__(self, config: TrainConfig, pictures: CocoRgbdDataset, device: torch.device) -> None:
        self.config, self.device = config, device
        self.precision = precision_of(config.precision, device)
        self.pictures = pictures
        self.model_config = config.model_config(pictures.class_names)
        torch.manual_seed(config.seed)
        network = build_mask_rcnn(self.model_config)
        load_imagenet(network.backbone.encoder, self.model_config.encoder)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.normalise = NormaliseImage().to(device)
        if self.precision is torch.bfloat16 and device.type == "cpu":
            keep_depthwise_float32(self.network)
        self.groups = parameter_groups(
            self.network.parameters(),
            self.network.backbone.encoder,
            encoder_rate=config.encoder_rate,
            layer_decay=config.layer_decay,
        )
        self.optimiser = build_adamw(self.groups, config.weight_decay)
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
        source = TrainingBatches(self.pictures, self.config, self.model_config.input_size, first_step=self.step)
        return source.made_by(workers)

    def run_step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; returns torchvision's losses and their sum, "total".

        Raises:
            FloatingPointError: the loss is not finite.
        """
        rate = learning_rate(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=self.config.warmup_steps,
            decay_steps=self.config.decay_steps,
            steps=self.config.steps,
        )
        set_rates(self.optimiser, self.groups, rate)
        torch.manual_seed(hash((self.config.seed, self.step)))  # which boxes are sampled follows from the step
        self.network.train()
        targets = [
            {"boxes": boxes, "labels": class_ids + 1, "masks": masks.to(torch.uint8)}  # label 0 is the background
            for boxes, class_ids, masks in zip(batch.boxes_xyxy, batch.class_ids, batch.masks, strict=True)
        ]
        targets = [{name: tensor.to(self.device) for name, tensor in target.items()} for target in targets]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16):
            losses = self.network(list(self.normalise(batch.image.to(self.device))), targets)
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
        save_run(self.resume_path, self.config, state)

    def resume(self) -> None:
        """Go on from the last file of `save`; raises what `load_run` raises."""
        state, _ = load_run(self.resume_path, self.config, self.device, may_change=())
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def train_mask_rcnn(trainer: MaskRcnnTrainer, *, workers: int) -> None:
    """Train to the end of the configuration; what was lost by a kill does not count, it is done again."""
    config = trainer.config
    with tqdm(total=config.steps, initial=trainer.step, desc="training Mask R-CNN", unit="step", mininterval=2) as bar:
        batches, last = trainer.batches(workers), monotonic()
        while trainer.step < config.steps:
            values = trainer.run_step(next(batches))
            now = monotonic()
            trainer.seconds, last = trainer.seconds + now - last, now
            bar.update()
            bar.set_postfix({"loss": f"{values['total']:.2f}"})
            if trainer.step % config.save_every == 0 or trainer.step == config.steps:
                trainer.save()
