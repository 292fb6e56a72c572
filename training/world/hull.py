"""The hull: a gently curved plate, and the chart of what is painted, welded and grown on it.

Hull frame (also the world frame): x = u along the ship, y = v across the strakes, z into the ship; the
water is at smaller z. The plate is z = (curvature_u u^2 + curvature_v v^2) / 2, so (u, v) of a point is its
(x, y).
Classes that lie in the plate (corrosion, paint peel, marine growth, defect) are drawn into a `HullChart`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.world.materials import FOULING, Material
from training.world.meshes import Mesh, grid
from training.world.textures import Pattern, pick, sample

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class HullSurface:
    """Curvatures in 1/m and extents in metres of the plate."""

    curvature_u: float
    curvature_v: float
    u_range: tuple[float, float]
    v_range: tuple[float, float]

    def point(self, u: float, v: float) -> FloatArray:
        """World point (3,) of the surface at (u, v)."""
        return np.array([u, v, 0.5 * (self.curvature_u * u * u + self.curvature_v * v * v)])

    def normals(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Unit normals (N, 3) into the water at (N,) u and v."""
        normal = np.stack([self.curvature_u * u, self.curvature_v * v, -np.ones_like(u)], axis=-1)
        return normal / np.sqrt((normal * normal).sum(axis=-1, keepdims=True))

    def frame(self, u: float, v: float) -> FloatArray:
        """Rotation (3, 3) from a part's frame: x along the ship, z out of the plate into the water."""
        z = self.normals(np.array([u]), np.array([v]))[0]
        x = np.array([1.0, 0.0, self.curvature_u * u])
        x = x - z * float((x * z).sum())
        x = x / np.sqrt((x * x).sum())
        return np.stack([x, np.cross(z, x), z], axis=1)

    def mesh(self, steps: int = 90) -> Mesh:
        """The plate as a grid of triangles."""
        u = np.linspace(*self.u_range, steps)[None, :] * np.ones((steps, 1))
        v = np.linspace(*self.v_range, steps)[:, None] * np.ones((1, steps))
        z = 0.5 * (self.curvature_u * u * u + self.curvature_v * v * v)
        return grid(np.stack([u, v, z], axis=-1), np.stack([u, v], axis=-1))


@dataclass(frozen=True)
class Decal:
    """Something in the plate itself: its kind (class name), place and size in metres, and its own seed."""

    kind: str
    instance: int
    centre_uv: tuple[float, float]
    radii_m: tuple[float, float]
    angle: float
    seed: int


@dataclass(frozen=True)
class HullChart:
    """Colour, height and instance of the plate over a rectangle of (u, v).

    Attributes:
        colour: (NV, NU, 3) float32 linear albedo.
        height_m: (NV, NU) float32, metres out of the plate, negative inwards.
        instance: (NV, NU) int32; 0 is the bare hull, else the instance of a decal.
        origin_uv: (u, v) of the first texel's corner, metres.
        texel_m: side of a texel, metres.
    """

    colour: Float32Array
    height_m: Float32Array
    instance: NDArray[np.int32]
    origin_uv: tuple[float, float]
    texel_m: float

    def index(self, u: FloatArray, v: FloatArray) -> NDArray[np.int64]:
        """Flat texel index of (N,) surface coordinates, clamped to the chart."""
        rows, columns = self.height_m.shape
        column = np.clip(np.floor((u - self.origin_uv[0]) / self.texel_m).astype(np.int64), 0, columns - 1)
        row = np.clip(np.floor((v - self.origin_uv[1]) / self.texel_m).astype(np.int64), 0, rows - 1)
        return row * columns + column


def _mix(field: NDArray[np.floating], contrast: float, threshold: float) -> Float32Array:
    return np.clip((field - np.float32(threshold)) * np.float32(contrast) + np.float32(0.5), 0, 1).astype(np.float32)


