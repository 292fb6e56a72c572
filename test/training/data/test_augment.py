"""Augmentation: geometry keeps image, depth and masks together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spda_sam_core.preprocess import PADDING_RGB
from training.data.augment import AugmentConfig, augment, change_colours, worsen_depth
from training.data.dataset import Sample
from training.data.turbidity import add_turbidity

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
WILD = dataclasses.replace(STILL, scale=(0.5, 2.0), rotation_deg=30, flip=0.5)


def sample():
    """A white square, nearer than the black wall behind it."""
    mask = np.zeros((1, 96, 128), bool)
    mask[0, 20:60, 30:80] = True
    rgb = np.where(mask[0, ..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    return Sample(1, "a.png", rgb, np.where(mask[0], 1.0, 4.0).astype(np.float32), mask, np.array([2]))


def test_without_changes_it_is_the_letterbox():
    picture = augment(sample(), 128, STILL, np.random.default_rng(0))
    assert picture.image.shape == (128, 128, 3)
    expected = np.zeros((128, 128), bool)
    top = int(np.flatnonzero(picture.depth_valid[0].any(axis=1))[0])  # the picture may lie anywhere in the square
    expected[top + 20 : top + 60, 30:80] = True
    assert np.array_equal(picture.masks[0], expected)
    assert picture.boxes_xyxy.tolist() == [[30, top + 20, 80, top + 60]]
    assert picture.class_ids.tolist() == [2]


@pytest.mark.parametrize("seed", range(8))
def test_image_depth_and_mask_move_together(seed):
    picture = augment(sample(), 128, WILD, np.random.default_rng(seed))
    known = picture.depth_valid[0] > 0
    if not len(picture.masks):
        pytest.skip("the square left the frame")
    mask = picture.masks[0]
    bright = picture.image.min(axis=2) > PADDING_RGB.max()
    near = known & (picture.inverse_depth[0] > 0.5)
    for other in (bright, near):
        assert (mask & other).sum() / (mask | other).sum() > 0.9
    assert (picture.image[~known] == PADDING_RGB).all()  # beyond the picture lies padding


def test_same_random_state_gives_the_same_picture():
    first, second = (augment(sample(), 128, WILD, np.random.default_rng(5)) for _ in range(2))
    for field in dataclasses.fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name))


def test_relative_depth_moves_with_the_picture_too():
    relative = np.where(sample().masks[0], 9, 2).astype("f4")
    given = dataclasses.replace(sample(), depth_m=None, relative_inverse_depth=relative)
    picture = augment(given, 128, WILD, np.random.default_rng(3))
    near = picture.inverse_depth[0] > 0.5
    assert (near & picture.masks[0]).sum() / (near | picture.masks[0]).sum() > 0.9
    hidden = augment(given, 128, dataclasses.replace(WILD, no_depth=1.0), np.random.default_rng(3))
    assert not hidden.depth_valid.any()


def test_pictures_see_depth_an_estimate_or_nothing_in_their_shares():
    config = dataclasses.replace(STILL, estimated_depth=0.2, no_depth=0.3)
    shares = {"estimate": 0, "none": 0, "depth": 0}
    for seed in range(600):
        picture = augment(sample(), 32, config, np.random.default_rng(seed))
        if picture.depth_valid.any():
            assert picture.estimate == 0
            shares["depth"] += 1
        else:
            assert not picture.inverse_depth.any()
            shares["estimate" if picture.estimate == 1 else "none"] += 1
    for kind, wanted in (("estimate", 0.2), ("none", 0.3), ("depth", 0.5)):  # to five standard deviations
        assert abs(shares[kind] / 600 - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / 600), kind


@pytest.mark.parametrize("change", [{"sensor_holes": 1.0}, {"no_depth": 1.0}, {"estimated_depth": 1.0}])
def test_the_true_depth_stays_undamaged_whatever_is_shown(change):
    untouched = augment(sample(), 128, STILL, np.random.default_rng(0))
    for seed in range(4):
        picture = augment(sample(), 128, dataclasses.replace(STILL, **change), np.random.default_rng(seed))
        # another draw shifts the picture in its square
        top, of_untouched = (int(np.flatnonzero(p.true_depth_valid[0].any(axis=1))[0]) for p in (picture, untouched))
        for name in ("true_inverse_depth", "true_depth_valid"):
            moved = np.roll(getattr(picture, name), of_untouched - top, axis=1)
            np.testing.assert_array_equal(moved, getattr(untouched, name))
        assert not np.array_equal(picture.depth_valid, picture.true_depth_valid)


def test_worse_depth_has_holes_and_stays_near_the_truth_elsewhere():
    depth_m = np.full((96, 128), 3.0, np.float32)
    shares = []
    for seed in range(10):
        worse = worsen_depth(depth_m, np.random.default_rng(seed))
        known = np.isfinite(worse)
        shares.append(1 - known.mean())
        assert abs(np.median(worse[known]) - 3.0) < 0.1
    assert 0.03 < np.mean(shares) < 0.6
    assert np.isfinite(depth_m).all()  # its input is left alone


def test_turbidity_changes_the_image_only():
    turbid = dataclasses.replace(STILL, turbidity=1.0)
    clear, veiled = (augment(sample(), 128, c, np.random.default_rng(4)) for c in (STILL, turbid))
    assert np.abs(clear.image - veiled.image).max() > 0.1
    # another draw shifts the picture in its square: compare what lies there, not where
    assert clear.masks.sum() == veiled.masks.sum()
    assert np.unique(clear.inverse_depth).tolist() == np.unique(veiled.inverse_depth).tolist()


def test_contrast_falls_with_range_as_beer_lambert_says():
    rgb = np.full((64, 96, 3), 60, np.uint8)
    rgb[::2] = 200  # contrast everywhere
    depth_m = np.full((64, 96), 1.0, np.float32)
    depth_m[:, 48:] = 3.0
    for seed in range(6):
        light = (add_turbidity(rgb, depth_m, np.random.default_rng(seed)).astype(float) / 255) ** 2
        near, far = (np.log((light[0, x] - light[1, x]) / ((200 / 255) ** 2 - (60 / 255) ** 2)) for x in (20, 75))
        np.testing.assert_allclose(far / near, 3, rtol=0.15)  # exp(-3 b) against exp(-b), rounded to bytes


def test_turbidity_without_depth_is_even():
    rgb = np.full((32, 48, 3), (30, 120, 200), np.uint8)
    rgb[:, 24:] = 250
    veiled = add_turbidity(rgb, None, np.random.default_rng(1))
    for half in (veiled[:, :24], veiled[:, 24:]):
        assert (half == half[0, 0]).all()
    assert not np.array_equal(veiled, rgb)


def test_colours_stay_without_ranges():
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.abs(change_colours(rgb, STILL, np.random.default_rng(0)).astype(int) - rgb).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (2.0, 1.0)}, r"scale \(2.0, 1.0\) must rise"),
        ({"flip": 1.5}, r"flip 1.5 must lie in \[0, 1\]"),
        ({"estimated_depth": 0.7, "no_depth": 0.6}, "exceed 1 together"),
    ],
)
def test_impossible_ranges_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STILL, **change)
