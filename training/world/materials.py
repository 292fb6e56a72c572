"""What a part's surface looks like, and the paints of a hull."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.world.meshes import Mesh
from training.world.textures import Pattern, any_colour, pick

FloatArray = NDArray[np.float64]

HULL_PAINTS = (
    (122, 38, 34), (150, 56, 44), (96, 30, 30), (40, 48, 58), (58, 62, 64), (92, 98, 100), (30, 54, 84),
    (44, 74, 70), (140, 142, 136), (110, 92, 76), (70, 78, 54),
)  # fmt: skip
METALS = ((150, 150, 145), (185, 188, 182), (110, 112, 112), (172, 160, 140))
BRONZES = ((150, 112, 52), (120, 96, 60), (96, 84, 62), (170, 130, 70))
FOULING = (
    (58, 74, 34),
    (84, 88, 44),
    (50, 48, 30),
    (104, 100, 62),
    (70, 96, 60),
    (36, 52, 34),
    (150, 144, 118),
)
DARK = (8, 9, 10)


@dataclass(frozen=True)
class Material:
    """Two colours mixed by a pattern, under a film of fouling.

    Attributes:
        base: (3,) linear RGB albedo.
        second: (3,) linear RGB albedo where the pattern is high.
        pattern: which pattern mixes them.
        tile_m: metres of surface per pattern tile.
        contrast: steepness of the mix; 1 is gradual, large is hard-edged.
        threshold: pattern value at the middle of the mix, 0..1.
        gloss: strength of the highlight, 0..1.
        film: how much fouling covers it, 0..1.
        recess_m: the surface is seen this much deeper than its mesh lies (an opening in the plate).
    """

    base: FloatArray
    second: FloatArray
    pattern: Pattern = Pattern.SMOOTH
    tile_m: float = 0.5
    contrast: float = 1.5
    threshold: float = 0.5
    gloss: float = 0.1
    film: float = 0.2
    recess_m: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A mesh and what it looks like; an instance is one or several pieces."""

    mesh: Mesh
    material: Material


def hull_paint(rng: np.random.Generator) -> Material:
    """Anti-fouling paint, faded and patchy."""
    base = pick(rng, HULL_PAINTS, 0.35)
    pattern = (Pattern.SMOOTH, Pattern.ROUGH, Pattern.PATCHES, Pattern.RIDGES)[int(rng.integers(4))]
    return Material(
        base=base,
        second=np.clip(base * rng.uniform(0.55, 1.5) + rng.uniform(0, 0.03), 0, 0.8),
        pattern=pattern,
        tile_m=float(rng.uniform(0.6, 3.0)),
        contrast=float(rng.uniform(0.6, 1.6)),
        gloss=float(rng.uniform(0.0, 0.25)),
        film=float(rng.uniform(0.0, 0.45)),
    )


def metal(rng: np.random.Generator, tile_m: float) -> Material:
    """Bare or coated metal with stains."""
    return Material(
        base=pick(rng, METALS),
        second=pick(rng, ((90, 80, 70), (120, 70, 40), (80, 90, 80))),
        pattern=(Pattern.ROUGH, Pattern.SMOOTH, Pattern.SPOTS)[int(rng.integers(3))],
        tile_m=tile_m,
        contrast=float(rng.uniform(0.8, 4.0)),
        threshold=float(rng.uniform(0.5, 0.85)),
        gloss=float(rng.uniform(0.05, 0.4)),
        film=float(rng.uniform(0.0, 0.4)),
    )


def bronze(rng: np.random.Generator) -> Material:
    """Propeller bronze, polished or dark with age."""
    base = pick(rng, BRONZES, 0.3)
    return Material(
        base=base,
        second=base * rng.uniform(0.3, 0.8),
        pattern=(Pattern.ROUGH, Pattern.SMOOTH, Pattern.SPOTS, Pattern.RIDGES)[int(rng.integers(4))],
        tile_m=float(rng.uniform(0.4, 1.2)),
        contrast=float(rng.uniform(0.8, 4.0)),
        threshold=float(rng.uniform(0.4, 0.8)),
        gloss=float(rng.uniform(0.1, 0.6)),
        film=float(rng.uniform(0.0, 0.6)),
    )


def random_material(rng: np.random.Generator, size_m: float) -> Material:
    """Any two colours and any pattern, for things of no particular kind about `size_m` large."""
    base = any_colour(rng)
    second = any_colour(rng) if rng.random() < 0.6 else base * rng.uniform(0.4, 1.6)
    return Material(
        base=base,
        second=np.clip(second, 0.005, 0.9),
        pattern=Pattern(int(rng.integers(len(Pattern)))),
        tile_m=float(size_m * rng.uniform(0.6, 3.0)),
        contrast=float(rng.uniform(0.6, 8.0)),
        threshold=float(rng.uniform(0.25, 0.75)),
        gloss=float(rng.uniform(0.0, 0.5)),
        film=float(rng.uniform(0.0, 0.7) * (rng.random() < 0.6)),
    )


def plain(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], size_m: float = 0.5) -> Material:
    """One of a few display colours with a little wear."""
    base = pick(rng, colours)
    return Material(
        base=base,
        second=base * rng.uniform(0.6, 0.95),
        pattern=Pattern.ROUGH,
        tile_m=size_m,
        gloss=float(rng.uniform(0.0, 0.3)),
        film=float(rng.uniform(0.0, 0.3)),
    )


def opening(recess_m: float) -> Material:
    """The dark inside of a hole, seen `recess_m` behind its mesh."""
    dark = np.array(DARK, dtype=np.float64) / 255
    return Material(base=dark**1.5, second=dark**1.5, gloss=0.0, film=0.0, recess_m=recess_m)


def repainted(material: Material, tile_m: float) -> Material:
    """The same paint on a smaller part."""
    return replace(material, tile_m=tile_m, recess_m=0.0)
