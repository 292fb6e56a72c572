"""Where augmentation puts a picture, to a tenth of a pixel, and that its pixels are those of `preprocess.prepare`."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from spda_sam_core.depth.normalisation import normalise_depth
from spda_sam_core.preprocess import Letterbox, prepare
from training.data import augment as augmentation
from training.data.augment import AugmentConfig, TrainingPicture, View, augment, random_view
from training.data.dataset import Sample

STILL = AugmentConfig(
    scale=(1.0, 1.0),
    rotation_deg=0,
    flip=0,
    colour=0,
    turbidity=0,
    blur_noise=0,
    estimated_depth=0,
    no_depth=0,
    sensor_holes=0,
)
MOVING = dataclasses.replace(STILL, scale=(0.6, 2.0), rotation_deg=30, flip=0.5)
HEIGHT, WIDTH = 400, 560
SIZE = 448
RADIUS = 30
CENTRES = np.array([[x, y] for y in (70.3, 200.0, 329.8) for x in (80.6, 213.4, 346.5, 480.1)])
"""x, y of dots in the picture, counted from its corner: the first pixel's centre is 0.5."""


def seen_by(sample: Sample, config: AugmentConfig, seed: int, monkeypatch: pytest.MonkeyPatch, size: int = SIZE):
    """The augmented picture and the view that was drawn for it."""
    views: list[View] = []

    def spy(*given) -> View:
        views.append(random_view(*given))
        return views[-1]

    monkeypatch.setattr(augmentation, "random_view", spy)
    return augment(sample, size, config, np.random.default_rng(seed)), views[0]


