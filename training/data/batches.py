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
from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import TrainConfig


class Batch(NamedTuple):
    """B pictures; the last three have one entry per picture, see `training.learning.losses.Targets`.

    Attributes:
        image: (B, 3, S, S) float32.
        inverse_depth: (B, 1, S, S) float32.
        depth_valid: (B, 1, S, S) float32.
        masks: B of (M, S, S) bool.
        boxes_xyxy: B of (M, 4) float32 network pixels.
        class_ids: B of (M,) int64.
    """

    image: Tensor
    inverse_depth: Tensor
    depth_valid: Tensor
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
        pictures: the training split.
        config: the run.
        size: S.
        first_step: step to begin at.
        share: which of the `batch_size` pictures of a batch to make, in this order; None: all.
    """

    def __init__(
        self,
        pictures: CocoRgbdDataset,
        config: TrainConfig,
        size: int,
        *,
        first_step: int,
        share: Sequence[int] | None = None,
    ) -> None:
        self.pictures = pictures
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
        stacked = (torch.from_numpy(np.stack([getattr(p, name) for p in made])) for name in Batch._fields[:3])
        listed = ([torch.from_numpy(getattr(p, name)) for p in made] for name in Batch._fields[3:])
        return Batch(*stacked, *listed)

    def picture(self, number: int) -> TrainingPicture:
        """The picture that the run sees as its `number`-th; every epoch has its own order."""
        epoch, position = divmod(number, len(self.pictures))
        order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self.pictures))
        rng = np.random.default_rng((self.config.seed, epoch, position))
        return augment(self.pictures[int(order[position])], self.size, self.config.augment, rng)
