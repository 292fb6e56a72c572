"""The box around what a mask covers: flat things and balls of known size, rims that show what lies behind, holes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spda_sam_core.results.extent import Box3d, box_3d
from spda_sam_core.results.metric import Pinhole

CAMERA = Pinhole(600.0, 620.0, 330.0, 235.0)
SIZE_HW = (480, 640)
PIXEL_M = 2.0 / 600  # of a pixel at 2 m
V, U = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]


def box_of(mask: NDArray[np.bool_], depth: NDArray[np.floating]) -> Box3d | None:
    ys, xs = np.nonzero(mask)
    around = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
    return box_3d(CAMERA, mask, around, depth.astype(np.float32))


def rectangle(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_plate_that_faces_the_camera_is_as_wide_and_high_as_its_pixels_and_has_no_thickness() -> None:
    box = box_of(rectangle(100, 200, 400, 262), np.full(SIZE_HW, 2.0))
    assert box is not None
    np.testing.assert_allclose(box.size_m, (300 * 2 / 600, 62 * 2 / 620, 0), atol=1e-9)
    # the edges of pixels lie half a pixel beside their middles, which are at whole numbers
    np.testing.assert_allclose(box.centre_m, ((249.5 - 330) * 2 / 600, (230.5 - 235) * 2 / 620, 2), atol=1e-9)


@pytest.mark.parametrize("slope", [0.5, -1.0])
def test_an_inclined_plate_is_as_thick_as_its_ends_differ_in_depth(slope: float) -> None:
    depth = 2.0 / (1 - slope * (U - CAMERA.cx) / CAMERA.fx)  # of the plane z = 2 + slope x
    x = (U - CAMERA.cx) / CAMERA.fx * depth
    mask = (np.abs(x - 0.05) < 0.2) & (np.abs(V - 240) < 60)
    box = box_of(mask, depth)
    assert box is not None
    assert box.size_m[0] == pytest.approx(0.4, abs=3 * PIXEL_M)
    assert box.size_m[2] == pytest.approx(0.4 * abs(slope), abs=3 * PIXEL_M)
    assert box.centre_m[0] == pytest.approx(0.05, abs=2 * PIXEL_M)
    assert box.centre_m[2] == pytest.approx(2 + slope * 0.05, abs=2 * PIXEL_M)


def test_of_a_ball_it_holds_the_half_that_is_seen() -> None:
    radius, distance = 0.3, 2.0
    rays = np.stack([(U - CAMERA.cx) / CAMERA.fx, (V - CAMERA.cy) / CAMERA.fy, np.ones(SIZE_HW)], axis=2)
    square, along = (rays**2).sum(axis=2), rays[..., 2] * distance
    inner = along**2 - square * (distance**2 - radius**2)
    mask = inner > 0
    depth = np.where(mask, (along - np.sqrt(np.maximum(inner, 0))) / square, np.nan)
    box = box_of(mask, depth)
    assert box is not None
    # what touches the cone of view is nearer than the middle, by r^2 / d, and narrower than the ball
    seen = radius * np.sqrt(1 - (radius / distance) ** 2)
    np.testing.assert_allclose(box.size_m, (2 * seen, 2 * seen, radius - radius**2 / distance), atol=0.012)
    np.testing.assert_allclose(box.centre_m[:2], (0, 0), atol=0.005)


@pytest.mark.parametrize("behind_m", [5.0, 0.5])
def test_a_rim_with_the_depth_of_something_else_does_not_widen_it(behind_m: float) -> None:
    mask, depth = rectangle(300, 200, 340, 240), np.full(SIZE_HW, 2.0)
    rng = np.random.default_rng(0)
    depth += rng.normal(0, 0.002, SIZE_HW)
    inner = rectangle(302, 202, 338, 238)
    depth[mask & ~inner] = behind_m  # a fifth of it
    box = box_of(mask, depth)
    assert box is not None
    assert box.centre_m[2] == pytest.approx(2.0, abs=0.01)
    assert box.size_m[2] < 0.03
    assert box.size_m[0] == pytest.approx(36 * PIXEL_M, abs=PIXEL_M)


def test_something_that_stands_out_little_is_part_of_it() -> None:
    mask, depth = rectangle(300, 200, 340, 240), np.full(SIZE_HW, 2.0)
    depth[210:220, 310:320] = 1.97
    box = box_of(mask, depth)
    assert box is not None
    assert box.size_m[2] == pytest.approx(0.03, abs=1e-5)


def test_holes_in_depth_take_nothing_from_it_until_too_little_is_left() -> None:
    mask, depth = rectangle(300, 200, 340, 240), np.full(SIZE_HW, 2.0)
    whole = box_of(mask, depth)
    depth[205:220, 305:335] = np.nan
    depth[222:230, 305:335] = 0.0
    assert box_of(mask, depth) == whole
    depth[205:240, :] = np.nan
    assert box_of(mask, depth) is None
    assert box_of(rectangle(0, 0, 3, 3), np.full(SIZE_HW, 2.0)) is None
