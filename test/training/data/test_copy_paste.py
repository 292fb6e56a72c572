"""Things pasted from another picture cover what is behind them, and their depth is right or unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.copy_paste import paste_things
from training.data.dataset import Sample

FAR, BRIGHT = 5.0, 200


def picture(
    size_hw: tuple[int, int], box: tuple[int, int, int, int], class_id: int, grey: int, depth_m: float
) -> Sample:
    """Grey, with one square that is bright, nearer than the rest and labelled."""
    x, y, width, height = box
    mask = np.zeros((1, *size_hw), np.bool_)
    mask[0, y : y + height, x : x + width] = True
    rgb = np.full((*size_hw, 3), grey, np.uint8)
    rgb[mask[0]] = BRIGHT
    depth = np.where(mask[0], np.float32(depth_m - 1), np.float32(depth_m))
    return Sample(1, "a.png", rgb, depth, mask, np.array([class_id]))


SCENE = replace(picture((90, 120), (10, 10, 30, 30), 0, 40, FAR), rgb=np.full((90, 120, 3), 40, np.uint8))
DONOR = picture((60, 50), (5, 8, 24, 20), 7, 90, 12.0)  # everything in it is farther than all of the scene


@pytest.mark.parametrize("seed", range(8))
def test_a_pasted_thing_brings_its_pixels_label_and_a_depth_before_what_it_covers(seed: int) -> None:
    mixed = paste_things(SCENE, DONOR, np.random.default_rng(seed))
    pasted = mixed.masks[mixed.class_ids == 7].any(axis=0)
    assert pasted.any()
    assert (mixed.rgb[pasted] == BRIGHT).all()
    assert (mixed.rgb[~pasted] == 40).all()
    assert (mixed.depth_m[pasted] < SCENE.depth_m[pasted].min()).all()
    assert np.array_equal(mixed.depth_m[~pasted], SCENE.depth_m[~pasted])
    for mask in mixed.masks[mixed.class_ids == 0]:
        assert np.array_equal(mask, SCENE.masks[0] & ~pasted)
    assert (mixed.masks.sum(axis=0) <= 1).all()
    assert (SCENE.rgb == 40).all()  # what it came from is as it was


def test_a_thing_without_depth_makes_the_depth_of_its_place_unknown() -> None:
    mixed = paste_things(SCENE, replace(DONOR, depth_m=None), np.random.default_rng(1))
    pasted = mixed.masks[mixed.class_ids == 7].any(axis=0)
    assert np.array_equal(np.isnan(mixed.depth_m), pasted)
    relative = replace(SCENE, depth_m=None, relative_inverse_depth=np.ones((90, 120), np.float32))
    mixed = paste_things(relative, DONOR, np.random.default_rng(1))
    assert mixed.depth_m is None
    assert np.array_equal(np.isnan(mixed.relative_inverse_depth), pasted)


def test_a_picture_without_depth_gets_none() -> None:
    mixed = paste_things(replace(SCENE, depth_m=None), DONOR, np.random.default_rng(1))
    assert mixed.depth_m is mixed.relative_inverse_depth is None
    assert 7 in mixed.class_ids


def test_a_donor_without_things_changes_nothing() -> None:
    nothing = replace(DONOR, masks=DONOR.masks[:0], class_ids=DONOR.class_ids[:0])
    assert paste_things(SCENE, nothing, np.random.default_rng(0)) is SCENE


def test_what_is_covered_whole_is_no_longer_asked_for() -> None:
    tiny = np.zeros((1, 90, 120), np.bool_)
    tiny[0, 45, 60] = True
    scene = replace(SCENE, masks=tiny)
    gone = [paste_things(scene, DONOR, np.random.default_rng(seed)) for seed in range(60)]
    counts = {int((mixed.class_ids == 0).sum()) for mixed in gone}
    assert counts == {0, 1}
    assert all(len(mixed.masks) == len(mixed.class_ids) and mixed.masks.any(axis=(1, 2)).all() for mixed in gone)
