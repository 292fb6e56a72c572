"""Random scenes for still pictures: a stretch of hull, its edge, or open water."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.world.distractors import random_object
from training.world.hull import HullSurface
from training.world.hull_features import propeller
from training.world.materials import Material, Piece, hull_paint, random_material
from training.world.meshes import Mesh, frame_towards, grid, plate, rotation_xyz
from training.world.scene import Pose, Scene, SceneBuilder, camera_matrix_for, look_at, pixel_ray
from training.world.textures import Pattern, pick, sample
from training.world.water import random_camera, random_water

FloatArray = NDArray[np.float64]

DECALS = ("corrosion", "defect", "marine_growth", "paint_peel")
# (class, relative frequency, plausible size in metres: the radius of decals, the length or radius of parts)
_HULL_CLASSES = (
    ("corrosion", 1.25, (0.1, 0.8)),
    ("defect", 1.35, (0.1, 0.7)),
    ("marine_growth", 1.35, (0.1, 1.0)),
    ("paint_peel", 1.25, (0.1, 0.8)),
    ("anode", 1.1, (0.25, 0.7)),
    ("over_board_valve", 1.0, (0.1, 0.4)),
    ("sea_chest_grating", 1.0, (0.35, 1.2)),
    ("bilge_keel", 0.8, (2.0, 6.0)),
    ("propeller", 0.75, (0.4, 1.4)),
    ("object", 1.3, (0.15, 2.0)),
)


def hull_distance(hull: HullSurface, position: FloatArray, ray: FloatArray) -> float | None:
    """Depth of the hull along a ray in units of the ray, or None where the ray misses the plate."""
    ku, kv = hull.curvature_u, hull.curvature_v
    a = 0.5 * (ku * ray[0] ** 2 + kv * ray[1] ** 2)
    b = ku * position[0] * ray[0] + kv * position[1] * ray[1] - ray[2]
    c = 0.5 * (ku * position[0] ** 2 + kv * position[1] ** 2) - position[2]
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return None
    t = 2 * c / (-b + math.sqrt(discriminant)) if b < 0 else None
    if t is None or t <= 0:
        return None
    u, v = position[0] + t * ray[0], position[1] + t * ray[1]
    inside = hull.u_range[0] < u < hull.u_range[1] and hull.v_range[0] < v < hull.v_range[1]
    return float(t) if inside else None


def free_rotation(rng: np.random.Generator) -> FloatArray:
    """Attitude of a free thing: mostly upright, sometimes any."""
    if rng.random() < 0.35:
        return rotation_xyz(*rng.uniform(-math.pi, math.pi, size=3))
    side = 0.0 if rng.random() < 0.5 else math.pi
    return rotation_xyz(float(rng.normal() * 0.3), side + float(rng.normal() * 0.6), float(rng.normal() * 0.35))


def pick_class(rng: np.random.Generator) -> tuple[str, tuple[float, float]]:
    """A class for a hull scene by its frequency, with its plausible size range."""
    weights = np.cumsum([weight for _, weight, _ in _HULL_CLASSES])
    name, _, sizes = _HULL_CLASSES[int(np.searchsorted(weights / weights[-1], rng.random()))]
    return name, sizes


def _free_place(
    rng: np.random.Generator,
    taken: list[tuple[float, float, float]],
    radius_px: float,
    size_hw: tuple[int, int],
) -> tuple[float, float] | None:
    """A pixel away from places taken so far, or None after a few tries."""
    for _ in range(8):
        x, y = rng.uniform(0.06, 0.94) * size_hw[1], rng.uniform(0.06, 0.94) * size_hw[0]
        if all((x - a) ** 2 + (y - b) ** 2 > (0.75 * (radius_px + r)) ** 2 for a, b, r in taken):
            taken.append((x, y, radius_px))
            return float(x), float(y)
    return None


def hull_scene(rng: np.random.Generator, size_hw: tuple[int, int], edge: bool) -> tuple[Scene, Pose, FloatArray]:
    """A stretch of hull with what is on it and before it.

    Args:
        rng: source of randomness.
        size_hw: picture size in pixels.
        edge: whether the plate ends inside the picture.

    Returns:
        Scene, pose and camera matrix.
    """
    matrix = camera_matrix_for(size_hw, float(rng.uniform(0.65, 1.25)))
    distance = float(0.9 * (4.2 / 0.9) ** rng.random())
    view = distance * size_hw[1] / matrix[0, 0]
    u_range, v_range = [-14.0, 14.0], [-9.0, 9.0]
    if edge:
        side = int(rng.integers(4))
        limit = float(rng.uniform(-0.22, 0.35)) * view
        (u_range if side < 2 else v_range)[side % 2] = -limit if side % 2 == 0 else limit
    curvature = (float(rng.uniform(0, 0.06)), float(rng.uniform(0.0, 0.3) * (rng.random() < 0.75)))
    hull = HullSurface(*curvature, (u_range[0], u_range[1]), (v_range[0], v_range[1]))
    grazing = 1.0 if rng.random() < 0.2 else 0.5
    yaw, pitch = float(rng.uniform(-1, 1) * grazing), float(rng.uniform(-1, 1) * grazing * 0.8)
    direction = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), -math.cos(yaw) * math.cos(pitch)])
    roll = float(rng.normal() * 0.12 if rng.random() < 0.8 else rng.uniform(-math.pi, math.pi))
    pose = look_at(direction * distance, np.zeros(3), roll)
    builder = SceneBuilder(rng, hull, hull_paint(rng))
    _populate_hull(builder, hull, pose, matrix, size_hw, distance)
    up = np.array([0.0, -1.0, -rng.uniform(0.2, 1.2)]) + 0.3 * rng.normal(size=3)
    scene = builder.scene(random_water(rng, distance * 1.15), random_camera(rng), up)
    return scene, pose, matrix


def _populate_hull(
    builder: SceneBuilder,
    hull: HullSurface,
    pose: Pose,
    matrix: FloatArray,
    size_hw: tuple[int, int],
    distance: float,
) -> None:
    """Try to put four to eight things where the camera sees them."""
    rng = builder.rng
    taken: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(4, 9))):
        name, (low, high) = pick_class(rng)
        radius_px = size_hw[1] * (0.055 + 0.16 * float(rng.random()) ** 1.5)
        place = _free_place(rng, taken, radius_px, size_hw)
        if place is None:
            continue
        ray = pixel_ray(pose, matrix, *place)
        t = hull_distance(hull, pose.position, ray)
        if name != "object" and t is None and rng.random() < 0.6:
            continue
        if name == "object" or t is None:
            t_object = (t if t is not None else distance * 1.4) * float(rng.uniform(0.35, 0.85))
            _add_object(builder, pose, ray, t_object, radius_px, matrix, size_hw)
            continue
        if t > 3 * distance:
            continue
        u, v = pose.position[0] + t * ray[0], pose.position[1] + t * ray[1]
        size = radius_px * t / matrix[0, 0]
        if name in ("anode", "sea_chest_grating"):
            size *= 2  # these are measured by their length
        elif name == "bilge_keel":
            size = distance * rng.uniform(1.0, 4.0)
        elif name == "propeller":
            size *= 1.5
        size = float(min(max(size, low), high))
        if name in DECALS:
            builder.add_decal(name, float(u), float(v), size)
        else:
            builder.add_on_hull(name, float(u), float(v), size)


def _add_object(
    builder: SceneBuilder, pose: Pose, ray: FloatArray, t: float, radius_px: float, matrix: FloatArray,
    size_hw: tuple[int, int],
) -> None:  # fmt: skip
    """Add a free object at depth t along a ray; one that would fill the picture is thought up anew."""
    rng = builder.rng
    for _ in range(4):
        pieces, length = random_object(rng, 2 * radius_px * t / matrix[0, 0])
        if length * matrix[0, 0] / t < 0.75 * size_hw[1]:
            builder.add_free("object", pieces, free_rotation(rng), pose.position + t * ray)
            return


def open_scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Scene, Pose, FloatArray]:
    """No hull: objects in open water or over a sea floor, now and then a propeller or wreck plates."""
    matrix = camera_matrix_for(size_hw, float(rng.uniform(0.65, 1.25)))
    pitch = float(rng.uniform(-0.25, 0.6))
    roll = float(rng.normal() * 0.08)
    pose = Pose(rotation_xyz(0, float(rng.uniform(-3, 3)), 0) @ rotation_xyz(-pitch, 0, roll), np.zeros(3))
    builder = SceneBuilder(rng, None, hull_paint(rng))
    distance = float(1.2 * (5.0 / 1.2) ** rng.random())
    if rng.random() < 0.7:
        ground = distance * float(rng.uniform(0.3, 0.7))
        builder.add_scenery(*sea_floor(rng, ground))
    taken: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(3, 8))):
        radius_px = size_hw[1] * (0.05 + 0.2 * float(rng.random()) ** 1.5)
        place = _free_place(rng, taken, radius_px, size_hw)
        if place is None:
            continue
        ray = pixel_ray(pose, matrix, *place)
        t = distance * float(rng.uniform(0.6, 1.4))
        kind = rng.random()
        if kind < 0.12:
            size = float(min(max(1.3 * radius_px * t / matrix[0, 0], 0.3), 1.6))
            towards = frame_towards(-ray + 0.7 * rng.normal(size=3)) @ rotation_xyz(0, 0, float(rng.uniform(0, 3)))
            builder.add_free("propeller", propeller(rng, size, builder.paint), towards, t * ray)
        elif kind < 0.22:
            size = radius_px * t / matrix[0, 0]
            corners = (np.arange(8) + rng.uniform(0, 0.8, size=8)) / 8 * 2 * math.pi
            outline = np.stack([np.cos(corners), np.sin(corners)], -1) * rng.uniform(0.5, 1.2, size=(8, 1)) * size
            wreck = [Piece(plate(outline, 0.05 * size), random_material(rng, size))]
            builder.add_free("object", wreck, rotation_xyz(*rng.uniform(-3, 3, size=3)), t * ray)
        else:
            _add_object(builder, pose, ray, t, radius_px, matrix, size_hw)
    up = np.array([0.0, -1.0, 0.0]) + 0.3 * rng.normal(size=3)
    scene = builder.scene(random_water(rng, distance), random_camera(rng), up)
    return scene, pose, matrix


def sea_floor(rng: np.random.Generator, ground_m: float) -> tuple[Mesh, Material]:
    """Uneven ground `ground_m` below the camera, whose world y points down."""
    steps, reach = 150, 14.0
    edge = np.linspace(-1.0, 1.0, steps)
    edge = reach * edge * np.abs(edge)  # finer near the camera
    x, z = edge[None, :] * np.ones((steps, 1)), edge[:, None] * np.ones((1, steps))
    a, b = rng.random(2)
    rough = float(rng.uniform(0.02, 0.5)) * ground_m
    relief = sample(Pattern.SMOOTH, x * 0.06 + a, z * 0.06 + b) - 0.5
    relief = relief + rng.uniform(0.0, 0.35) * (sample(Pattern.ROUGH, x * 0.1 + b, z * 0.1 + a) - 0.5)
    y = ground_m - np.minimum(rough * relief, 0.6 * ground_m)
    colours = ((170, 160, 130), (120, 110, 90), (90, 96, 80), (190, 186, 170), (84, 76, 64))
    base = pick(rng, colours, 0.3)
    material = Material(
        base=base,
        second=base * rng.uniform(0.3, 0.9),
        pattern=(Pattern.ROUGH, Pattern.SMOOTH, Pattern.SPOTS, Pattern.FINE)[int(rng.integers(4))],
        tile_m=float(rng.uniform(0.8, 3.0)),
        contrast=float(rng.uniform(0.8, 3.0)),
        gloss=0.0,
        film=float(rng.uniform(0, 0.5)),
    )
    return grid(np.stack([x, y, z], axis=-1), np.stack([x, z], axis=-1)), material


def random_scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Scene, Pose, FloatArray]:
    """A scene for one still picture: mostly hull, sometimes its edge, sometimes none."""
    kind = rng.random()
    if kind < 0.18:
        return open_scene(rng, size_hw)
    return hull_scene(rng, size_hw, edge=bool(kind < 0.42))
