"""Free things that are not hull, class `object`: fish, divers, vehicles, rope, pipe, crate, debris, blobs.

They make the model segment what it has no name for. Part frame: x along the thing's length, y down, z depth;
each builder is about `size_m` long, centred, and returns pieces.
"""

from __future__ import annotations

import math

import numpy as np

from training.world.materials import Piece, metal, plain, random_material
from training.world.meshes import (
    Mesh,
    box,
    capsule,
    cylinder,
    lathe,
    merged,
    plate,
    rotation_xyz,
    superquadric,
    tube,
)
from training.world.textures import Pattern, sample

SUIT = ((22, 22, 26), (30, 34, 44), (14, 16, 20), (40, 60, 90))
GEAR = ((200, 170, 30), (210, 60, 40), (40, 110, 190), (190, 200, 205), (90, 190, 60), (235, 235, 230))
SKIN = ((190, 150, 125), (120, 86, 66), (22, 22, 26))
ROPE = ((150, 130, 90), (60, 90, 60), (40, 70, 130), (200, 190, 170), (60, 50, 40))
WOOD = ((120, 90, 55), (90, 74, 54), (140, 118, 84))
WASTE = ((200, 200, 196), (150, 30, 30), (40, 90, 150), (60, 120, 70), (90, 80, 66), (30, 30, 32))


