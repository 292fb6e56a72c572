"""Augmentation for RGB-D: geometry moves image, depth and masks alike; water and camera change the image only.

Pictures are made small as they are when running: by area. Blur and noise come after, at the network's size: before,
they would vanish. Scale jitter leaves metric depth as it is: the network sees inverse depth scaled to the picture's own
range, which does not change when all depths are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import MINIMUM_DEPTH_M, NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.preprocess import PADDING_RGB, Letterbox
from spda_sam_core.resize import resize
from spda_sam_core.results.instances import boxes_of_masks
from spda_sam_core.settings import settings
from training.data.dataset import Sample
from training.data.turbidity import add_turbidity


@settings
class AugmentConfig:
    """Ranges of the random changes.

    Attributes:
        scale: lowest and highest size relative to the letterboxed picture, drawn evenly in its logarithm.
        rotation_deg: largest roll of the camera; every other picture is not rolled, and so not interpolated.
        flip: chance of a mirrored picture.
        colour: largest relative change of brightness, contrast and of each channel.
        turbidity: chance of more water before the scene, thicker where it is farther.
        blur_noise: chance of blur, and of noise.
        estimated_depth: share of the pictures that see the network's own estimate.
        no_depth: share of the pictures that see none.
        sensor_holes: share of the others whose depth gets a sensor's noise and holes.
        copy_paste: chance of things from another picture, see `training.data.copy_paste`.
    """

    scale: tuple[float, float] = (0.7, 1.8)
    rotation_deg: float = 8.0
    flip: float = 0.5
    colour: float = 0.25
    turbidity: float = 0.3
    blur_noise: float = 0.3
    estimated_depth: float = 0.2
    no_depth: float = 0.3
    sensor_holes: float = 0.4
    copy_paste: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale} must rise from above 0")
        for name in (
            "flip", "turbidity", "blur_noise", "estimated_depth", "no_depth", "sensor_holes", "colour", "copy_paste"
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1]")
        if self.estimated_depth + self.no_depth > 1:
            raise ValueError(f"estimated_depth {self.estimated_depth} and no_depth {self.no_depth} exceed 1 together")


@dataclass(frozen=True)
class TrainingPicture:
    """One picture as the network and the losses take it.

    Attributes:
        image: (S, S, 3) uint8, R G B, `PADDING_RGB` in the padding.
        inverse_depth: (1, S, S) float32 in [0, 1].
        depth_valid: (1, S, S) float32, 0 or 1.
        estimate: () float32, 1 where the network shall see its own estimate.
        true_inverse_depth: (1, S, S) float32 in [0, 1], undamaged, whatever the network is shown.
        true_depth_valid: (1, S, S) float32, 0 or 1.
        masks: (M, S, S) bool.
        boxes_xyxy: (M, 4) float32 network pixels.
        class_ids: (M,) int64.
    """

    image: NDArray[np.uint8]
    inverse_depth: NDArray[np.float32]
    depth_valid: NDArray[np.float32]
    estimate: NDArray[np.float32]
    true_inverse_depth: NDArray[np.float32]
    true_depth_valid: NDArray[np.float32]
    masks: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]


MINIMUM_AREA = 24
"""Instances of which fewer network pixels are left are no longer asked for."""


def augment(sample: Sample, size: int, config: AugmentConfig, rng: np.random.Generator) -> TrainingPicture:
    """Change one labelled picture at random.

    Args:
        sample: the picture.
        size: S.
        config: ranges.
        rng: source of all chance.

    Returns:
        The changed picture.
    """
    rgb = sample.rgb
    if rng.random() < config.turbidity:
        rgb = add_turbidity(rgb, sample.depth_m, rng)
    rgb = change_colours(rgb, config, rng)
    height, width = sample.rgb.shape[:2]
    view = random_view((height, width), size, config, rng)
    inside = view.warp(np.ones((height, width), np.uint8), cv2.INTER_NEAREST) > 0
    seen = view.warp(view.shrink(rgb), cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    pixels = blur_and_noise(seen, config, rng)
    image = np.where(inside[..., None], pixels, PADDING_RGB)
    shown, true, estimate = _depth(sample, view, inside, config, rng)
    masks = np.zeros((len(sample.masks), size, size), np.bool_)
    for target, mask in zip(masks, sample.masks, strict=True):
        target[:] = view.warp(mask.astype(np.uint8), cv2.INTER_NEAREST)
    kept = masks.sum(axis=(1, 2)) >= MINIMUM_AREA
    masks = masks[kept]
    return TrainingPicture(
        image=image,
        inverse_depth=shown.inverse_depth[None],
        depth_valid=shown.valid[None].astype(np.float32),
        estimate=np.float32(estimate)[()],
        true_inverse_depth=true.inverse_depth[None],
        true_depth_valid=true.valid[None].astype(np.float32),
        masks=masks,
        boxes_xyxy=boxes_of_masks(masks),
        class_ids=sample.class_ids[kept],
    )


@dataclass(frozen=True)
class View:
    """Where a picture lies in the network's input.

    Attributes:
        size_hw: height and width of the picture.
        small_hw: the same when it is brought to its scale in the input; equal to `size_hw` where it is enlarged.
        matrix: (2, 3) from picture to network pixels, of whatever size the picture is given in.
        size: S.
    """

    size_hw: tuple[int, int]
    small_hw: tuple[int, int]
    matrix: NDArray[np.float64]
    size: int

    def shrink(self, picture: NDArray) -> NDArray:
        """(H, W[, C]) of `size_hw` to `small_hw`, as when running: warping alone would alias."""
        return resize(picture, self.small_hw)

    def warp(self, picture: NDArray, interpolation: int, border: int = cv2.BORDER_CONSTANT) -> NDArray:
        """(H, W[, C]) or what `shrink` made of it to (S, S[, C]); outside 0 or what `border` says."""
        height, width = picture.shape[:2]
        given = np.diag([self.size_hw[1] / width, self.size_hw[0] / height])  # from these pixels to the picture's
        turn = self.matrix[:, :2] @ given
        # OpenCV counts from the middle of pixels, we count from their corners
        offset = self.matrix[:, 2] + turn @ np.array([0.5, 0.5]) - 0.5
        matrix = np.column_stack([turn, offset])
        return cv2.warpAffine(picture, matrix, (self.size, self.size), flags=interpolation, borderMode=border)


def random_view(size_hw: tuple[int, int], size: int, config: AugmentConfig, rng: np.random.Generator) -> View:
    """Letterbox, then scale, roll, mirror and shift. The shift keeps as much of the picture in sight as fits."""
    height, width = size_hw
    low, high = np.log(config.scale)
    scale = Letterbox(height, width, size).scale_xy[0] * float(np.exp(rng.uniform(low, high)))
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg)) * (rng.random() < 0.5)
    mirror = -1.0 if rng.random() < config.flip else 1.0
    small_hw = (max(1, round(height * scale)), max(1, round(width * scale))) if scale < 1 else size_hw
    exact = np.array([small_hw[1] / width, small_hw[0] / height]) if scale < 1 else np.array([scale, scale])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1.0] * exact)
    shift = []
    for extent in (width, height) * exact:
        spare = size - extent  # positive: padding to place, negative: what must leave the frame
        corner = rng.uniform(min(0.0, spare), max(0.0, spare))
        # whole pixels: a picture that is not rolled keeps its pixels as they are
        shift.append(extent / 2 + (round(corner) if angle == 0 else corner))
    offset = np.array(shift) - turn @ np.array([width / 2, height / 2])
    return View(size_hw, small_hw, np.column_stack([turn, offset]), size)


def change_colours(rgb: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour cast, contrast and gamma: other water, other camera. (H, W, 3) uint8 to the same."""
    gains = np.exp(rng.uniform(-config.colour, config.colour, 3) + rng.uniform(-config.colour, config.colour))
    contrast = np.exp(rng.uniform(-config.colour, config.colour))
    gamma = np.exp(rng.uniform(-config.colour, config.colour))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    middle = float(levels.mean())
    table = np.rint(np.clip(((levels - middle) * contrast + middle) * 255, 0, 255)).astype(np.uint8)  # (256, 3)
    changed: NDArray[np.uint8] = cv2.LUT(rgb, np.ascontiguousarray(table[None]))
    return changed


