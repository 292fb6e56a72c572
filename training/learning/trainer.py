"""`Trainer`: a model that learns, step by step, alone or as one of the processes of `training.learning.distributed`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import save_checkpoint
from spda_sam_core.weights.download import find_weights
from spda_sam_core.weights.files import read_header
from spda_sam_core.weights.official_weights import Base, load_base, load_trained_state, trained_state
from training.data.batches import Batch, TrainingBatches
from training.data.dataset import CocoRgbdDataset
from training.data.mixture import Mixture, mixture_of
from training.learning.distributed import gather, is_first, process_count, share_of_batch
from training.learning.fine_tune import take_fitting_weights
from training.learning.global_batch_norm import normalise_over_processes
from training.learning.imagenet import load_imagenet
from training.learning.losses import OneToManyHead, Targets, TrainingLosses
from training.learning.moving_average import MovingAverage
from training.learning.parameter_groups import build_adamw, parameter_groups, set_rates
from training.learning.precision import keep_depthwise_float32, precision_of
from training.learning.run_files import current_commit, load_run, save_run
from training.learning.schedule import learning_rate
from training.learning.train_config import MAY_CHANGE, TrainConfig
from training.learning.validation import check_training, check_validation, validate


class Trainer:
    """Model, its moving average, optimiser and the step reached.

    Beside the last exported model the best one is kept: that of the highest mask AP (COCO's, IoU 0.5 to 0.95, mean over
    classes) on the validation pictures.

    Args:
        config: the run.
        train: pictures to learn from; the model gets their classes.
        validation: pictures to measure on, or several sets of them by name; the best model is that of the best mean.
        device: where to compute.

    Raises:
        ValueError: classes, labels or depth that training or validation cannot use, or a batch that the processes
            cannot share.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: CocoRgbdDataset | Mixture,
        validation: CocoRgbdDataset | Mapping[str, CocoRgbdDataset],
        device: torch.device,
    ) -> None:
        self.mixture = mixture_of(train, config.seed)
        self.validation = validation if isinstance(validation, Mapping) else {"val": validation}
        class_names = self.mixture.class_names
        check_training(self.mixture)
        check_validation(self.validation, class_names)
        self.share = share_of_batch(config.batch_size, config.accumulate)
        model_config = config.model_config(class_names)
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.precision = precision_of(config.precision, device)
        everything = (True,) * len(class_names)
        self.labelled = torch.tensor([each.labelled or everything for each in self.mixture.sets], device=device)
        self.complete = torch.tensor([each.complete for each in self.mixture.sets], device=device)
        # convolutions on CPU and GPU run faster with channels last
        self.model: SpdaSamNetwork = build_network(model_config).to(device, memory_format=torch.channels_last)
        self.base: Base | None = None
        if model_config.pretrained:
            self.base = load_base(self.model, find_weights(model_config.encoder))
        if isinstance(self.model.rgb_path, EfficientNetLiteEncoder) and config.init_from is None:
            load_imagenet(self.model.rgb_path, model_config.encoder)
        self.terms = {each.terms for each in self.mixture.sets if each.terms}
        if config.init_from is not None:
            taken = take_fitting_weights(self.model, config.init_from)
            self.terms |= set(taken.terms)
            if is_first():
                print(taken.summary)
        self.one_to_many = OneToManyHead(self.model).to(device, memory_format=torch.channels_last)
        if self.precision is torch.bfloat16 and device.type == "cpu":
            keep_depthwise_float32(self.model)
            keep_depthwise_float32(self.one_to_many)
        self.average = MovingAverage(self.model, config.ema_decay)
        self.groups = parameter_groups(
            (*self.model.parameters(), *self.one_to_many.parameters()),
            self.model.rgb_path,
            encoder_rate=config.encoder_rate,
            layer_decay=config.layer_decay,
        )
        self.optimiser = build_adamw(self.groups, config.weight_decay)
        losses = TrainingLosses(
            self.model,
            self.one_to_many,
            decoded=config.decoded_per_image,
            weights=config.loss_weights,
            catch_all=self.mixture.catch_all,
        )
        self.losses: TrainingLosses | DistributedDataParallel = losses
        if process_count() > 1:
            normalise_over_processes(losses)
            self.losses = DistributedDataParallel(losses)
        self.step = 0
        self.seconds = 0.0
        self.folder = Path(config.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.export_path = self.folder / f"spda_sam_{model_config.preset}.safetensors"
        self.best_path = self.folder / f"spda_sam_{model_config.preset}_best.safetensors"
        self.best_ap = -math.inf

    @property
    def resume_path(self) -> Path:
        """The file from which training goes on."""
        return self.folder / "resume.pt"

    def batches(self, workers: int) -> Iterator[Batch]:
        """This process's share of the batches from the step reached to the end."""
        source = TrainingBatches(
            self.mixture,
            self.config,
            self.model.config.input_size,
            first_step=self.step,
            share=self.share,
        )
        return source.made_by(workers)

    def run_step(self, batch: Batch) -> dict[str, float]:
        """Learn from this process's share of a batch, while the other processes learn from theirs.

        Returns:
            The losses of the whole batch, the norm of its gradient before clipping, and the learning rate.

        Raises:
            FloatingPointError: a loss is not finite; in all processes.
        """
        rate = learning_rate(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=self.config.warmup_steps,
            decay_steps=self.config.decay_steps,
            steps=self.config.steps,
        )
        set_rates(self.optimiser, self.groups, rate)
        self.model.train()
        self.optimiser.zero_grad()
        pieces = batch.split(self.config.accumulate)
        shares = torch.tensor(self.share).chunk(len(pieces))
        values: dict[str, float] = {}
        for number, (piece, positions) in enumerate(zip(pieces, shares, strict=True), start=1):
            with self._gradients_shared(number == len(pieces)):
                losses = self._losses(piece, positions.tolist())
                for name, value in _of_all_processes(losses).items():
                    values[name] = values.get(name, 0.0) + value / len(pieces)
                if not math.isfinite(values["total"]):
                    raise FloatingPointError(
                        f"loss {values['total']} at step {self.step}: start anew with a learning_rate below {rate:.2g}"
                    )
                (losses["total"] / len(pieces)).backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_gradient)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.model, self.step)
        return {**values, "gradient_norm": float(norm), "learning_rate": rate}

    def _losses(self, piece: Batch, positions: Sequence[int]) -> dict[str, Tensor]:
        """Losses of pictures of this process, which stand at these positions of the step's batch."""
        inverse_depth, valid, true_inverse_depth, true_valid = (
            tensor.to(self.device, memory_format=torch.channels_last)
            for tensor in (piece.inverse_depth, piece.depth_valid, piece.true_inverse_depth, piece.true_depth_valid)
        )
        labels = ([t.to(self.device) for t in part] for part in (piece.masks, piece.boxes_xyxy, piece.class_ids))
        origin = piece.origin.to(self.device)
        targets = Targets(*labels, true_inverse_depth, true_valid, self.labelled[origin], self.complete[origin])
        # they follow from the picture's place in the run, not from which process has it
        generators = [torch.Generator().manual_seed(hash((self.config.seed, self.step, i))) for i in positions]
        with self._autocast():
            losses: dict[str, Tensor] = self.losses(
                piece.image.to(self.device), inverse_depth, valid, piece.estimate.to(self.device), targets, generators
            )
        return losses

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def _gradients_shared(self, shared: bool) -> AbstractContextManager[None]:
        """Whether a backward pass exchanges gradients with the other processes; once per step is enough."""
        if shared or not isinstance(self.losses, DistributedDataParallel):
            return nullcontext()
        return self.losses.no_sync()

    @contextmanager
    def averaged(self) -> Iterator[SpdaSam]:
        """The averaged model, to predict with."""
        with self._autocast(), self.average.inside(self.model):
            yield SpdaSam(TorchRuntime(self.model))

    def validate(self) -> dict[str, Any]:
        """What `training.learning.validation.validate` says of the averaged model."""
        with self.averaged() as model:
            return validate(model, self.validation)

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

    def resume(self, earlier: Path | None = None) -> None:
        """Go on from the last file of `save`, and print what has changed since.

        Args:
            earlier: the file of a run in another folder, to go on from where there is none in this one.

        Raises:
            FileNotFoundError: as `load_run`.
            ValueError: as `load_run`; another file of the base; or fewer steps than are made already.
        """
        path = self.resume_path if earlier is None or self.resume_path.is_file() else earlier
        state, changes = load_run(path, self.config, self.device, may_change=MAY_CHANGE)
        if self.config.steps < state["step"]:
            raise ValueError(
                f"{path}: {state['step']} steps are made, more than steps {self.config.steps}: write "
                f"{state['step']} or more, or start anew without --resume"
            )
        if is_first() and changes:
            print(f"{path}: going on from step {state['step']} with {', '.join(changes)}")
        if self.base and state["base_sha256"] != self.base.sha256:
            raise ValueError(
                f"{path}: began on {self.base.name} with SHA-256 {state['base_sha256'][:12]}, found "
                f"{self.base.sha256[:12]}: put the same file back, or start anew without --resume"
            )
        load_trained_state(self.model, state["model"])
        self.average.load(state["average"])
        self.one_to_many.load_state_dict(state["one_to_many"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.best_path.is_file():  # it may be younger than the file that we go on from
            self.best_ap = float(json.loads(read_header(self.best_path)["metrics"])["mask_ap"])

    def export(self, metrics: dict[str, Any]) -> Path:
        """Write the averaged model as it is now, for `SpdaSam` and the node; if it is the best so far, twice.

        Args:
            metrics: of the averaged model, from `validate`.
        """
        metadata = {
            "metrics": metrics,
            "training": dataclasses.asdict(self.config),
            "steps_done": self.step,
            "precision": str(self.precision).removeprefix("torch."),
            "training_seconds": round(self.seconds),
            "n_training_images": len(self.mixture),
            "commit": current_commit(),
            "terms": sorted(self.terms),
        }
        with self.average.inside(self.model):
            save_checkpoint(self.export_path, self.model, metadata, base=self.base)
            if metrics["mask_ap"] > self.best_ap:
                self.best_ap = metrics["mask_ap"]
                save_checkpoint(self.best_path, self.model, metadata, base=self.base)
        return self.export_path


def _of_all_processes(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Losses of the whole batch from those of this process's part."""
    own = torch.stack([value.detach() for value in losses.values()])
    return dict(zip(losses, gather(own).mean(dim=0).tolist(), strict=True))