def draw_chart(
    rng: np.random.Generator,
    paint: Material,
    decals: tuple[Decal, ...],
    u_range: tuple[float, float],
    v_range: tuple[float, float],
    texel_m: float,
) -> HullChart:
    """Paint, seams, marks and decals of a stretch of hull.

    Args:
        rng: randomness of paint, seams and marks; decals carry their own seeds.
        paint: the hull's paint.
        decals: drawn in order, later ones over earlier ones.
        u_range: metres.
        v_range: metres.
        texel_m: resolution in metres.

    Returns:
        The chart of that rectangle.
    """
    columns = max(int((u_range[1] - u_range[0]) / texel_m), 8)
    rows = max(int((v_range[1] - v_range[0]) / texel_m), 8)
    u = (u_range[0] + (np.arange(columns) + 0.5) * texel_m)[None, :]
    v = (v_range[0] + (np.arange(rows) + 0.5) * texel_m)[:, None]
    ou, ov = rng.random(2)
    tile = paint.tile_m

    mix = _mix(sample(paint.pattern, u / tile + ou, v / tile + ov), paint.contrast, paint.threshold)[..., None]
    colour = paint.base.astype(np.float32) * (1 - mix) + paint.second.astype(np.float32) * mix
    if rng.random() < 0.3:  # a second band of paint with a straight edge
        edge = rng.uniform(*v_range)
        band = pick(rng, ((122, 38, 34), (40, 48, 58), (160, 160, 150), (30, 54, 84)), 0.3).astype(np.float32)
        colour = np.where((v > edge)[..., None], band * (0.7 + 0.6 * mix), colour)
    streaks = sample(Pattern.ROUGH, u * 0.9 + ov, v * 0.05 + ou)
    colour *= (0.8 + 0.4 * streaks)[..., None]
    film = paint.film * sample(Pattern.SMOOTH, u * 0.4 - ou, v * 0.4) * (0.5 + 0.5 * sample(Pattern.FINE, u, v))
    slime = pick(rng, FOULING, 0.3).astype(np.float32)
    colour = colour * (1 - film[..., None]) + slime * film[..., None]
    colour *= (0.85 + 0.3 * sample(Pattern.FINE, u * 1.7, v * 1.7))[..., None]

    height = np.zeros((rows, columns), np.float32)
    _weld_seams(rng, colour, height, u, v)
    _painted_marks(rng, colour, texel_m)
    instance = np.zeros((rows, columns), np.int32)
    chart = HullChart(colour.astype(np.float32), height, instance, (u_range[0], v_range[0]), texel_m)
    for decal in decals:
        _draw_decal(chart, decal, paint)
    return chart


def _weld_seams(
    rng: np.random.Generator, colour: Float32Array, height: Float32Array, u: FloatArray, v: FloatArray
) -> None:
    """Weld beads a few millimetres high along plate edges, each plate a little differently toned."""
    if rng.random() < 0.15:
        return
    plate_u, plate_v = rng.uniform(1.2, 4.0), rng.uniform(0.8, 2.2)
    ou, ov = rng.random(2) * 2
    width = rng.uniform(0.008, 0.022)
    wobble = 0.006 * (sample(Pattern.ROUGH, u * 0.8, v * 0.8) - 0.5)
    du = np.abs((u + ou + wobble) / plate_u - np.round((u + ou) / plate_u)) * plate_u
    dv = np.abs((v + ov + wobble) / plate_v - np.round((v + ov) / plate_v)) * plate_v
    bead = np.clip(1 - np.minimum(du, dv) / width, 0, 1).astype(np.float32)
    height += np.float32(rng.uniform(0.002, 0.007)) * bead * (2 - bead)
    tone = np.floor((u + ou) / plate_u + 0.5) * 37 + np.floor((v + ov) / plate_v + 0.5) * 61
    colour *= (1 + rng.uniform(0, 0.16) * ((tone % 5) / 4 - 0.5))[..., None]
    colour *= (1 - rng.uniform(-0.2, 0.35) * bead)[..., None]


