"""Augmentation for RGB-D: geometry moves image, depth and masks alike; water and camera change the image only.

Scale jitter leaves metric depth as it is: the network sees inverse depth scaled to the picture's own range, which does
not change when all depths are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD, Letterbox
from spda_sam_core.results.instances import boxes_of_masks
from spda_sam_core.settings import settings
from training.data.dataset import Sample
from training.data.turbidity import add_turbidity

Estimate = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@settings
class AugmentConfig:
    """Ranges of the random changes.

    Attributes:
        scale: lowest and highest size relative to the letterboxed picture, drawn evenly in its logarithm.
        rotation_deg: largest roll of the camera.
        flip: chance of a mirrored picture.
        colour: largest relative change of brightness, contrast and of each channel.
        turbidity: chance of more water before the scene, thicker where it is farther.
        blur_noise: chance of blur, and of noise.
        estimated_depth: share of the pictures that see estimated depth.
        no_depth: share of the pictures that see none.
        sensor_holes: share of the others whose depth gets a sensor's noise and holes.
    """

    scale: tuple[float, float] = (0.7, 1.8)
    rotation_deg: float = 8.0
    flip: float = 0.5
    colour: float = 0.25
    turbidity: float = 0.3
    blur_noise: float = 0.3
    estimated_depth: float = 0.3
    no_depth: float = 0.15
    sensor_holes: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale} must rise from above 0")
        for name in ("flip", "turbidity", "blur_noise", "estimated_depth", "no_depth", "sensor_holes", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")
        if self.estimated_depth + self.no_depth > 1:
            raise ValueError(f"estimated_depth {self.estimated_depth} and no_depth {self.no_depth} exceed 1 together")


@dataclass(frozen=True)
class TrainingPicture:
    """One picture as the network and the losses take it.

    Attributes:
        image: (3, S, S) float32, normalised, 0 in the padding.
        inverse_depth: (1, S, S) float32 in [0, 1].
        depth_valid: (1, S, S) float32, 0 or 1.
        masks: (M, S, S) bool.
        boxes_xyxy: (M, 4) float32 network pixels.
        class_ids: (M,) int64.
    """

    image: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]
    depth_valid: NDArray[np.float32]
    masks: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]


MINIMUM_AREA = 24
"""Instances of which fewer network pixels are left are no longer asked for."""


def augment(
    sample: Sample, size: int, config: AugmentConfig, rng: np.random.Generator, estimate: Estimate | None = None
) -> TrainingPicture:
    """Change one labelled picture at random.

    Args:
        sample: the picture.
        size: S.
        config: ranges.
        rng: source of all chance.
        estimate: (H, W, 3) uint8 to (H, W) relative inverse depth; without it the share of estimated depth sees none.
            Not asked where the picture brings relative depth, which then stands for both shares.

    Returns:
        The changed picture.
    """
    rgb = sample.rgb
    if rng.random() < config.turbidity:
        rgb = add_turbidity(rgb, sample.depth_m, rng)
    rgb = change_colours(rgb, config, rng)
    matrix = random_view(sample.rgb.shape[:2], size, config, rng)
    inside = _warp(np.ones(sample.rgb.shape[:2], np.float32), matrix, size, cv2.INTER_NEAREST)
    image = (_warp(rgb.astype(np.float32), matrix, size, cv2.INTER_LINEAR) - IMAGE_MEAN) / IMAGE_STD
    image *= inside[..., None]
    depth = _depth(sample, rgb, matrix, inside > 0, size, config, rng, estimate)
    masks = np.zeros((len(sample.masks), size, size), np.bool_)
    for target, mask in zip(masks, sample.masks, strict=True):
        target[:] = _warp(mask.astype(np.uint8), matrix, size, cv2.INTER_NEAREST)
    kept = masks.sum(axis=(1, 2)) >= MINIMUM_AREA
    masks = masks[kept]
    return TrainingPicture(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)),
        inverse_depth=depth.inverse_depth[None],
        depth_valid=depth.valid[None].astype(np.float32),
        masks=masks,
        boxes_xyxy=boxes_of_masks(masks),
        class_ids=sample.class_ids[kept],
    )


def random_view(
    size_hw: tuple[int, int], size: int, config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A (2, 3) matrix from picture to network pixels: letterbox, then scale, roll, mirror and shift.

    The shift keeps as much of the picture in sight as fits.
    """
    height, width = size_hw
    low, high = np.log(config.scale)
    scale = Letterbox(height, width, size).scale_xy[0] * float(np.exp(rng.uniform(low, high)))
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg))
    mirror = -1.0 if rng.random() < config.flip else 1.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1.0])
    shift = []
    for extent in (width * scale, height * scale):
        spare = size - extent  # positive: padding to place, negative: what must leave the frame
        shift.append(extent / 2 + rng.uniform(min(0.0, spare), max(0.0, spare)))
    centre = np.array([width / 2, height / 2])
    offset = np.array(shift) - turn @ centre
    # OpenCV counts from the middle of pixels, we count from their corners
    offset += turn @ np.array([0.5, 0.5]) - 0.5
    return np.column_stack([turn, offset])


