"""A scene: what is where, the water it is in, and the camera that looks at it.

World frame: that of `training.world.hull` (x along the ship, y down the side, z into the ship). The camera's
optical frame is x right, y down, z forward (REP-103). `Scene` is a plain description that
`training.world.frame` draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.world.hull import Decal, HullSurface
from training.world.hull_features import anode, bilge_keel, over_board_valve, propeller, sea_chest_grating
from training.world.materials import Material, Piece
from training.world.meshes import Mesh, rotation_xyz
from training.world.textures import pick
from training.world.water import Camera, Water

FloatArray = NDArray[np.float64]

CLASS_NAMES = (
    "anode", "bilge_keel", "corrosion", "defect", "marine_growth", "over_board_valve", "paint_peel",
    "propeller", "sea_chest_grating", "ship_hull", "object",
)  # fmt: skip
HULL = CLASS_NAMES.index("ship_hull")
OBJECT = CLASS_NAMES.index("object")


@dataclass(frozen=True)
class Pose:
    """Camera pose: `rotation` (3, 3) has the optical axes as world columns, `position` (3,) in metres."""

    rotation: FloatArray
    position: FloatArray


@dataclass(frozen=True)
class PlacedPiece:
    """A mesh in the world, its look, and its instance (0: scenery without a label)."""

    mesh: Mesh
    material: Material
    instance: int


@dataclass(frozen=True)
class Scene:
    """Everything a picture is made of.

    Attributes:
        pieces: meshes other than the hull.
        hull: the hull, or None; its instance is 1 when there is one.
        paint: paint of the hull.
        decals: what lies in the plate.
        class_ids: class of instance k at k - 1.
        water: optical state of the water.
        optics: what the camera does to light.
        up: (3,) unit vector towards the daylight.
        lamp_offset: (3,) place of the robot's lamp in the optical frame, metres.
        film: (3,) linear colour of fouling on parts.
        chart_seed: randomness of the hull's paint and seams.
    """

    pieces: tuple[PlacedPiece, ...]
    hull: HullSurface | None
    paint: Material
    decals: tuple[Decal, ...]
    class_ids: tuple[int, ...]
    water: Water
    optics: Camera
    up: FloatArray
    lamp_offset: FloatArray
    film: FloatArray
    chart_seed: int


class SceneBuilder:
    """Collects instances and their pieces while a scene is thought up."""

    def __init__(self, rng: np.random.Generator, hull: HullSurface | None, paint: Material) -> None:
        """Start a scene; with a hull, instance 1 is the hull."""
        self.rng = rng
        self.hull = hull
        self.paint = paint
        self.pieces: list[PlacedPiece] = []
        self.decals: list[Decal] = []
        self.class_ids: list[int] = [] if hull is None else [HULL]

    def add_scenery(self, mesh: Mesh, material: Material) -> None:
        """Add a mesh that carries no label."""
        self.pieces.append(PlacedPiece(mesh, material, 0))

    def add_free(self, class_name: str, pieces: list[Piece], rotation: FloatArray, position: FloatArray) -> None:
        """Add an instance anywhere in the world."""
        self.class_ids.append(CLASS_NAMES.index(class_name))
        for piece in pieces:
            self.pieces.append(PlacedPiece(piece.mesh.moved(rotation, position), piece.material, len(self.class_ids)))

    def add_decal(self, class_name: str, u: float, v: float, size_m: float) -> None:
        """Add an instance that lies in the plate, of about `size_m` radius."""
        self.class_ids.append(CLASS_NAMES.index(class_name))
        radii = (size_m, size_m * float(self.rng.uniform(0.45, 1.0)))
        angle, seed = float(self.rng.uniform(0, math.pi)), int(self.rng.integers(2**31))
        self.decals.append(Decal(class_name, len(self.class_ids), (u, v), radii, angle, seed))

    def add_on_hull(self, class_name: str, u: float, v: float, size_m: float) -> None:
        """Add one or a row of instances standing on the plate at (u, v)."""
        assert self.hull is not None
        rng, frame = self.rng, self.hull.frame(u, v)
        position = self.hull.point(u, v)
        turn = rotation_xyz(0, 0, float(rng.normal() * 0.08))
        if class_name == "propeller":
            lean = rotation_xyz(float(rng.uniform(-0.7, 0.7)), float(rng.uniform(-1.3, 1.3)), 0)
            spin = rotation_xyz(0, 0, float(rng.uniform(0, 3)))
            out = frame[:, 2] * size_m * rng.uniform(0.5, 1.1)
            self.add_free(class_name, propeller(rng, size_m, self.paint), frame @ lean @ spin, position + out)
        elif class_name == "bilge_keel":
            if rng.random() < 0.15:
                turn = rotation_xyz(0, 0, float(rng.uniform(0, math.pi)))
            self.add_free(class_name, bilge_keel(rng, size_m, self.paint), frame @ turn, position)
        elif class_name == "anode":
            count = 1 if rng.random() < 0.5 else int(rng.integers(2, 5))
            gap = size_m * rng.uniform(1.6, 3.0)
            along = np.array([1.0, 0.0]) if rng.random() < 0.75 else np.array([0.0, 1.0])
            if rng.random() < 0.3:
                turn = turn @ rotation_xyz(0, 0, math.pi / 2)
            twin_seed = int(rng.integers(2**31))  # anodes of a row are alike
            for k in range(count):
                du, dv = along * gap * (k - (count - 1) / 2)
                twin = anode(np.random.Generator(np.random.PCG64(twin_seed)), size_m, self.paint)
                self.add_free(class_name, twin, self.hull.frame(u + du, v + dv) @ turn, self.hull.point(u + du, v + dv))
        elif class_name == "over_board_valve":
            self.add_free(class_name, over_board_valve(rng, size_m, self.paint), frame @ turn, position)
        else:
            self.add_free(class_name, sea_chest_grating(rng, size_m, self.paint), frame @ turn, position)

    def scene(self, water: Water, optics: Camera, up: FloatArray) -> Scene:
        """Close the scene; vertices snap to 2^-20 m so that they are the same on every machine."""
        rng = self.rng
        grid_m = 2.0**-20
        pieces = tuple(
            replace(p, mesh=replace(p.mesh, vertices=np.round(p.mesh.vertices / grid_m) * grid_m)) for p in self.pieces
        )
        lamp = np.array([rng.uniform(0.15, 0.7) * (1 if rng.random() < 0.5 else -1), rng.uniform(-0.6, 0.3), -0.1])
        film = pick(rng, ((84, 88, 44), (58, 74, 34), (110, 104, 70), (60, 56, 40)), 0.4)
        return Scene(
            pieces, self.hull, self.paint, tuple(self.decals), tuple(self.class_ids), water, optics,
            up / math.sqrt(float((up * up).sum())), lamp, film, int(rng.integers(2**31)),
        )  # fmt: skip


def camera_matrix_for(size_hw: tuple[int, int], relative_focal: float) -> FloatArray:
    """Pinhole matrix (3, 3) with focal length `relative_focal` times the width, centre in the middle."""
    height, width = size_hw
    focal = relative_focal * width
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def look_at(position: FloatArray, target: FloatArray, roll: float) -> Pose:
    """Camera at `position` looking at `target`, world y roughly down, rolled by `roll` radians."""
    z = target - position
    z = z / math.sqrt(float((z * z).sum()))
    x = np.cross(np.array([0.0, 1.0, 0.0]), z)
    x = x / math.sqrt(float((x * x).sum()))
    rotation = np.stack([x, np.cross(z, x), z], axis=1) @ rotation_xyz(0, 0, roll)
    return Pose(rotation, position)


def pixel_ray(pose: Pose, matrix: FloatArray, x: float, y: float) -> FloatArray:
    """World direction (3,) of pixel (x, y), of length 1 along the optical axis."""
    direction = np.array([(x - matrix[0, 2]) / matrix[0, 0], (y - matrix[1, 2]) / matrix[1, 1], 1.0])
    result: FloatArray = (pose.rotation * direction).sum(axis=1)
    return result
