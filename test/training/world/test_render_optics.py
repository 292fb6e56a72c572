"""Depth and water against closed forms."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from training.world.hull import Decal, HullSurface
from training.world.materials import Piece, hull_paint, random_material
from training.world.meshes import rotation_xyz, superquadric
from training.world.scene import Pose, SceneBuilder, camera_matrix_for, look_at
from training.world.shade import Shot, World
from training.world.water import attenuate, random_camera, random_water

SIZE = (60, 80)


def clear_builder(hull: HullSurface | None) -> SceneBuilder:
    """A scene builder with its own randomness."""
    rng = np.random.default_rng(0)
    return SceneBuilder(rng, hull, hull_paint(rng))


def shoot(
    builder: SceneBuilder, pose: Pose, decals: tuple[Decal, ...] = (), bare: bool = True
) -> tuple[Shot, np.ndarray]:
    """Depth and instances in water so clear that nothing is out of sight."""
    water = dataclasses.replace(random_water(builder.rng, 1.0), sight_m=1e6)
    scene = builder.scene(water, random_camera(builder.rng), np.array([0.0, -1.0, 0.0]))
    world = World(dataclasses.replace(scene, decals=decals))
    matrix = camera_matrix_for(SIZE, 0.9)
    world.draw_hull((-3, 3), (-3, 3), 0.01)
    assert world.chart is not None
    if bare:
        world.chart.height_m[:] = 0  # no weld seams
    return world.shoot(pose, matrix, SIZE), matrix


def test_flat_hull_back_projects_onto_its_plane() -> None:
    hull = HullSurface(0.0, 0.0, (-20, 20), (-20, 20))
    pose = look_at(np.array([0.4, -0.3, -2.0]), np.array([-0.2, 0.3, 0.0]), 0.3)
    shot, matrix = shoot(clear_builder(hull), pose)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    points = pose.rotation @ (np.linalg.inv(matrix) @ pixels * shot.depth_m.ravel()) + pose.position[:, None]
    np.testing.assert_allclose(points[2], 0, atol=1e-5)
    # and the depth itself, from the plane's equation
    rays = pose.rotation @ (np.linalg.inv(matrix) @ pixels)
    np.testing.assert_allclose(shot.depth_m.ravel(), 2.0 / rays[2], rtol=1e-6)


def test_sphere_has_the_depth_of_a_sphere() -> None:
    builder = clear_builder(None)
    ball = superquadric(0.5, 0.5, 0.5, 1, 1, 60)
    material = dataclasses.replace(random_material(builder.rng, 1.0), recess_m=0.0)
    builder.add_free("object", [Piece(ball, material)], rotation_xyz(0, 0, 0), np.array([0, 0, 3.0]))
    water = dataclasses.replace(random_water(builder.rng, 1.0), sight_m=1e6)
    world = World(builder.scene(water, random_camera(builder.rng), np.array([0.0, -1.0, 0.0])))
    matrix = camera_matrix_for(SIZE, 0.9)
    shot = world.shoot(Pose(np.eye(3), np.zeros(3)), matrix, SIZE)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    a, b = (x - matrix[0, 2]) / matrix[0, 0], (y - matrix[1, 2]) / matrix[1, 1]
    squared = a * a + b * b + 1  # |t (a, b, 1) - (0, 0, 3)| = 0.5
    discriminant = 9 - squared * (9 - 0.25)
    hit = discriminant > 0.05  # away from the faceted outline
    expected = (3 - np.sqrt(discriminant[hit])) / squared[hit]
    np.testing.assert_allclose(shot.depth_m[hit], expected, atol=4e-3)
    assert (shot.instance[hit] == 1).all()
    assert np.isnan(shot.depth_m[discriminant < 0]).all()  # open water has no depth


@pytest.mark.parametrize(
    ("kind", "low_m", "high_m"),
    [("marine_growth", 0.005, 0.3), ("corrosion", -1e-4, 1e-4), ("paint_peel", -0.003, 1e-4)],
)
def test_what_lies_in_the_plate_has_its_relief_in_depth(kind: str, low_m: float, high_m: float) -> None:
    hull = HullSurface(0.0, 0.0, (-20, 20), (-20, 20))
    pose = look_at(np.array([0.0, 0.0, -2.0]), np.zeros(3), 0.0)
    builder = clear_builder(hull)
    builder.add_decal(kind, 0.0, 0.0, 0.4)
    decals = tuple(builder.decals)
    shot, _ = shoot(builder, pose, decals, bare=False)
    on = shot.instance == 2
    assert on.sum() > 50
    rise = 2.0 - shot.depth_m[on]
    if kind != "marine_growth":  # weld beads of a few millimetres may cross it
        high_m += 0.008
    assert rise.min() >= low_m
    assert rise.max() <= high_m


def test_dents_are_deep_and_in_the_hulls_own_colour() -> None:
    hull = HullSurface(0.0, 0.0, (-20, 20), (-20, 20))
    pose = look_at(np.array([0.0, 0.0, -2.0]), np.zeros(3), 0.0)
    deepest = []
    for seed in range(6):
        builder = clear_builder(hull)
        builder.add_decal("defect", 0.0, 0.0, 0.4)
        shot, _ = shoot(builder, pose, (dataclasses.replace(builder.decals[0], seed=seed),), bare=False)
        deepest.append(float(np.abs(shot.depth_m[shot.instance == 2] - 2.0).max()))
    assert min(deepest) > 0.015


def test_attenuation_is_the_revised_formation_model() -> None:
    rng = np.random.default_rng(1)
    water = random_water(rng, 2.0)
    radiance = rng.random((500, 3)).astype(np.float32)
    range_m = rng.uniform(0, 8, 500).astype(np.float32)
    expected = np.empty((500, 3))
    for i in range(500):
        for c in range(3):
            z = float(range_m[i])
            expected[i, c] = radiance[i, c] * math.exp(-water.beta_d[c] * z) + water.veil[c] * (
                1 - math.exp(-water.beta_b[c] * z)
            )
    np.testing.assert_allclose(attenuate(radiance, range_m, water), expected, atol=1.5e-3)


def test_open_water_is_the_veil() -> None:
    water = random_water(np.random.default_rng(2), 2.0)
    light = attenuate(np.ones((1, 3), np.float32), np.array([np.inf], np.float32), water)
    np.testing.assert_allclose(light[0], water.veil, rtol=1e-5)


def test_nothing_is_labelled_beyond_sight() -> None:
    hull = HullSurface(0.0, 0.0, (-20, 20), (-20, 20))
    builder = clear_builder(hull)
    water = dataclasses.replace(random_water(builder.rng, 1.0), sight_m=1.9)
    world = World(builder.scene(water, random_camera(builder.rng), np.array([0.0, -1.0, 0.0])))
    shot = world.shoot(look_at(np.array([0.0, 0.0, -2.0]), np.zeros(3), 0.0), camera_matrix_for(SIZE, 0.9), SIZE)
    assert np.isnan(shot.depth_m).all()
    assert (shot.instance == 0).all()
