"""Batches for training: batch i follows from (seed, i) alone, whoever makes it and whenever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.data.augment import TrainingPicture, augment
from training.data.copy_paste import paste_things
from training.data.dataset import CocoRgbdDataset
from training.data.mixture import Mixture, mixture_of
from training.learning.train_config import TrainConfig


class Batch(NamedTuple):
    """B pictures, fields as in `TrainingPicture`; the last three have one entry per picture.

    Attributes:
        image: (B, S, S, 3) uint8, R G B.
        inverse_depth: (B, 1, S, S) float32.
        depth_valid: (B, 1, S, S) float32.
        estimate: (B,) float32.
        true_inverse_depth: (B, 1, S, S) float32.
        true_depth_valid: (B, 1, S, S) float32.
        origin: (B,) int64, which set of the mixture each picture is of.
        masks: B of (M, S, S) bool.
        boxes_xyxy: B of (M, 4) float32 network pixels.
        class_ids: B of (M,) int64.
    """

    image: Tensor
    inverse_depth: Tensor
    depth_valid: Tensor
    estimate: Tensor
    true_inverse_depth: Tensor
    true_depth_valid: Tensor
    origin: Tensor
    masks: list[Tensor]
    boxes_xyxy: list[Tensor]
    class_ids: list[Tensor]

    def split(self, pieces: int) -> list[Batch]:
        """Equal pieces in order; B must be a multiple of their number."""
        size = len(self.image) // pieces
        return [Batch(*(field[i * size : (i + 1) * size] for field in self)) for i in range(pieces)]


class TrainingBatches(IterableDataset[Batch]):
    """The batches of a run from `first_step` to its end.

    Args:
        pictures: to learn from.
        config: the run.
        size: S.
        first_step: step to begin at.
        share: which of the `batch_size` pictures of a batch to make, in this order; None: all.
    """

    def __init__(
        self,
        pictures: CocoRgbdDataset | Mixture,
        config: TrainConfig,
        size: int,
        *,
        first_step: int,
        share: Sequence[int] | None = None,
    ) -> None:
        self.mixture = mixture_of(pictures, config.seed)
        self.config = config
        self.size = size
        self.first_step = first_step
        self.share = range(config.batch_size) if share is None else share

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            cv2.setNumThreads(1)
        # the loader takes from its workers in turn, so the order of steps is kept
        for step in range(self.first_step + offset, self.config.steps, stride):
            yield self.batch(step)

    def made_by(self, workers: int) -> Iterator[Batch]:
        """The same batches in the same order, made ahead by so many processes; 0: in this one, when asked for."""
        if workers == 0:
            return iter(self)
        # spawn, not fork: a forked worker hangs in OpenCV where this process has used OpenCV's threads before
        return iter(
            DataLoader(self, batch_size=None, num_workers=workers, prefetch_factor=4, multiprocessing_context="spawn")
        )

    def batch(self, step: int) -> Batch:
        """The batch of a step, or the share of it."""
        first = step * self.config.batch_size
        made = [self.picture(first + i) for i in self.share]
        stacked = {name: np.stack([getattr(p, name) for _, p in made]) for name in Batch._fields[:6]}
        listed = {name: [torch.from_numpy(getattr(p, name)) for _, p in made] for name in Batch._fields[7:]}
        origin = torch.tensor([origin for origin, _ in made])
        return Batch(*(torch.from_numpy(array) for array in stacked.values()), origin, **listed)

    def picture(self, number: int) -> tuple[int, TrainingPicture]:
        """The picture that the run sees as its `number`-th, and which set of the mixture it is of."""
        origin, sample, rng = self.mixture.draw(number)
        # no chance is drawn where nothing is pasted: the other changes stay as they are
        if self.config.augment.copy_paste and rng.random() < self.config.augment.copy_paste:
            sample = paste_things(sample, self.mixture.lent(rng), rng)
        return origin, augment(sample, self.size, self.config.augment, rng)