def blur_and_noise(pixels: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur and noise of a camera, in network pixels. (S, S, 3) uint8 to the same."""
    if rng.random() < config.blur_noise:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < config.blur_noise:
        noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 8))
        pixels = np.rint(np.clip(pixels + noise, 0, 255)).astype(np.uint8)
    return pixels


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
    sample: Sample, view: View, inside: NDArray[np.bool_], config: AugmentConfig, rng: np.random.Generator
) -> tuple[NormalisedDepth, NormalisedDepth, bool]:
    """The depth that the network is shown, the true one, and whether it shall see its own estimate instead."""
    kind = rng.random()
    damaged = rng.random() < config.sensor_holes
    nothing = normalise_inverse_depth(np.full((view.size, view.size), np.nan, np.float32))
    if sample.depth_m is not None:
        true = _metric_seen_from(sample.depth_m, view, inside)
    elif sample.relative_inverse_depth is not None:
        true = normalise_inverse_depth(_seen_from(sample.relative_inverse_depth, view, inside))
    else:
        true = nothing
    if kind < config.estimated_depth + config.no_depth:
        return nothing, true, kind < config.estimated_depth
    if damaged and sample.depth_m is not None:
        return _metric_seen_from(worsen_depth(sample.depth_m, rng), view, inside), true, False
    return true, true, False


def _metric_seen_from(depth_m: NDArray[np.float32], view: View, inside: NDArray[np.bool_]) -> NormalisedDepth:
    """(H, W) metres, NaN unknown, as the network sees it."""
    known = np.where((depth_m >= MINIMUM_DEPTH_M) & (depth_m < np.inf), depth_m, np.float32(np.nan))
    return normalise_depth(1 / _seen_from(1 / known, view, inside))


def _seen_from(inverse_depth: NDArray[np.float32], view: View, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) inverse depth, NaN unknown, brought to (S, S) as when running: the mean of what is known, if half is."""
    valid = np.isfinite(inverse_depth)
    share = view.shrink(valid.astype(np.float32))
    total = view.shrink(np.where(valid, inverse_depth, np.float32(0)))
    mean = np.where(share >= 0.5, total / np.maximum(share, np.float32(0.5)), np.float32(np.nan))
    # nearest: a mean across an edge would be a surface that is not there
    return np.where(inside, view.warp(mean, cv2.INTER_NEAREST), np.float32(np.nan))