def dots() -> Sample:
    """Soft bright dots on black, each with a disc as its mask, which is near before a far wall."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    squared = (x - CENTRES[:, 0, None, None]) ** 2 + (y - CENTRES[:, 1, None, None]) ** 2
    bright = np.rint(250 * np.exp(-squared / (2 * 8.0**2)).sum(axis=0)).astype(np.uint8)
    masks = squared < RADIUS**2
    depth_m = np.where(masks.any(axis=0), np.float32(1), np.float32(4))
    return Sample(1, "a.png", np.repeat(bright[..., None], 3, axis=2), depth_m, masks, np.zeros(len(CENTRES), np.int64))


def centroid(weights: np.ndarray) -> np.ndarray:
    """x, y of the centre of gravity of an (S, S) map."""
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize("seed", range(12))
def test_image_masks_and_depth_lie_where_the_view_says_to_a_tenth_of_a_pixel(seed, monkeypatch):
    picture, view = seen_by(dots(), MOVING, seed, monkeypatch)
    scale = np.sqrt(abs(np.linalg.det(view.matrix[:, :2])))
    expected = CENTRES @ view.matrix[:, :2].T + view.matrix[:, 2]
    reach = (RADIUS + 4) * scale
    whole = ((expected > reach) & (expected < SIZE - reach)).all(axis=1)
    assert whole.sum() >= 2
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    off_image, off_depth = [], []
    for place in expected[whole]:
        around = (x - place[0]) ** 2 + (y - place[1]) ** 2 < reach**2
        off_image.append(centroid(picture.image[..., 0] * around) - place)
        off_depth.append(centroid(picture.inverse_depth[0] * around) - place)
    assert np.abs(off_image).max() < 0.1
    # hard edges are taken to whole pixels: one disc may be 0.1 off by chance, all of them are not
    assert np.abs(np.mean(off_depth, axis=0)).max() < 0.1
    found = np.array([centroid(mask) for mask in picture.masks])
    nearest = [found[np.linalg.norm(found - place, axis=1).argmin()] - place for place in expected[whole]]
    assert np.abs(np.mean(nearest, axis=0)).max() < 0.1


def test_views_are_rolled_mirrored_scaled_and_stay_in_the_square():
    views = [random_view((HEIGHT, WIDTH), SIZE, MOVING, np.random.default_rng(seed)) for seed in range(300)]
    turns = np.array([view.matrix[:, :2] for view in views])
    sizes = np.sqrt(np.abs(np.linalg.det(turns))) / Letterbox(HEIGHT, WIDTH, SIZE).scale_xy[0]
    assert 0.59 < sizes.min() < 0.65
    assert 1.85 < sizes.max() < 2.01
    assert 0.4 < (np.linalg.det(turns) < 0).mean() < 0.6
    angles = np.rad2deg(np.arctan2(turns[:, 1, 0], np.abs(turns[:, 0, 0]) * np.sign(turns[:, 1, 1])))
    still = np.abs(turns[:, 1, 0]) < 1e-12
    assert 0.4 < still.mean() < 0.6
    assert 25 < np.abs(angles).max() < 30.001
    middles = turns @ np.array([WIDTH / 2, HEIGHT / 2]) + np.array([view.matrix[:, 2] for view in views])
    assert ((middles > 0) & (middles < SIZE)).mean() > 0.95


@pytest.mark.parametrize("size", [128, 190, 217, 300])
def test_a_checkerboard_of_single_pixels_becomes_grey(size):
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    view = random_view((512, 512), size, STILL, np.random.default_rng(0))
    small = view.shrink(board).astype(float)
    assert small.shape == (size, size)
    # of an even number of squares each way nothing remains, of f x f at most one square in f * f
    assert np.abs(small - 127.5).max() <= 127.5 * (size / 512) ** 2 + 1


@pytest.mark.parametrize("size_hw", [(256, 384), (300, 400), (401, 533), (768, 1024), (720, 1280)])
def test_pixels_are_those_that_the_network_sees_when_running(size_hw, monkeypatch):
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (size_hw[0] // 3, size_hw[1] // 3, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    picture = placed(rgb, None, monkeypatch)
    running = prepare(rgb, None, 128)
    height, width = Letterbox(*size_hw, 128).resized_hw
    np.testing.assert_array_equal(picture.image, running.image[0, :height, :width])


@pytest.mark.parametrize("size_hw", [(256, 384), (300, 400), (720, 1280)])
def test_depth_is_nearly_what_the_network_sees_when_running(size_hw, monkeypatch):
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] / float(size_hw[1])
    depth_m = (3 + np.sin(5 * x) + np.cos(4 * y)).astype(np.float32)
    depth_m[size_hw[0] // 4 : size_hw[0] // 2, size_hw[1] // 4 : size_hw[1] // 2] = 1.2
    depth_m[size_hw[0] // 2 : size_hw[0] // 2 + 40, -60:] = np.nan
    picture = placed(np.zeros((*size_hw, 3), np.uint8), depth_m, monkeypatch)
    box = Letterbox(*size_hw, 128)
    running = normalise_depth(depth_m, box.resized_hw)
    both = (picture.depth_valid[0] > 0) & running.valid
    assert both.sum() > 0.99 * max(running.valid.sum(), picture.depth_valid.sum())
    apart = np.abs(picture.inverse_depth[0] - running.inverse_depth)[both]
    # the range comes from shrunk pixels here and from a sample of the camera's there: under 1 % of the range each;
    # across an edge two means of near and far may differ more, as one looks at all pixels and the other at every third
    assert np.quantile(apart, 0.98) < 0.02
    assert apart.mean() < 0.01


def placed(rgb: np.ndarray, depth_m: np.ndarray | None, monkeypatch: pytest.MonkeyPatch) -> TrainingPicture:
    """A picture without changes at 128, its padding cut away."""
    sample = Sample(1, "a.png", rgb, depth_m, np.ones((1, *rgb.shape[:2]), bool), np.array([0]))
    picture, view = seen_by(sample, STILL, 0, monkeypatch, size=128)
    left, top = np.rint(view.matrix[:, 2]).astype(int)
    np.testing.assert_allclose(view.matrix[:, 2], (left, top), atol=1e-9)  # whole pixels
    height, width = Letterbox(*rgb.shape[:2], 128).resized_hw
    rows, columns = slice(top, top + height), slice(left, left + width)
    assert picture.masks[0].sum() == picture.masks[0][rows, columns].sum() == height * width
    cut = {
        name: np.ascontiguousarray(getattr(picture, name)[:, rows, columns])
        for name in ("inverse_depth", "depth_valid")
    }
    return dataclasses.replace(picture, image=picture.image[rows, columns], **cut)


def test_a_pixel_is_as_near_as_what_is_known_of_it_if_half_is(monkeypatch):
    depth_m = np.full((512, 512), 4, np.float32)
    depth_m[:256] = 1
    columns = np.arange(512)
    missing = np.where(columns < 256, 3, np.where(columns // 4 % 2 == 0, 1, 0))  # of each four columns
    depth_m[:, columns % 4 < missing] = np.nan
    picture = placed(np.zeros((512, 512, 3), np.uint8), depth_m, monkeypatch)
    assert not picture.depth_valid[0, :, :64].any()
    assert picture.depth_valid[0, :, 64:].all()
    np.testing.assert_allclose(picture.inverse_depth[0, :64, 64:], 1, atol=1e-5)
    np.testing.assert_allclose(picture.inverse_depth[0, 64:, 64:], 0, atol=1e-5)


def test_noise_is_of_the_networks_pixels():
    grey = Sample(
        1, "a.png", np.full((1024, 1024, 3), 128, np.uint8), None, np.ones((1, 1024, 1024), bool), np.array([0])
    )
    config = dataclasses.replace(STILL, blur_noise=1.0)
    spreads = []
    for seed in range(8):
        image = augment(grey, 128, config, np.random.default_rng(seed)).image.astype(float)
        spreads.append(image.std(axis=(0, 1)).mean())
        # neighbours know nothing of each other: nothing was averaged after
        apart = np.diff(image, axis=1).std() / image.std(axis=(0, 1)).mean()
        assert apart == pytest.approx(np.sqrt(2), rel=0.05)
    # of a camera's pixels 8 x 8 would be averaged, and an eighth remain
    assert 0.9 < min(spreads) < max(spreads) < 8.5
    assert max(spreads) > 3


def test_blur_is_of_the_networks_pixels():
    rgb = np.zeros((1024, 1024, 3), np.uint8)
    rgb[:, 512:] = 200
    edge = Sample(1, "a.png", rgb, None, np.ones((1, 1024, 1024), bool), np.array([0]))
    steps = []
    for seed in range(16):
        picture = augment(edge, 128, dataclasses.replace(STILL, blur_noise=1.0), np.random.default_rng(seed))
        profile = picture.image[..., 0].mean(axis=0)  # along the edge, where noise averages out
        steps.append(np.diff(profile).max() / 200)
    # a Gaussian of 0.3 to 1.5 pixels leaves 0.9 to 0.26 of the step; before shrinking by 8 it would leave all of it
    assert 0.2 < min(steps) < 0.45
    assert 0.35 < np.mean(steps) < 0.75