def change_colours(rgb: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour cast, contrast, gamma, blur and noise: other water, other camera. (H, W, 3) uint8 to the same."""
    gains = np.exp(rng.uniform(-config.colour, config.colour, 3) + rng.uniform(-config.colour, config.colour))
    contrast = np.exp(rng.uniform(-config.colour, config.colour))
    gamma = np.exp(rng.uniform(-config.colour, config.colour))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    middle = float(levels.mean())
    table = np.clip(((levels - middle) * contrast + middle) * 255, 0, 255).astype(np.uint8)  # (256, 3)
    changed: NDArray[np.uint8] = cv2.LUT(rgb, np.ascontiguousarray(table[None]))
    if rng.random() < config.blur_noise:
        changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < config.blur_noise:
        noise = rng.standard_normal(changed.shape, np.float32) * np.float32(rng.uniform(1, 8))
        changed = np.clip(changed + noise, 0, 255).astype(np.uint8)
    return changed


def worsen_depth(depth_m: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A sensor's depth from a perfect one: noise that grows with range, patches and specks without, a far limit.

    Args:
        depth_m: (H, W) metres, NaN unknown.
        rng: source of all chance.

    Returns:
        (H, W) metres, NaN unknown.
    """
    height, width = depth_m.shape
    worse = depth_m * (1 + rng.standard_normal(depth_m.shape, np.float32) * np.float32(rng.uniform(0, 0.02)))
    coarse = rng.random((max(2, height // 32), max(2, width // 32)), np.float32)
    patches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    worse[patches < rng.uniform(0, 0.35)] = np.nan
    worse[rng.random(depth_m.shape, np.float32) < rng.uniform(0, 0.2)] = np.nan
    if rng.random() < 0.3 and np.isfinite(worse).any():
        worse[worse > np.nanquantile(worse, rng.uniform(0.5, 1.0))] = np.nan
    return worse


def _depth(
    sample: Sample,
    rgb: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    inside: NDArray[np.bool_],
    size: int,
    config: AugmentConfig,
    rng: np.random.Generator,
    estimate: Estimate | None,
) -> NormalisedDepth:
    """The depth that the network shall see."""
    kind = rng.random()
    unknown = np.full((size, size), np.nan, np.float32)
    if config.estimated_depth <= kind < config.estimated_depth + config.no_depth:
        return normalise_depth(unknown)
    relative = sample.relative_inverse_depth
    if relative is None and kind < config.estimated_depth and estimate is not None:
        relative = estimate(rgb)
    if relative is not None:
        return normalise_inverse_depth(np.where(inside, _warp(relative, matrix, size, cv2.INTER_LINEAR), unknown))
    if kind < config.estimated_depth or sample.depth_m is None:
        return normalise_depth(unknown)
    depth_m = worsen_depth(sample.depth_m, rng) if rng.random() < config.sensor_holes else sample.depth_m
    # nearest: a mean across an edge would be a surface that is not there
    return normalise_depth(np.where(inside, _warp(depth_m, matrix, size, cv2.INTER_NEAREST), unknown))


def _warp(picture: NDArray, matrix: NDArray[np.float64], size: int, interpolation: int) -> NDArray:
    """(H, W[, C]) to (S, S[, C]), 0 outside."""
    return cv2.warpAffine(picture, matrix, (size, size), flags=interpolation)
