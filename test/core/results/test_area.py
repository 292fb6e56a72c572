"""Area of what a mask covers: flat patches at any angle, a ball, noise, holes, and too little to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from spda_sam_core.results.area import surface_area_m2
from spda_sam_core.results.metric import Pinhole

CAMERA = Pinhole(600.0, 620.0, 330.0, 235.0)
SIZE_HW = (480, 640)
Patch = tuple[NDArray[np.bool_], NDArray[np.float32]]


def rays() -> NDArray[np.float64]:
    v, u = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(SIZE_HW)], axis=2)


def patch(angle_deg: float, about_deg: float = 0.0, sides_m: tuple[float, float] = (0.6, 0.4), z: float = 2.0) -> Patch:
    """A rectangle around (0.1, 0.05, z), inclined by an angle about an axis in its plane; depth of the whole plane."""
    angle, about = math.radians(angle_deg), math.radians(about_deg)
    along = np.array([math.cos(about), math.sin(about), 0.0])  # it turns about this
    across = np.array([-math.sin(about) * math.cos(angle), math.cos(about) * math.cos(angle), math.sin(angle)])
    normal, centre = np.cross(along, across), np.array([0.1, 0.05, z])
    depth = (normal @ centre) / (rays() @ normal)
    points = rays() * depth[..., None] - centre
    mask = (np.abs(points @ along) < sides_m[0] / 2) & (np.abs(points @ across) < sides_m[1] / 2)
    return mask, depth.astype(np.float32)


def area_of(mask: NDArray[np.bool_], depth: NDArray[np.float32], camera: Pinhole = CAMERA) -> float | None:
    ys, xs = np.nonzero(mask)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
    return surface_area_m2(camera, mask, box, depth)


@pytest.mark.parametrize("angle", [0, 15, 30, 45, 60])
@pytest.mark.parametrize("about", [0, 35, 90])
def test_a_flat_patch_has_its_area_at_any_angle(angle: float, about: float) -> None:
    mask, depth = patch(angle, about)
    outside = np.where(mask, depth, np.float32(np.nan))
    for shown in (depth, outside):  # whatever lies beside it
        assert area_of(mask, shown) == pytest.approx(0.6 * 0.4, rel=0.02)


@pytest.mark.parametrize("z", [0.7, 5.0])
def test_near_or_far_a_patch_is_as_large(z: float) -> None:
    mask, depth = patch(30, 20, (0.3, 0.2), z)
    assert area_of(mask, depth) == pytest.approx(0.06, rel=0.05)


def test_what_lies_behind_the_patch_does_not_count() -> None:
    mask, depth = patch(40, 10)
    behind = np.where(mask, depth, np.float32(6.0))
    assert area_of(mask, behind) == pytest.approx(0.24, rel=0.02)


def test_a_ball_shows_a_cap() -> None:
    """From 1.5 m, up to 50 degrees from its nearest point: 2 pi r^2 (1 - cos 50)."""
    radius, centre = 0.4, np.array([0.0, 0.0, 1.5])
    lengths = np.linalg.norm(rays(), axis=2)
    along = rays() @ centre / lengths
    root = along**2 - centre @ centre + radius**2
    reach = np.where(root > 0, along - np.sqrt(np.maximum(root, 0)), np.nan)
    depth = reach / lengths
    points = rays() * depth[..., None] - centre
    mask = np.nan_to_num(-points[..., 2] / radius, nan=-1) > math.cos(math.radians(50))
    expected = 2 * math.pi * radius**2 * (1 - math.cos(math.radians(50)))
    assert area_of(mask, depth.astype(np.float32)) == pytest.approx(expected, rel=0.03)


def test_a_sensors_noise_does_not_make_a_surface_larger() -> None:
    rng = np.random.default_rng(0)
    for angle in (0, 45):
        mask, depth = patch(angle)
        noisy = depth * (1 + 0.01 * rng.standard_normal(SIZE_HW)).astype(np.float32)
        assert area_of(mask, noisy) == pytest.approx(0.24, rel=0.05)


def test_holes_count_as_the_rest_and_too_many_give_none() -> None:
    mask, depth = patch(30)
    unknown = np.random.default_rng(0).random(SIZE_HW)
    assert area_of(mask, np.where(unknown < 0.5, np.float32(np.nan), depth)) == pytest.approx(0.24, rel=0.03)
    assert area_of(mask, np.where(unknown < 0.5, np.float32(0), depth)) == pytest.approx(0.24, rel=0.03)
    assert area_of(mask, np.where(unknown < 0.8, np.float32(np.nan), depth)) is None
    assert area_of(mask, np.full(SIZE_HW, np.nan, np.float32)) is None


def test_a_thing_of_a_few_pixels_has_no_area_and_a_small_one_its_own() -> None:
    few, depth = patch(0, sides_m=(0.008, 0.008))
    assert area_of(few, depth) is None
    small, depth = patch(20, sides_m=(0.06, 0.05))
    assert area_of(small, depth) == pytest.approx(0.003, rel=0.1)  # 18 x 14 pixels


def test_a_large_thing_is_sampled_and_a_box_may_reach_over_the_edge() -> None:
    mask, depth = patch(0, sides_m=(9.0, 9.0))
    assert mask.all()
    box = np.array([-5, -3.5, 700, 500], np.float32)
    expected = 2.0**2 * SIZE_HW[0] * SIZE_HW[1] / (CAMERA.fx * CAMERA.fy)
    assert surface_area_m2(CAMERA, mask, box, depth) == pytest.approx(expected, rel=0.01)
