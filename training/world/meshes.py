"""Triangle meshes of the rendered world: a few primitives from which every part is put together.

All lengths are metres. Vertices are kept in a part's own frame until `Mesh.moved` places them, so that
`texture_uv` (metres on the part's surface) stays with the part when it turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """Triangles with a place on the surface for every vertex.

    Attributes:
        vertices: (V, 3) float64, metres.
        faces: (F, 3) int64, indices into `vertices`.
        texture_uv: (V, 2) float64, metres along the surface (any smooth parametrisation).
    """

    vertices: FloatArray
    faces: IntArray
    texture_uv: FloatArray

    def moved(self, rotation: FloatArray, translation: Sequence[float] | FloatArray) -> Mesh:
        """Rotate by a (3, 3) matrix, then translate by a (3,) vector in metres."""
        return Mesh(rotate(self.vertices, rotation) + np.asarray(translation), self.faces, self.texture_uv)

    def shifted(self, x: float, y: float, z: float) -> Mesh:
        """Translate by (x, y, z) metres."""
        return Mesh(self.vertices + np.array([x, y, z]), self.faces, self.texture_uv)

    def warped(self, displacement: FloatArray) -> Mesh:
        """Add a (V, 3) displacement in metres to the vertices."""
        return Mesh(self.vertices + displacement, self.faces, self.texture_uv)

    def flat(self) -> Mesh:
        """Give every face its own vertices, so that smooth normals become face normals."""
        index = self.faces.reshape(-1)
        faces = np.arange(len(index), dtype=np.int64).reshape(-1, 3)
        return Mesh(self.vertices[index], faces, self.texture_uv[index])

    def vertex_normals(self) -> FloatArray:
        """Area-weighted unit normals, (V, 3); of either sign (shading faces them to the viewer)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        face_normals = np.cross(b - a, c - a)
        total = np.zeros_like(self.vertices)
        for corner in range(3):
            for axis in range(3):
                total[:, axis] += np.bincount(
                    self.faces[:, corner], weights=face_normals[:, axis], minlength=len(total)
                )
        length = np.sqrt((total * total).sum(axis=1, keepdims=True))
        return np.where(length > 1e-12, total / np.maximum(length, 1e-12), np.array([0.0, 0.0, -1.0]))


def rotate(points: FloatArray, rotation: FloatArray) -> FloatArray:
    """Rotate (N, 3) points; written out because a BLAS product may round differently on another CPU."""
    x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
    return x * rotation[:, 0] + y * rotation[:, 1] + z * rotation[:, 2]


def rotation_xyz(x: float, y: float, z: float) -> FloatArray:
    """Rotation by x, then y, then z (radians) about the fixed axes, (3, 3)."""
    cx, sx, cy, sy, cz, sz = math.cos(x), math.sin(x), math.cos(y), math.sin(y), math.cos(z), math.sin(z)
    return np.array(
        [
            [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
            [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
            [-sy, sx * cy, cx * cy],
        ]
    )


def frame_towards(direction: FloatArray) -> FloatArray:
    """Rotation (3, 3) whose third column is the unit vector along `direction` (x stays close to world x)."""
    z = direction / math.sqrt(float((direction * direction).sum()))
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    y = np.cross(z, helper)
    y = y / math.sqrt(float((y * y).sum()))
    return np.stack([np.cross(y, z), y, z], axis=1)


def grid(points: FloatArray, texture_uv: FloatArray) -> Mesh:
    """Surface over a (M, N, 3) grid of points with (M, N, 2) texture coordinates."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return Mesh(points.reshape(-1, 3).astype(np.float64), faces, texture_uv.reshape(-1, 2).astype(np.float64))


def merged(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh with the triangles of all."""
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets[:-1], strict=True)]),
        np.concatenate([m.texture_uv for m in meshes]),
    )


def box(x: float, y: float, z: float) -> Mesh:
    """Sharp box of full side lengths x, y, z, centred."""
    sides = []
    for axis, (du, dv) in enumerate(((1, 2), (0, 2), (0, 1))):
        half = np.array([x, y, z]) / 2
        for sign in (-1.0, 1.0):
            points = np.zeros((2, 2, 3))
            points[..., axis] = sign * half[axis]
            points[..., du] = np.array([[-1, 1], [-1, 1]]) * half[du]
            points[..., dv] = np.array([[-1, -1], [1, 1]]) * half[dv]
            sides.append(grid(points, points[..., [du, dv]]))
    return merged(sides)


