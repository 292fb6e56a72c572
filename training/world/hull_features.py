"""Parts that sit on a hull: anode, bilge keel, overboard valve, sea chest grating, propeller.

Part frame: the plate is z = 0, z points away from the hull into the water, x runs along the hull. Metres.
"""

from __future__ import annotations

import math

import numpy as np

from training.world.materials import (
    Material,
    Piece,
    bronze,
    metal,
    opening,
    plain,
    random_material,
    repainted,
)
from training.world.meshes import Mesh, box, cylinder, grid, lathe, merged, rotation_xyz, superquadric, tube

ANODE_COLOURS = ((176, 178, 172), (205, 205, 196), (150, 152, 150), (190, 184, 168))
GRATE_COLOURS = ((110, 110, 106), (70, 72, 74), (130, 70, 50), (150, 150, 140))


def _paint_or(rng: np.random.Generator, paint: Material, other: Material, chance: float, tile_m: float) -> Material:
    """The hull's own paint with the given chance, so that colour alone does not tell the part."""
    return repainted(paint, tile_m) if rng.random() < chance else other


def anode(rng: np.random.Generator, length_m: float, paint: Material) -> list[Piece]:
    """A sacrificial anode: a rounded block, often with its straps showing."""
    width = length_m * rng.uniform(0.25, 0.5)
    height = length_m * rng.uniform(0.12, 0.22)
    own = plain(rng, ANODE_COLOURS, tile_m := length_m * 1.5)
    material = _paint_or(rng, paint, own, 0.3, tile_m)
    if rng.random() < 0.2:
        body = superquadric(length_m / 2.4, length_m / 2.4, height, 1.0, 0.4)
    else:
        body = superquadric(length_m / 2, width / 2, height, rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.6))
    pieces = [Piece(body.shifted(0, 0, height * 0.5), material)]
    if rng.random() < 0.6:
        strap = box(length_m * 1.35, width * 0.22, height * 0.25).shifted(0, 0, height * 0.1)
        pieces.append(Piece(strap, _paint_or(rng, paint, metal(rng, tile_m), 0.5, tile_m)))
    return pieces


def bilge_keel(rng: np.random.Generator, length_m: float, paint: Material) -> list[Piece]:
    """A long fin standing off the plate, with a rounded edge bar and tapered ends."""
    height = float(rng.uniform(0.14, 0.4))
    root = height * rng.uniform(0.12, 0.4)
    x = np.linspace(-length_m / 2, length_m / 2, 60)
    end = np.minimum(np.minimum((x - x[0]), (x[-1] - x)) / (1.6 * height), 1.0)
    rise = height * np.maximum(end, 0.02)
    outline = np.array([[-1.0, 0.0], [-0.25, 0.92], [-0.25, 0.92], [0.0, 1.0], [0.25, 0.92], [0.25, 0.92], [1.0, 0.0]])
    points = np.stack(
        [
            np.broadcast_to(x[:, None], (60, 7)),
            np.broadcast_to(outline[:, 0] * root, (60, 7)),
            outline[:, 1] * rise[:, None],
        ],
        axis=-1,
    )
    uv = np.stack([points[..., 0], points[..., 1] + points[..., 2]], axis=-1)
    material = _paint_or(rng, paint, plain(rng, ((90, 40, 36), (60, 64, 66), (120, 120, 112)), 1.0), 0.65, 1.0)
    pieces = [Piece(grid(points, uv), material)]
    if rng.random() < 0.5:
        path = np.stack([x[3:-3], np.zeros(54), rise[3:-3]], axis=-1)
        pieces.append(Piece(tube(path, height * rng.uniform(0.06, 0.12), 8), material))
    return pieces


def over_board_valve(rng: np.random.Generator, radius_m: float, paint: Material) -> list[Piece]:
    """A discharge opening: a flange or a short pipe around a hole, with bolts."""
    bore = radius_m * rng.uniform(0.5, 0.78)
    height = radius_m * (rng.uniform(0.12, 0.35) if rng.random() < 0.65 else rng.uniform(0.5, 1.1))
    lip = radius_m * rng.uniform(0.0, 0.1)
    profile = [(radius_m, 0.0), (radius_m, height - lip), (radius_m - lip, height), (radius_m - lip, height),
               (bore + lip / 2, height), (bore, height - lip / 2), (bore, height - lip / 2),
               (bore, 0.004)]  # fmt: skip
    material = _paint_or(rng, paint, metal(rng, radius_m * 3), 0.4, radius_m * 3)
    pieces = [Piece(lathe(profile), material)]
    disc = lathe([(bore * 1.02, 0.004), (0.0, 0.004)])
    if rng.random() < 0.75:
        pieces.append(Piece(disc, opening(radius_m * rng.uniform(0.6, 1.5))))
    else:  # a closed flap behind the ring
        pieces.append(Piece(disc.shifted(0, 0, height * 0.3), metal(rng, radius_m * 2)))
    if rng.random() < 0.6:
        count = int(rng.integers(5, 11))
        ring = (radius_m + bore) / 2
        bolts = [
            cylinder(radius_m * 0.07, radius_m * 0.1, 8).shifted(
                ring * math.cos(k * 2 * math.pi / count), ring * math.sin(k * 2 * math.pi / count), height
            )
            for k in range(count)
        ]
        pieces.append(Piece(merged(bolts), metal(rng, radius_m)))
    return pieces