def _painted_marks(rng: np.random.Generator, colour: Float32Array, texel_m: float) -> None:
    """Draught numbers, letters and lines: paint that is nothing but hull."""
    if rng.random() < 0.6:
        return
    rows, columns = colour.shape[:2]
    stencil = np.zeros((rows, columns), np.uint8)
    scale = rng.uniform(0.1, 0.4) / texel_m / 22
    for _ in range(int(rng.integers(1, 4))):
        text = str(int(rng.integers(2, 99))) + ("M", "", "", "XII", "A")[int(rng.integers(5))]
        at = (int(rng.integers(-20, columns)), int(rng.integers(10, rows + 10)))
        cv2.putText(stencil, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(int(2 * scale), 1))
    if rng.random() < 0.5:
        y = int(rng.integers(rows))
        stencil[y : y + max(int(0.05 / texel_m), 1)] = 255
    worn = (stencil > 0) & (
        sample(Pattern.ROUGH, np.arange(columns)[None] / 300.0, np.arange(rows)[:, None] / 300.0) > 0.2
    )
    colour[worn] = colour[worn] * 0.3 + 0.7 * np.float32(rng.uniform(0.2, 0.75))


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The biggest connected component, so that one decal is one connected instance."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _crack_field(rng: np.random.Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """Positive inside a jagged line along x; x and y in units of the radii."""
    offset = rng.random()
    bend = 1.2 * (sample(Pattern.SMOOTH, x * 0.12 + offset, offset) - 0.5)
    jag = 0.35 * (sample(Pattern.ROUGH, x * 0.2 + offset, 0.3) - 0.5)
    width = 0.22 * np.clip(1 - np.abs(x), 0, 1) ** 0.5
    return width - np.abs(y - bend - jag)


def _draw_decal(chart: HullChart, decal: Decal, paint: Material) -> None:
    """Draw one decal into the chart in place."""
    rng = np.random.Generator(np.random.PCG64(decal.seed))
    rows, columns = chart.height_m.shape
    reach = 1.6 * max(decal.radii_m)
    c0, r0 = ((np.array(decal.centre_uv) - reach - chart.origin_uv) / chart.texel_m).astype(int)
    c1, r1 = ((np.array(decal.centre_uv) + reach - chart.origin_uv) / chart.texel_m).astype(int) + 1
    c0, r0, c1, r1 = max(c0, 0), max(r0, 0), min(c1, columns), min(r1, rows)
    if c1 - c0 < 3 or r1 - r0 < 3:
        return
    du = (chart.origin_uv[0] + (np.arange(c0, c1) + 0.5) * chart.texel_m - decal.centre_uv[0])[None, :]
    dv = (chart.origin_uv[1] + (np.arange(r0, r1) + 0.5) * chart.texel_m - decal.centre_uv[1])[:, None]
    cos, sin = np.cos(decal.angle), np.sin(decal.angle)
    x = (cos * du + sin * dv) / decal.radii_m[0]
    y = (cos * dv - sin * du) / decal.radii_m[1]
    size = max(decal.radii_m)
    ou, ov = rng.random(2)
    tu, tv = du / (4 * size) + ou, dv / (4 * size) + ov  # the blob is about half a tile

    crack = decal.kind == "defect" and rng.random() < 0.35
    if crack:
        field = _crack_field(rng, x, y)
    else:
        ragged = {"defect": 0.25, "corrosion": 0.8, "marine_growth": 0.75, "paint_peel": 0.7}[decal.kind]
        field = 1 - np.sqrt(x * x + y * y) + ragged * rng.uniform(0.6, 1.4) * (sample(Pattern.SMOOTH, tu, tv) - 0.5)
        if decal.kind == "paint_peel":
            field = field + rng.uniform(0.3, 1.0) * (sample(Pattern.PATCHES, tu * 1.5, tv * 1.5) - 0.5)
        elif decal.kind != "defect":
            field = field + rng.uniform(0.1, 0.5) * (sample(Pattern.ROUGH, tu * 1.3, tv * 1.3) - 0.5)
    mask = _largest_piece(field > 0)
    window = (slice(r0, r1), slice(c0, c1))
    chart.instance[window][mask] = decal.instance
    inside = field[mask]
    coordinates = tuple(np.broadcast_to(t, mask.shape)[mask] for t in (tu, tv))
    metres = tuple(np.broadcast_to(t, mask.shape)[mask] for t in (du, dv))
    colour, height = chart.colour[window], chart.height_m[window]
    draw = {"defect": _defect, "corrosion": _corrosion, "marine_growth": _growth, "paint_peel": _peel}[decal.kind]
    colour[mask], height[mask] = draw(
        rng, colour[mask], height[mask], inside, coordinates, metres, size if not crack else -size
    )


Coordinates = tuple[FloatArray, ...]
Skin = tuple[NDArray[np.floating], NDArray[np.floating]]


def _defect(
    rng: np.random.Generator, colour: Float32Array, height: Float32Array, inside: FloatArray,
    tile: Coordinates, metres: Coordinates, size: float,
) -> Skin:  # fmt: skip
    """A dent (or, for a negative size, a crack): a shape in depth in the hull's own colour."""
    if size < 0:
        depth = rng.uniform(0.03, 0.08)
        return colour * np.float32(rng.uniform(0.35, 0.9)), height - depth * np.clip(inside * 12, 0.3, 1)
    depth = np.clip(size * rng.uniform(0.12, 0.3), 0.02, 0.16) * (1 if rng.random() < 0.8 else -0.7)
    bowl = np.clip(inside * 1.4, 0, 1)
    crease = 0.3 * sample(Pattern.RIDGES, tile[0] * 0.8, tile[1] * 0.8)
    return colour * np.float32(rng.uniform(0.85, 1.1)), height - depth * (0.25 + 0.75 * bowl * (2 - bowl)) * (
        1 - crease * bowl
    )


