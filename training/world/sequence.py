"""The survey: a hull longer than the view, and a camera that moves along it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.world.distractors import random_object
from training.world.hull import HullSurface
from training.world.materials import hull_paint
from training.world.scene import Pose, Scene, SceneBuilder, camera_matrix_for, look_at
from training.world.stills import DECALS, free_rotation, pick_class
from training.world.water import random_camera, random_water

FloatArray = NDArray[np.float64]

LENGTH_M = 12.0
STEP_M = 0.025
"""Way of the camera from one frame to the next."""


def hull_survey(
    rng: np.random.Generator, size_hw: tuple[int, int]
) -> tuple[Scene, Callable[[int], Pose], FloatArray, tuple[tuple[float, float], tuple[float, float]]]:
    """Think up a long hull and the way along it.

    Args:
        rng: source of randomness.
        size_hw: picture size in pixels.

    Returns:
        The scene, the pose of frame i, the camera matrix, and the (u, v) stretch of hull that will be seen.
    """
    distance = float(rng.uniform(1.7, 2.1))
    matrix = camera_matrix_for(size_hw, 0.9)
    hull = HullSurface(0.004, float(rng.uniform(0.03, 0.14)), (-6.0, LENGTH_M + 6.0), (-4.0, 4.0))
    builder = SceneBuilder(rng, hull, hull_paint(rng))
    columns = 24
    bag: list[str] = []
    for k in range(columns):
        u = (k + float(rng.uniform(0.2, 0.8))) * LENGTH_M / columns
        v = float((-1, 1)[k % 2] * rng.uniform(0.05, 0.6))
        name, (low, high) = pick_class(rng)
        while name in bag[-4:]:  # let a short stretch show many classes
            name, (low, high) = pick_class(rng)
        bag.append(name)
        size = float(min(max(distance * rng.uniform(0.1, 0.22), low), high))
        if name == "object":
            pieces, _ = random_object(rng, size * 2)
            near = hull.point(u, v) + np.array([0.0, 0.0, -distance * rng.uniform(0.25, 0.5)])
            builder.add_free("object", pieces, free_rotation(rng), near)
        elif name in DECALS:
            builder.add_decal(name, u, v, size)
        else:
            builder.add_on_hull(name, u, v, size * (2 if name in ("anode", "sea_chest_grating") else 1))
    scene = builder.scene(random_water(rng, distance * 1.4), random_camera(rng), np.array([0.0, -1.0, -0.6]))
    sway = rng.uniform(0, 2 * math.pi, size=4)

    def pose(i: int) -> Pose:
        way = i * STEP_M
        u = LENGTH_M / 2 - abs(way % (2 * LENGTH_M) - LENGTH_M) + LENGTH_M / 2  # there and back
        target = hull.point(u, 0.12 * math.sin(0.021 * i + sway[0]))
        offset = np.array([0.18 * math.sin(0.017 * i + sway[1]), 0.15 * math.sin(0.013 * i + sway[2]), -distance])
        return look_at(target + offset, target, 0.04 * math.sin(0.03 * i + sway[3]))

    return scene, pose, matrix, ((-2.0, LENGTH_M + 2.0), (-1.8, 1.8))