def sea_chest_grating(rng: np.random.Generator, width_m: float, paint: Material) -> list[Piece]:
    """A barred or perforated opening in a frame."""
    height = width_m * rng.uniform(0.5, 1.1)
    rim = width_m * rng.uniform(0.05, 0.1)
    rise = width_m * rng.uniform(0.03, 0.1)
    count = int(rng.integers(5, 13))
    material = _paint_or(rng, paint, plain(rng, GRATE_COLOURS, width_m), 0.5, width_m)
    bar_width = (width_m - 2 * rim) / count * rng.uniform(0.3, 0.55)
    frame = [box(width_m, rim, rise).shifted(0, s * (height - rim) / 2, rise / 2) for s in (-1, 1)] + [
        box(rim, height, rise).shifted(s * (width_m - rim) / 2, 0, rise / 2) for s in (-1, 1)
    ]
    place = (np.arange(count) + 0.5) / count - 0.5
    bars = [box(bar_width, height - rim, rise * 0.6).shifted(p * (width_m - 2 * rim), 0, rise * 0.45) for p in place]
    if rng.random() < 0.45:
        bars += [
            box(width_m - rim, bar_width, rise * 0.5).shifted(0, p * (height - 2 * rim), rise * 0.4)
            for p in (np.arange(3) + 0.5) / 3 - 0.5
        ]
    back = grid(
        np.array([[[-1, -1, 0], [1, -1, 0]], [[-1, 1, 0], [1, 1, 0]]]) * np.array([width_m / 2, height / 2, 1.0]),
        np.zeros((2, 2, 2)),
    ).shifted(0, 0, 0.006)
    turn = rotation_xyz(0, 0, math.pi / 2 if rng.random() < 0.4 else 0.0)
    recess = width_m * rng.uniform(0.25, 0.8)
    return [
        Piece(merged(frame + bars).moved(turn, (0, 0, 0)), material),
        Piece(back.moved(turn, (0, 0, 0)), opening(recess)),
    ]


def _blade(rng_shape: tuple[float, float, float], radius_m: float) -> Mesh:
    """One twisted blade along +x; `rng_shape` is (relative width, pitch angle at the root, skew)."""
    width, pitch, skew = rng_shape
    r = np.linspace(0.16, 1.0, 16)[:, None]
    chord = width * radius_m * np.sqrt(np.maximum(1 - ((r - 0.55) / 0.47) ** 2, 0.02))
    across = np.linspace(-0.5, 0.5, 9)[None, :]
    angle = pitch * (1.1 - 0.75 * r)
    lag = skew * r * r * radius_m
    flat_y = across * chord + lag
    points = np.stack(
        [
            np.broadcast_to(r * radius_m, flat_y.shape),
            flat_y * np.cos(angle),
            flat_y * np.sin(angle) + 0.05 * radius_m * across * across,
        ],
        axis=-1,
    )
    return grid(points, np.stack([points[..., 0], flat_y], axis=-1))


def propeller(rng: np.random.Generator, radius_m: float, paint: Material) -> list[Piece]:
    """Hub, three to five twisted blades and a shaft; the axis is z, the shaft goes to -z."""
    material = bronze(rng) if rng.random() < 0.75 else _paint_or(rng, paint, random_material(rng, radius_m), 0.5, 1.0)
    hub = radius_m * rng.uniform(0.14, 0.24)
    count = int(rng.integers(3, 6))
    shape = (float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.5, 1.1)), float(rng.uniform(-0.1, 0.25)))
    blades = [
        _blade(shape, radius_m).moved(rotation_xyz(0, 0, k * 2 * math.pi / count), (0, 0, 0)) for k in range(count)
    ]
    nose = rng.uniform(0.7, 1.8)
    body = lathe(
        [(hub * 0.9, -1.0 * hub), (hub, -0.4 * hub), (hub, 0.5 * hub), (hub * 0.75, (0.5 + nose * 0.5) * hub),
         (hub * 0.4, (0.5 + nose * 0.85) * hub), (0.0, (0.5 + nose) * hub)]
    )  # fmt: skip
    shaft_length = radius_m * rng.uniform(0.8, 2.5)
    shaft = cylinder(hub * rng.uniform(0.4, 0.8), shaft_length).shifted(0, 0, -shaft_length / 2 - 0.5 * hub)
    return [
        Piece(merged([*blades, body]), material),
        Piece(shaft, _paint_or(rng, paint, metal(rng, 0.6), 0.5, 0.8)),
    ]