def superquadric(x: float, y: float, z: float, roundness_xy: float, roundness_z: float, steps: int = 20) -> Mesh:
    """Superquadric of half axes x, y, z; roundness 1 is an ellipsoid, 0.2 a rounded block."""
    latitude = np.linspace(-math.pi / 2, math.pi / 2, steps)[:, None]
    longitude = np.linspace(-math.pi, math.pi, 2 * steps)[None, :]

    def power(base: FloatArray, exponent: float) -> FloatArray:
        return np.sign(base) * np.abs(base) ** exponent

    ring = power(np.cos(latitude), roundness_z)
    points = np.stack(
        [
            x * ring * power(np.cos(longitude), roundness_xy),
            y * ring * power(np.sin(longitude), roundness_xy),
            np.broadcast_to(z * power(np.sin(latitude), roundness_z), (steps, 2 * steps)),
        ],
        axis=-1,
    )
    uv = np.stack([points[..., 0] + 0.7 * points[..., 2], points[..., 1] + 0.7 * points[..., 2]], axis=-1)
    return grid(points, uv)


def lathe(profile: Sequence[tuple[float, float]], sides: int = 28) -> Mesh:
    """Surface of revolution about z of (radius, z) points; a repeated point makes a sharp edge."""
    outline = np.array(profile, dtype=np.float64)
    angle = np.linspace(0.0, 2 * math.pi, sides + 1)
    radius = outline[:, 0:1]
    points = np.stack(
        [
            radius * np.cos(angle),
            radius * np.sin(angle),
            np.broadcast_to(outline[:, 1:2], (len(outline), sides + 1)),
        ],
        axis=-1,
    )
    step = np.sqrt((np.diff(outline, axis=0) ** 2).sum(axis=1))
    along = np.concatenate([[0.0], np.cumsum(step)])
    uv = np.stack(
        [
            np.broadcast_to(angle * outline[:, 0].max(), points.shape[:2]),
            np.broadcast_to(along[:, None], points.shape[:2]),
        ],
        axis=-1,
    )
    return grid(points, uv)


def cylinder(radius: float, length: float, sides: int = 20) -> Mesh:
    """Closed cylinder about z, centred."""
    h = length / 2
    return lathe([(0, -h), (radius, -h), (radius, -h), (radius, h), (radius, h), (0, h)], sides)


def tube(path: FloatArray, radius: FloatArray | float, sides: int = 10) -> Mesh:
    """Tube with pointed ends along a (N, 3) path, with one radius or (N,) radii."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.sqrt((tangent * tangent).sum(axis=1, keepdims=True)), 1e-9)
    normal = np.zeros_like(path)
    current = frame_towards(tangent[0])[:, 0]
    for i in range(len(path)):
        current = current - tangent[i] * float((current * tangent[i]).sum())
        current = current / math.sqrt(float((current * current).sum()))
        normal[i] = current
    binormal = np.cross(tangent, normal)
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),)).copy()
    ring_points = np.concatenate([path[:1], path, path[-1:]])
    ring_radii = np.concatenate([[0.0], radii, [0.0]])
    normal = np.concatenate([normal[:1], normal, normal[-1:]])
    binormal = np.concatenate([binormal[:1], binormal, binormal[-1:]])
    angle = np.linspace(0.0, 2 * math.pi, sides + 1)[None, :, None]
    points = ring_points[:, None] + ring_radii[:, None, None] * (
        normal[:, None] * np.cos(angle) + binormal[:, None] * np.sin(angle)
    )
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(ring_points, axis=0) ** 2).sum(axis=1)))])
    uv = np.stack(
        [
            np.broadcast_to(along[:, None], points.shape[:2]),
            np.broadcast_to(angle[..., 0] * radii.max(), points.shape[:2]),
        ],
        axis=-1,
    )
    return grid(points, uv)


def capsule(start: Sequence[float] | FloatArray, end: Sequence[float] | FloatArray, radius: float) -> Mesh:
    """Rounded rod from start to end."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (b - a) / max(math.sqrt(float(((b - a) ** 2).sum())), 1e-9)
    cap = np.array([0.15, 0.5, 0.85, 1.0])
    radii = np.sqrt(1 - (1 - cap) ** 2) * radius
    path = np.concatenate([a + axis * (cap[:, None] - 1) * radius, b + axis * (1 - cap[::-1, None]) * radius])
    return tube(path, np.concatenate([radii, radii[::-1]]), sides=12)


def plate(outline_xy: FloatArray, thickness: float) -> Mesh:
    """Flat plate in the xy plane from a (N, 2) outline that is star-shaped about its centroid."""
    centre = outline_xy.mean(axis=0)
    count = len(outline_xy)
    sides = []
    ring = np.concatenate([outline_xy, outline_xy[:1]])
    for z in (-thickness / 2, thickness / 2):
        top = np.stack([np.broadcast_to(centre, ring.shape), ring])
        points = np.concatenate([top, np.full((2, count + 1, 1), z)], axis=-1)
        sides.append(grid(points, points[..., :2]))
    wall = np.stack(
        [np.concatenate([ring, np.full((count + 1, 1), z)], axis=-1) for z in (-thickness / 2, thickness / 2)]
    )
    sides.append(grid(wall, wall[..., [0, 2]]))
    return merged(sides)