def fish(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A flattened body with tail and dorsal fins, of any livery."""
    slender = rng.uniform(0.16, 0.34)
    body = superquadric(size_m * 0.42, size_m * slender, size_m * slender * rng.uniform(0.35, 0.6), 1.0, 1.0, 18)
    v = body.vertices
    taper = np.clip(1 - 0.75 * np.maximum(v[:, :1] / (size_m * 0.42), 0) ** 2, 0.1, 1)
    curl = rng.uniform(-0.25, 0.25) * (v[:, :1] / size_m) ** 2 * size_m
    body = body.warped(np.concatenate([0 * taper, v[:, 1:] * (taper - 1)], axis=1) + curl * np.array([0.0, 0.0, 1.0]))
    fork = rng.uniform(0.0, 0.12)
    span = slender * rng.uniform(0.7, 1.2)
    tail = plate(
        np.array([[0.34, 0.02], [0.55, span], [0.5 - fork, 0.0], [0.55, -span], [0.34, -0.02]]) * size_m,
        size_m * 0.012,
    )
    fin = plate(
        np.array([[-0.2, -0.6 * slender], [-0.02, -1.5 * slender], [0.22, -0.55 * slender], [0.0, -0.3 * slender]])
        * size_m,
        size_m * 0.012,
    )
    livery = random_material(rng, size_m)
    return [
        Piece(body, livery),
        Piece(merged([tail, fin]), livery if rng.random() < 0.5 else random_material(rng, size_m)),
    ]


def _limb(points: list[tuple[float, float, float]], radius: float, size_m: float) -> Mesh:
    joints = np.array(points) * size_m
    return merged([capsule(joints[i], joints[i + 1], radius * size_m) for i in range(len(joints) - 1)])


def diver(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A swimming figure of capsules: torso, head, limbs, tank and fins."""
    bend = rng.uniform(-0.1, 0.1, size=8)
    suit = plain(rng, SUIT, size_m)
    limbs = [
        _limb([(-0.2, 0, 0), (0.08, 0.0, 0)], 0.085, size_m),
        _limb(
            [(-0.18, 0.02, 0.07), (-0.24 + bend[0], 0.16, 0.1), (-0.36 + bend[1], 0.2 + bend[2], 0.04)],
            0.03,
            size_m,
        ),
        _limb([(-0.18, 0.02, -0.07), (-0.2 + bend[3], 0.17, -0.1), (-0.32, 0.24 + bend[4], -0.06)], 0.03, size_m),
        _limb([(0.08, 0.0, 0.05), (0.26, 0.06 + bend[5], 0.06), (0.42, -0.02 + bend[6], 0.05)], 0.042, size_m),
        _limb([(0.08, 0.0, -0.05), (0.25, -0.03 - bend[5], -0.06), (0.41, 0.05 + bend[7], -0.05)], 0.042, size_m),
    ]
    fins = []
    for ankle in ((0.42, -0.02 + bend[6], 0.05), (0.41, 0.05 + bend[7], -0.05)):
        blade = plate(
            np.array([[0.0, -0.025], [0.17, -0.06], [0.2, 0.0], [0.17, 0.06], [0.0, 0.025]]) * size_m,
            0.01 * size_m,
        )
        fins.append(blade.moved(rotation_xyz(rng.uniform(0, 1.5), 0, rng.uniform(-0.5, 0.5)), np.array(ankle) * size_m))
    tank = capsule(np.array([-0.16, -0.12, 0]) * size_m, np.array([0.08, -0.11, 0]) * size_m, 0.05 * size_m)
    head = superquadric(0.06 * size_m, 0.065 * size_m, 0.055 * size_m, 1, 1, 12).shifted(
        -0.31 * size_m, -0.02 * size_m, 0
    )
    mask = box(0.03 * size_m, 0.05 * size_m, 0.09 * size_m).shifted(-0.365 * size_m, -0.02 * size_m, 0)
    return [
        Piece(merged(limbs), suit),
        Piece(merged(fins), plain(rng, GEAR + SUIT, size_m)),
        Piece(tank, plain(rng, GEAR, size_m)),
        Piece(head, plain(rng, SKIN, size_m)),
        Piece(mask, plain(rng, GEAR, size_m)),
    ]


def vehicle(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A remotely operated vehicle: float block, tube frame, thrusters, lamps, perhaps an arm."""
    length, height, depth = 0.9 * size_m, size_m * rng.uniform(0.4, 0.65), size_m * rng.uniform(0.4, 0.7)
    float_block = superquadric(length / 2, height * 0.18, depth / 2, 0.25, 0.25, 14).shifted(0, -height * 0.32, 0)
    r = 0.018 * size_m
    x, y, z = length * 0.46, height * 0.5, depth * 0.45
    rods = []
    for sz in (-z, z):
        rods += [capsule((-x, y, sz), (x, y, sz), r), capsule((-x, 0, sz), (x, 0, sz), r)]
        rods += [capsule((sx, -height * 0.2, sz), (sx, y, sz), r) for sx in (-x, 0.0, x)]
    rods += [capsule((sx, y, -z), (sx, y, z), r) for sx in (-x, x)]
    pods = [
        cylinder(0.08 * size_m, 0.3 * size_m, 14).moved(
            rotation_xyz(0, math.pi / 2, 0), (0.05 * size_m, 0.12 * height, 0)
        )
    ]
    pods += [
        lathe([(0.05 * size_m, -0.05 * size_m), (0.09 * size_m, 0.0), (0.05 * size_m, 0.05 * size_m)], 14).moved(
            rotation_xyz(0, math.pi / 2 * (k % 2), 0), (s * x * 0.7, 0.3 * height, s * z * 0.6)
        )
        for k, s in enumerate((-1, 1))
    ]
    pieces = [
        Piece(float_block, plain(rng, GEAR, size_m)),
        Piece(merged(rods), plain(rng, SUIT + GEAR, size_m)),
        Piece(merged(pods), plain(rng, SUIT, size_m)),
    ]
    if rng.random() < 0.5:
        arm = _limb([(-0.45, 0.2, -0.1), (-0.6, 0.26, -0.16), (-0.68, 0.16, -0.14)], 0.02, size_m)
        pieces.append(Piece(arm, metal(rng, size_m)))
    return pieces


def rope(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A slack line or a tether, some of it coiled."""
    t = np.linspace(0, 1, 60)
    a = rng.uniform(-1, 1, size=(3, 4))
    waves = np.stack([np.sin(2 * math.pi * t * f) for f in (0.5, 1.0, 1.5, 2.5)])
    path = np.stack([(a[k][:, None] * waves).sum(0) * w for k, w in enumerate((0.12, 0.16, 0.12))], axis=-1)
    path[:, 0] += 1.3 * (t - 0.5)
    if rng.random() < 0.3:
        path = path + 0.16 * np.stack([np.cos(20 * t), np.sin(20 * t), 0.3 * t], axis=-1)
    material = plain(rng, ROPE, size_m * 0.2)
    return [Piece(tube(path * size_m, size_m * rng.uniform(0.018, 0.045), 8), material)]


def pipe(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A straight pipe with flanges."""
    radius = size_m * rng.uniform(0.05, 0.14)
    turn = rotation_xyz(0, math.pi / 2, 0)
    body = cylinder(radius, size_m * 1.3)
    rings = [
        cylinder(radius * rng.uniform(1.2, 1.6), radius * 0.5).shifted(0, 0, p * size_m)
        for p in rng.uniform(-0.6, 0.6, size=int(rng.integers(0, 4)))
    ]
    material = metal(rng, size_m) if rng.random() < 0.5 else random_material(rng, size_m)
    return [Piece(merged([body, *rings]).moved(turn, (0, 0, 0)), material)]


def crate(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A slatted or a closed box."""
    x, y, z = size_m * 0.8, size_m * rng.uniform(0.4, 0.8), size_m * rng.uniform(0.4, 0.8)
    material = plain(rng, WOOD, size_m) if rng.random() < 0.6 else random_material(rng, size_m)
    if rng.random() < 0.4:
        return [Piece(box(x, y, z), material)]
    t = 0.03 * size_m
    levels = (np.arange(4) + 0.5) / 4 - 0.5
    parts = [box(x, y * 0.17, t).shifted(0, p * y, s * z / 2) for p in levels for s in (-1, 1)]
    parts += [box(t, y * 0.17, z).shifted(s * x / 2, p * y, 0) for p in levels for s in (-1, 1)]
    parts += [box(2 * t, y, 2 * t).shifted(sx * x / 2, 0, sz * z / 2) for sx in (-1, 1) for sz in (-1, 1)]
    parts.append(box(x, t, z).shifted(0, y / 2, 0))
    return [Piece(merged(parts), material)]


def _rumpled(rng: np.random.Generator, mesh: Mesh, size_m: float, amount: float) -> Mesh:
    """Push vertices in and out along their direction from the centre, keeping seams closed."""
    v = mesh.vertices / size_m
    o = rng.random(3)
    field = sample(Pattern.SMOOTH, 0.25 * v[:, 0] + 0.2 * v[:, 2] + o[0], 0.25 * v[:, 1] - 0.2 * v[:, 2] + o[1])
    return mesh.warped(mesh.vertices * (amount * 2 * (field[:, None].astype(np.float64) - 0.5)))


def debris(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """A can or bottle, a bent sheet, a tyre, or a broken plate."""
    kind = int(rng.integers(4))
    material = random_material(rng, size_m) if rng.random() < 0.5 else plain(rng, WASTE, size_m)
    if kind == 0:
        r = 0.17 * size_m
        neck = r * rng.uniform(0.25, 1.0)
        return [Piece(lathe([(0, -0.5 * size_m), (r, -0.5 * size_m), (r, -0.5 * size_m), (r, 0.2 * size_m),
                             (neck, 0.36 * size_m), (neck, 0.5 * size_m),
                             (0, 0.5 * size_m)]), material)]  # fmt: skip
    if kind == 1:
        sheet = superquadric(0.5 * size_m, 0.4 * size_m, 0.02 * size_m, 0.3, 0.3)
        v = sheet.vertices
        bend = rng.uniform(-0.8, 0.8) * v[:, 0] ** 2 / size_m + rng.uniform(-0.8, 0.8) * v[:, 0] * v[:, 1] / size_m
        return [Piece(sheet.warped(bend[:, None] * np.array([0.0, 0.0, 1.0])), material)]
    if kind == 2:
        angle = np.linspace(0, 2 * math.pi, 14)
        outer, inner = 0.42 * size_m, 0.13 * size_m
        return [Piece(lathe([(outer + inner * math.cos(a), inner * math.sin(a)) for a in angle]), material)]
    corners = np.sort(rng.random(9)) * 2 * math.pi
    outline = np.stack([np.cos(corners), np.sin(corners)], -1) * rng.uniform(0.25, 0.6, size=(9, 1)) * size_m
    return [Piece(plate(outline, 0.04 * size_m), material)]


def blob(rng: np.random.Generator, size_m: float) -> list[Piece]:
    """Superquadric or rumpled lumps of any pattern: rock, sponge, statue, bag, nothing known."""
    pieces = []
    for k in range(int(rng.integers(1, 4))):
        scale = size_m * (0.5 if k == 0 else 0.28)
        half = rng.uniform(0.35, 1.0, size=3) * scale
        body = superquadric(*half, rng.uniform(0.2, 1.6), rng.uniform(0.2, 1.6), 24)
        body = _rumpled(rng, body, size_m, rng.uniform(0.0, 0.35))
        offset = (0, 0, 0) if k == 0 else rng.uniform(-0.45, 0.45, size=3) * size_m
        pieces.append(
            Piece(body.moved(rotation_xyz(*rng.uniform(-3, 3, size=3)), offset), random_material(rng, size_m))
        )
    if rng.random() < 0.5:
        pieces = [Piece(piece.mesh, pieces[0].material) for piece in pieces]
    return pieces


BUILDERS = (
    (fish, 2.2, (0.15, 1.0)),
    (diver, 1.8, (1.4, 1.9)),
    (vehicle, 1.2, (0.4, 1.2)),
    (rope, 0.8, (0.6, 3.0)),
    (pipe, 0.8, (0.5, 3.0)),
    (crate, 0.7, (0.3, 1.0)),
    (debris, 1.2, (0.15, 0.9)),
    (blob, 2.4, (0.2, 1.6)),
)
"""(builder, relative frequency, plausible size range in metres)."""


def random_object(rng: np.random.Generator, size_m: float) -> tuple[list[Piece], float]:
    """Pieces of a random object near the wished size, and the size it was made in.

    Args:
        rng: source of randomness.
        size_m: wished length in metres; brought into the kind's plausible range.

    Returns:
        Pieces in the part frame, and the length in metres.
    """
    weights = np.array([weight for _, weight, _ in BUILDERS])
    builder, _, (low, high) = BUILDERS[int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random()))]
    length = float(min(max(size_m, low), high))
    return builder(rng, length), length