def _corrosion(
    rng: np.random.Generator, colour: Float32Array, height: Float32Array, inside: FloatArray,
    tile: Coordinates, metres: Coordinates, size: float,
) -> Skin:  # fmt: skip
    """Rust: orange to black-brown, mottled, flat in depth."""
    bright = pick(rng, ((176, 84, 30), (150, 70, 28), (190, 110, 50), (128, 52, 26)), 0.3)
    dark = pick(rng, ((66, 32, 20), (44, 28, 22), (90, 44, 24)), 0.3)
    mottle = 0.6 * sample(Pattern.ROUGH, tile[0] * 2, tile[1] * 2) + 0.4 * sample(
        Pattern.FINE, metres[0] * 2, metres[1] * 2
    )
    mix = np.clip((mottle - 0.5) * 2.2 + rng.uniform(0.3, 0.7), 0, 1)[:, None]
    cover = np.clip(0.55 + inside * 3, 0, 1)[:, None] * rng.uniform(0.75, 1.0)
    return colour * (1 - cover) + (bright * mix + dark * (1 - mix)) * cover, height


def _peel(
    rng: np.random.Generator, colour: Float32Array, height: Float32Array, inside: FloatArray,
    tile: Coordinates, metres: Coordinates, size: float,
) -> Skin:  # fmt: skip
    """Lost paint: primer or bare steel with a hard edge, as good as flat in depth."""
    primer = pick(
        rng,
        ((150, 152, 150), (190, 186, 176), (110, 116, 120), (150, 84, 66), (206, 196, 150), (84, 104, 112)),
        0.3,
    )
    if np.abs(primer - colour.mean(axis=0)).max() < 0.08:  # primer of the paint's own tone would be invisible
        primer = np.clip(primer + (0.25 if primer.mean() < 0.25 else -0.2), 0.02, 0.8)
    flakes = sample(Pattern.PATCHES, tile[0] * 3, tile[1] * 3)[:, None]
    grain = sample(Pattern.FINE, metres[0] * 1.5, metres[1] * 1.5)[:, None]
    shade = (0.75 + 0.3 * flakes) * (0.85 + 0.3 * grain)
    return primer * shade * np.clip(0.6 + inside * 12, 0, 1)[:, None], height - 0.001


def _growth(
    rng: np.random.Generator, colour: Float32Array, height: Float32Array, inside: FloatArray,
    tile: Coordinates, metres: Coordinates, size: float,
) -> Skin:  # fmt: skip
    """Weed, mussels or barnacles: stands off the plate, lumpy in colour and in depth."""
    pattern = (Pattern.SPOTS, Pattern.CELLS, Pattern.ROUGH, Pattern.ROUGH)[int(rng.integers(4))]
    frequency = rng.uniform(0.5, 1.4)
    lumps = 0.65 * sample(pattern, metres[0] * frequency, metres[1] * frequency) + 0.35 * sample(
        Pattern.ROUGH, tile[0] * 2, tile[1] * 2
    )
    thickness = np.clip(size * rng.uniform(0.1, 0.3), 0.012, 0.09)
    low, high = pick(rng, FOULING, 0.4), pick(rng, FOULING, 0.4) * rng.uniform(1.0, 2.2)
    mix = np.clip(lumps, 0, 1)[:, None]
    grain = 0.6 + 0.8 * sample(Pattern.FINE, metres[0] * 2.3, metres[1] * 2.3)[:, None]
    rise = np.clip(inside * 4, 0.25, 1)
    return (low * (1 - mix) + high * mix) * grain, height + thickness * rise * (0.35 + 0.65 * lumps)
