"""Ray casting and shading: from a `Scene` and a pose to light, depth and labels per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from training.world.hull import HullChart, draw_chart
from training.world.meshes import merged
from training.world.scene import Pose, Scene
from training.world.textures import Pattern, sample, sample_many
from training.world.water import attenuate, exp_negative

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

_HULL_PIECE = -1


@dataclass(frozen=True)
class Shot:
    """What one exposure saw.

    Attributes:
        light: (H, W, 3) float32 linear light at the camera, water included.
        depth_m: (H, W) float32 z-depth, NaN where there is nothing or nothing can be seen.
        instance: (H, W) int32 instance of the scene, 0 for none.
    """

    light: Float32Array
    depth_m: Float32Array
    instance: NDArray[np.int32]


class World:
    """A scene ready for ray casting; reuse it for every picture of the same scene."""

    def __init__(self, scene: Scene) -> None:
        """Gather all triangles and build the ray casting structure."""
        self.scene = scene
        meshes = [piece.mesh for piece in scene.pieces]
        owners = list(range(len(meshes)))
        if scene.hull is not None:
            meshes.append(scene.hull.mesh())
            owners.append(_HULL_PIECE)
        if not meshes:
            raise ValueError("scene has no surface at all: add a hull, scenery or an instance")
        whole = merged(meshes)
        self.face_owner = np.concatenate([np.full(len(m.faces), o) for m, o in zip(meshes, owners, strict=True)])
        self.faces = whole.faces
        self.vertices = whole.vertices
        self.texture_uv = whole.texture_uv.astype(np.float32)
        self.vertex_normals = np.concatenate([m.vertex_normals() for m in meshes]).astype(np.float32)
        a, b, c = (whole.vertices[whole.faces[:, i]] for i in range(3))
        edge1, edge2 = b - a, c - a
        self.normal = np.cross(edge1, edge2)
        area = (self.normal * self.normal).sum(axis=1)
        area = np.where(area > 0, area, 1.0)
        # weight of corner b is (p - a) . (edge2 x n) / |n|^2 up to sign, likewise c
        self.to_b = np.cross(edge2, self.normal) / area[:, None]
        self.to_c = np.cross(self.normal, edge1) / area[:, None]
        self.corner = a
        self.embree = EmbreeScene()
        TriangleMesh(self.embree, whole.vertices.astype(np.float32), whole.faces.astype(np.int32))
        self.chart: HullChart | None = None
        self._materials()

    def _materials(self) -> None:
        materials = [piece.material for piece in self.scene.pieces]
        rng = np.random.Generator(np.random.PCG64(self.scene.chart_seed + 1))

        def column(name: str) -> Float32Array:
            return np.array([getattr(m, name) for m in materials], dtype=np.float32)

        self.base, self.second = column("base").reshape(-1, 3), column("second").reshape(-1, 3)
        self.tile_m, self.contrast, self.threshold = column("tile_m"), column("contrast"), column("threshold")
        self.gloss, self.film, self.recess_m = column("gloss"), column("film"), column("recess_m")
        self.pattern = np.array([int(m.pattern) for m in materials], dtype=np.int64)
        self.offset = rng.random((max(len(materials), 1), 2)).astype(np.float32)
        self.instance = np.array([piece.instance for piece in self.scene.pieces], dtype=np.int32)

    def draw_hull(self, u_range: tuple[float, float], v_range: tuple[float, float], texel_m: float) -> None:
        """Paint the chart of a stretch of hull; pictures look it up from then on."""
        rng = np.random.Generator(np.random.PCG64(self.scene.chart_seed))
        self.chart = draw_chart(rng, self.scene.paint, self.scene.decals, u_range, v_range, texel_m)
        slope_v, slope_u = np.gradient(self.chart.height_m, np.float32(texel_m))
        self.chart_slope = np.stack([slope_u, slope_v], axis=-1).reshape(-1, 2).astype(np.float32)

    def shoot(self, pose: Pose, matrix: FloatArray, size_hw: tuple[int, int]) -> Shot:
        """Cast one ray per pixel and shade what it meets.

        Args:
            pose: camera pose.
            matrix: (3, 3) camera matrix.
            size_hw: picture size.

        Returns:
            Light, depth and instances.
        """
        height, width = size_hw
        rays = pixel_rays(pose, matrix, size_hw)
        origins = np.broadcast_to(pose.position.astype(np.float32), rays.shape).copy()
        face_of_pixel = self.embree.run(origins, rays.astype(np.float32), output=True)["primID"]
        seen = np.flatnonzero(face_of_pixel >= 0)
        face, ray = face_of_pixel[seen], rays[seen]
        # Embree decides which triangle is met; where is computed here, alike on every CPU
        facing = (ray * self.normal[face]).sum(axis=1)
        facing = np.where(np.abs(facing) > 1e-15, facing, 1e-15)
        depth = ((self.corner[face] - pose.position) * self.normal[face]).sum(axis=1) / facing
        surface = _Surface(len(seen))
        owner = self.face_owner[face]
        on_hull = np.flatnonzero(owner == _HULL_PIECE)
        on_piece = np.flatnonzero(owner >= 0)
        point = pose.position + depth[:, None] * ray
        if len(on_hull):
            self._surface_of_hull(surface, on_hull, point, ray, depth, matrix, size_hw)
        if len(on_piece):
            self._surface_of_pieces(surface, on_piece, face, owner, point)
        turned = (surface.normal * ray).sum(axis=1) > 0
        surface.normal[turned] *= -1
        slant = np.maximum(np.abs((surface.normal * ray).sum(axis=1)), 0.35)
        shift = np.minimum(surface.raised_m / slant, 0.5 * depth)
        depth = depth - shift
        point = pose.position + depth[:, None] * ray

        lit = self._lit(surface, point, ray, pose, seen, size_hw)
        light = np.empty((height * width, 3), np.float32)
        water = self.scene.water
        upwards = (rays * self.scene.up).sum(axis=1) / np.sqrt((rays * rays).sum(axis=1))
        veil_gain = (1 + water.gradient * upwards).astype(np.float32)
        light[:] = water.veil.astype(np.float32) * veil_gain[:, None]
        length = np.sqrt((ray * ray).sum(axis=1))
        light[seen] = attenuate(lit, (depth * length).astype(np.float32), water, veil_gain[seen])
        depth_m = np.full(height * width, np.nan, np.float32)
        instance = np.zeros(height * width, np.int32)
        visible = depth * length <= water.sight_m
        depth_m[seen[visible]] = depth[visible]
        instance[seen[visible]] = surface.instance[visible]
        return Shot(light.reshape(height, width, 3), depth_m.reshape(size_hw), instance.reshape(size_hw))

    def _surface_of_hull(
        self, surface: _Surface, where: NDArray[np.int64], point: FloatArray, ray: FloatArray,
        depth: FloatArray, matrix: FloatArray, size_hw: tuple[int, int],
    ) -> None:  # fmt: skip
        assert self.scene.hull is not None
        u, v = point[where, 0], point[where, 1]
        if self.chart is None:
            near = depth[where] * np.sqrt((ray[where] ** 2).sum(axis=1)) < self.scene.water.sight_m
            if not near.any():
                near[:] = True
            u_range, v_range = _range(u[near]), _range(v[near])
            area = (u_range[1] - u_range[0]) * (v_range[1] - v_range[0])
            finest = float(np.sort(depth[where])[len(where) // 10]) / matrix[0, 0]
            texel = max(0.8 * finest, (area / (6.0 * size_hw[0] * size_hw[1])) ** 0.5)
            self.draw_hull(u_range, v_range, texel)
        chart = self.chart
        assert chart is not None
        index = chart.index(u, v)
        surface.albedo[where] = chart.colour.reshape(-1, 3)[index]
        surface.raised_m[where] = chart.height_m.reshape(-1)[index]
        decal = chart.instance.reshape(-1)[index]
        surface.instance[where] = np.where(decal > 0, decal, 1)
        surface.gloss[where] = np.float32(self.scene.paint.gloss)
        normal = self.scene.hull.normals(u, v)
        slope = np.clip(self.chart_slope[index], -1.5, 1.5)
        # tangents of a nearly flat plate: the world axes with their part along the normal removed
        tangent_u = np.array([1.0, 0.0, 0.0]) - normal * normal[:, 0:1]
        tangent_v = np.array([0.0, 1.0, 0.0]) - normal * normal[:, 1:2]
        bent = normal - slope[:, 0:1] * tangent_u - slope[:, 1:2] * tangent_v
        surface.normal[where] = bent / np.sqrt((bent * bent).sum(axis=1, keepdims=True))

    def _surface_of_pieces(
        self, surface: _Surface, where: NDArray[np.int64], face: NDArray[np.int32], owner: NDArray[np.int64],
        point: FloatArray,
    ) -> None:  # fmt: skip
        triangle, piece = face[where], owner[where]
        offset = point[where] - self.corner[triangle]
        weight_b = (offset * self.to_b[triangle]).sum(axis=1)[:, None].astype(np.float32)
        weight_c = (offset * self.to_c[triangle]).sum(axis=1)[:, None].astype(np.float32)
        a, b, c = (self.faces[triangle, i] for i in range(3))
        normal = (
            self.vertex_normals[a] * (1 - weight_b - weight_c)
            + self.vertex_normals[b] * weight_b
            + self.vertex_normals[c] * weight_c
        )
        normal = normal / np.maximum(np.sqrt((normal * normal).sum(axis=1, keepdims=True)), 1e-6)
        uv = (
            self.texture_uv[a] * (1 - weight_b - weight_c)
            + self.texture_uv[b] * weight_b
            + self.texture_uv[c] * weight_c
        )
        tile = uv / self.tile_m[piece][:, None] + self.offset[piece]
        field = sample_many(self.pattern[piece], tile[:, 0], tile[:, 1])
        mix = np.clip((field - self.threshold[piece]) * self.contrast[piece] + np.float32(0.5), 0, 1)[:, None]
        albedo = self.base[piece] * (1 - mix) + self.second[piece] * mix
        film = self.film[piece] * np.clip(sample(Pattern.ROUGH, tile[:, 1] * 0.7, tile[:, 0] * 0.7) * 2 - 0.5, 0, 1)
        albedo = albedo * (1 - film[:, None]) + self.scene.film.astype(np.float32) * film[:, None]
        albedo = albedo * (0.8 + 0.4 * sample(Pattern.FINE, tile[:, 0] * 0.6, tile[:, 1] * 0.6))[:, None]
        surface.normal[where] = normal
        surface.albedo[where] = albedo
        surface.gloss[where] = self.gloss[piece]
        surface.raised_m[where] = -self.recess_m[piece]
        surface.instance[where] = self.instance[piece]

    def _lit(
        self, surface: _Surface, point: FloatArray, ray: FloatArray, pose: Pose, seen: NDArray[np.int64],
        size_hw: tuple[int, int],
    ) -> Float32Array:  # fmt: skip
        """Light (N, 3) from the surface to the camera: daylight with caustics, and the robot's lamp."""
        scene, water = self.scene, self.scene.water
        day = 0.45 + 0.55 * (surface.normal * scene.up).sum(axis=1)
        if water.caustics > 0:
            across = point - scene.up * (point * scene.up).sum(axis=1, keepdims=True)
            x, y = 0.45 * across[:, 0] + 0.2 * across[:, 1], 0.45 * across[:, 2] - 0.3 * across[:, 1]
            net = sample(Pattern.CELL_EDGES, x, y) * sample(Pattern.SMOOTH, y * 0.6, x * 0.6)
            day = day * (1 + water.caustics * (2.2 * net * net * net - 0.25))
        # daylight has already come down through water, so it carries the water's colour
        tint = 0.25 + 0.75 * water.veil / max(float(water.veil.max()), 1e-6)
        lit = surface.albedo * (np.maximum(day, 0.05)[:, None] * (water.sun * tint)).astype(np.float32)

        lamp = pose.position + (pose.rotation * scene.lamp_offset).sum(axis=1)
        to_lamp = lamp - point
        squared = (to_lamp * to_lamp).sum(axis=1)
        distance = np.sqrt(squared)
        direction = to_lamp / distance[:, None]
        cosine = np.maximum((surface.normal * direction).sum(axis=1), 0)
        axis = pose.rotation[:, 2]
        cone = np.clip(-(direction * axis).sum(axis=1) * 2.2 - 0.9, 0, 1)
        start = (point + direction * 0.02).astype(np.float32)
        free = (self.embree.run(start, direction.astype(np.float32), query="OCCLUDED") < 0).astype(np.uint8)
        shadow = np.full(size_hw[0] * size_hw[1], 255, np.uint8)
        shadow[seen] = free * 255
        soft = cv2.GaussianBlur(shadow.reshape(size_hw), (0, 0), 1.2).reshape(-1)[seen].astype(np.float32) / 255
        strength = water.lamp * 2.6 * cone * soft / np.maximum(squared, 0.16)
        view = ray / np.sqrt((ray * ray).sum(axis=1, keepdims=True))
        half = direction - view
        half = half / np.maximum(np.sqrt((half * half).sum(axis=1, keepdims=True)), 1e-6)
        shine = np.maximum((surface.normal * half).sum(axis=1), 0)
        for _ in range(5):
            shine = shine * shine
        for channel in range(3):
            way = exp_negative(distance * water.beta_d[channel])
            lit[:, channel] += (strength * way * (surface.albedo[:, channel] * cosine + surface.gloss * shine)).astype(
                np.float32
            )
        return lit


class _Surface:
    """Per-pixel surface properties, filled in by kind of surface."""

    def __init__(self, count: int) -> None:
        self.albedo = np.zeros((count, 3), np.float32)
        self.normal = np.zeros((count, 3), np.float64)
        self.gloss = np.zeros(count, np.float32)
        self.raised_m = np.zeros(count, np.float64)
        self.instance = np.zeros(count, np.int32)


def _range(values: FloatArray) -> tuple[float, float]:
    return float(values.min()) - 0.02, float(values.max()) + 0.02


def pixel_rays(pose: Pose, matrix: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """World rays (H*W, 3) through pixel centres, of length 1 along the optical axis."""
    height, width = size_hw
    x = ((np.arange(width) - matrix[0, 2]) / matrix[0, 0])[None, :, None]
    y = ((np.arange(height) - matrix[1, 2]) / matrix[1, 1])[:, None, None]
    rays: FloatArray = x * pose.rotation[:, 0] + y * pose.rotation[:, 1] + pose.rotation[:, 2]
    return rays.reshape(-1, 3)
