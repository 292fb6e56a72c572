"""Scenes that no survey has: things of any look in heaps, on any ground, before rocks, in clear water or in none.

They widen what `object` may look like and what may lie behind it, so that a model trained on rendered pictures is less
surprised by real ones (domain randomisation: Tobin et al., IROS 2017).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from training.world.distractors import blob, random_object
from training.world.materials import Material, Piece, hull_paint, random_material
from training.world.meshes import Mesh, merged, rotation_xyz
from training.world.scene import Pose, Scene, SceneBuilder, camera_matrix_for, pixel_ray
from training.world.stills import free_rotation, sea_floor
from training.world.water import Water, random_camera, random_water

FloatArray = NDArray[np.float64]


def clutter_scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Scene, Pose, FloatArray]:
    """Think up a scene.

    Args:
        rng: source of randomness.
        size_hw: picture size in pixels.

    Returns:
        Scene, pose and camera matrix.
    """
    matrix = camera_matrix_for(size_hw, float(rng.uniform(0.65, 1.4)))
    distance = float(0.7 * (4.0 / 0.7) ** rng.random())
    down = float(rng.uniform(-0.1, math.pi / 2))  # from level to straight down
    tilt = rotation_xyz(-down, 0, float(rng.normal() * 0.15))
    pose = Pose(rotation_xyz(0, float(rng.uniform(-3, 3)), 0) @ tilt, np.zeros(3))
    builder = SceneBuilder(rng, None, hull_paint(rng))
    below = max(0.35, math.sin(down)) * distance
    if down > 0.35 or rng.random() < 0.75:
        mesh, material = sea_floor(rng, below)
        ground = random_material(rng, 3.0) if rng.random() < 0.4 else material
        builder.add_scenery(mesh, ground)
        for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.6 else 0):
            builder.add_scenery(_rock(rng, pose, matrix, size_hw, distance, below), ground)
    _add_things(builder, pose, matrix, size_hw, distance)
    up = np.array([0.0, -1.0, 0.0]) + 0.5 * rng.normal(size=3)
    water = random_water(rng, distance)
    thin = float(rng.uniform(0.02, 0.4)) if rng.random() < 0.5 else 1.0
    scene = builder.scene(_thinned(water, thin), random_camera(rng), up)
    return scene, pose, matrix


def _thinned(water: Water, share: float) -> Water:
    """The same water with less in it; at a small share nearly air."""
    return dataclasses.replace(
        water, beta_d=water.beta_d * share, beta_b=water.beta_b * share, sight_m=water.sight_m / share
    )


def _rock(
    rng: np.random.Generator, pose: Pose, matrix: FloatArray, size_hw: tuple[int, int], distance: float, below: float
) -> Mesh:
    """A big lump that is no instance and looks like the ground: it rises from it or stands behind the things."""
    pieces = blob(rng, distance * float(rng.uniform(0.6, 2.0)))
    ray = pixel_ray(pose, matrix, *(rng.uniform(-0.1, 1.1, 2) * np.array([size_hw[1], size_hw[0]])))
    place = ray * distance * float(rng.uniform(1.3, 2.2))
    place[1] = min(place[1], below)
    return merged([piece.mesh for piece in pieces]).moved(rotation_xyz(*rng.uniform(-3, 3, size=3)), place)


def _add_things(
    builder: SceneBuilder, pose: Pose, matrix: FloatArray, size_hw: tuple[int, int], distance: float
) -> None:
    """Spread things over the picture or heap them around one spot, where they hide each other."""
    rng = builder.rng
    heap = rng.random() < 0.4
    centre, spread = rng.uniform(0.3, 0.7, 2), float(rng.uniform(0.1, 0.25))
    alike = random_material(rng, distance * 0.3) if rng.random() < 0.2 else None
    dark = rng.random() < 0.25  # silhouettes against bright water
    for _ in range(int(rng.integers(4, 13) if heap else rng.integers(1, 7))):
        where = centre + spread * rng.normal(size=2) if heap else rng.uniform(0.08, 0.92, 2)
        ray = pixel_ray(pose, matrix, float(where[0]) * size_hw[1], float(where[1]) * size_hw[0])
        t = distance * float(rng.uniform(0.75, 1.0) if heap else rng.uniform(0.45, 1.2))
        share = (0.08 if heap else 0.12) + 0.45 * float(rng.random()) ** 2
        pieces, _ = random_object(rng, share * size_hw[1] * t / matrix[0, 0])
        if alike is not None:
            pieces = [Piece(piece.mesh, alike) for piece in pieces]
        if dark:
            pieces = [Piece(piece.mesh, _darkened(piece.material)) for piece in pieces]
        builder.add_free("object", pieces, free_rotation(rng), pose.position + t * ray)


def _darkened(material: Material) -> Material:
    return dataclasses.replace(material, base=material.base * 0.15, second=material.second * 0.2)
