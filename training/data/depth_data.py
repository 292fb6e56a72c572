"""Pictures with depth for `training.train_depth`: shrunk once, kept in memory, drawn in a repeatable order."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD
from training.data.dataset import CocoRgbdDataset

CROP_MARGIN = 1.25
"""Pictures are kept this much larger than the network's input, so that crops do not have to be enlarged."""


@dataclass(frozen=True)
class DepthBatch:
    """What one training step sees.

    Attributes:
        image: (B, 3, h, w) float32, normalised by ImageNet mean and deviation.
        inverse_depth: (B, h, w) float32 in 1/m, 0 where unknown.
        known: (B, h, w) bool.
    """

    image: Tensor
    inverse_depth: Tensor
    known: Tensor


class DepthPictures:
    """Batches of a data set with depth, the same for the same (seed, step), whatever came before.

    Args:
        dataset: a data set; pictures without a depth file are an error when they are met.
        size_hw: height and width of the network's input in pixels.
        batch_size: pictures per batch.
        seed: seed of order and augmentation.
    """

    def __init__(self, dataset: CocoRgbdDataset, size_hw: tuple[int, int], *, batch_size: int, seed: int) -> None:
        self._dataset = dataset
        self._size_hw = size_hw
        self._batch_size = batch_size
        self._seed = seed
        self._kept: dict[int, tuple[NDArray[np.uint8], NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, step: int) -> DepthBatch:
        """The augmented batch of a step (0, 1, ...).

        Raises:
            ValueError: a picture of the data set has no depth.
        """
        rng = np.random.default_rng((self._seed, 1, step))
        pairs = [augment(rng, *self._shrunk(i), self._size_hw) for i in self.indices(step)]
        rgb = np.stack([rgb for rgb, _ in pairs])
        inverse_depth = torch.from_numpy(np.stack([inverse for _, inverse in pairs]))
        image = (rgb.astype(np.float32) - IMAGE_MEAN) / IMAGE_STD
        return DepthBatch(torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(), inverse_depth, inverse_depth > 0)

    def indices(self, step: int) -> list[int]:
        """Which pictures a step takes: every picture once per epoch, in an order of the epoch's own."""
        first = step * self._batch_size
        return [self._at(position) for position in range(first, first + self._batch_size)]

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, len(self._dataset))
        return int(np.random.default_rng((self._seed, 0, epoch)).permutation(len(self._dataset))[place])

    def _shrunk(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        if index not in self._kept:
            sample = self._dataset[index]
            if sample.depth_m is None:
                raise ValueError(
                    f"{self._dataset.root}, {sample.file_name}: no metric depth for this picture: "
                    "train on a data set that has it for all"
                )
            height, width = (round(CROP_MARGIN * side) for side in self._size_hw)
            rgb = cv2.resize(sample.rgb, (width, height), interpolation=cv2.INTER_AREA)
            # nearest, not averaged: there is no surface between an object and what lies behind it
            inverse = np.nan_to_num(1 / sample.depth_m)
            inverse = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            self._kept[index] = (rgb.astype(np.uint8), inverse.astype(np.float32))
        return self._kept[index]


def augment(
    rng: np.random.Generator,
    rgb: NDArray[np.uint8],
    inverse_depth: NDArray[np.float32],
    size_hw: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop, mirror and recolour a picture; scale and offset of its inverse depth need no care, see the loss.

    Args:
        rng: source of randomness.
        rgb: (H, W, 3) uint8.
        inverse_depth: (H, W) float32, 0 where unknown.
        size_hw: height and width of the result.

    Returns:
        rgb (h, w, 3) uint8 and inverse_depth (h, w) float32.
    """
    height, width = inverse_depth.shape
    share = rng.uniform(1 / CROP_MARGIN, 1)
    crop_h, crop_w = round(share * height), round(share * width)
    y, x = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
    rgb, inverse_depth = rgb[y : y + crop_h, x : x + crop_w], inverse_depth[y : y + crop_h, x : x + crop_w]
    if rng.random() < 0.5:
        rgb, inverse_depth = rgb[:, ::-1], inverse_depth[:, ::-1]
    size = (size_hw[1], size_hw[0])
    small = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = small * np.exp(rng.normal(0, 0.08, 3) + rng.normal(0, 0.15))  # white balance and exposure
    small = small + rng.normal(0, rng.uniform(0, 4), small.shape)
    depth = cv2.resize(np.ascontiguousarray(inverse_depth), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.clip(small, 0, 255).astype(np.uint8), depth.astype(np.float32)
