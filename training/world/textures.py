"""Tileable noise and the colours of things.

Everything is made by integer lattices and plain arithmetic and is looked up by nearest neighbour, so that
the same seed gives the same bytes whichever vector instructions a CPU has.
"""

from __future__ import annotations

import functools
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TILE = 512


class Pattern(IntEnum):
    """Index of a tileable pattern in `pattern_bank`."""

    SMOOTH = 0
    ROUGH = 1
    RIDGES = 2
    CELLS = 3
    PATCHES = 4
    CELL_EDGES = 5
    STRIPES = 6
    PANELS = 7
    SPOTS = 8
    FINE = 9


def _value_noise(rng: np.random.Generator, period: int) -> NDArray[np.float32]:
    """Smooth noise of `period` cells per tile, (TILE, TILE) float32 in [0, 1]."""
    lattice = rng.integers(0, 256, size=(period, period)).astype(np.float32) / np.float32(255)
    position = np.arange(TILE, dtype=np.float32) * np.float32(period / TILE)
    cell = position.astype(np.int64)
    t = position - cell
    t = t * t * (3 - 2 * t)
    after = (cell + 1) % period
    rows = lattice[cell] * (1 - t)[:, None] + lattice[after] * t[:, None]
    noise: NDArray[np.float32] = rows[:, cell] * (1 - t) + rows[:, after] * t
    return noise


def _fractal(rng: np.random.Generator, periods: tuple[int, ...], persistence: float) -> NDArray[np.float32]:
    total = np.zeros((TILE, TILE), np.float32)
    weight = 1.0
    for period in periods:
        total += np.float32(weight) * _value_noise(rng, period)
        weight *= persistence
    return total


def _equalised(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace values by their rank, so that a threshold t keeps exactly the fraction 1 - t of the tile."""
    order = np.argsort(field, axis=None, kind="stable")
    rank = np.empty(order.size, np.float32)
    rank[order] = np.linspace(0.0, 1.0, order.size, dtype=np.float32)
    return rank.reshape(field.shape)


def _cellular(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float32], ...]:
    """Worley noise: nearest distance, a random tone per cell, and distance to the cell's edge."""
    centres = rng.integers(0, TILE, size=(count, 2))
    tones = rng.integers(0, 256, size=count).astype(np.float32) / np.float32(255)
    axis = np.arange(TILE)
    first = np.full((TILE, TILE), 4 * TILE * TILE, np.int64)
    second = first.copy()
    tone = np.zeros((TILE, TILE), np.float32)
    for (cy, cx), value in zip(centres, tones, strict=True):
        dy, dx = np.abs(axis - cy), np.abs(axis - cx)
        distance = np.minimum(dy, TILE - dy)[:, None] ** 2 + np.minimum(dx, TILE - dx)[None] ** 2
        closer = distance < first
        second = np.where(closer, first, np.minimum(second, distance))
        first = np.where(closer, distance, first)
        tone[closer] = value
    near, far = np.sqrt(first.astype(np.float64)), np.sqrt(second.astype(np.float64))
    return near.astype(np.float32), tone, (far - near).astype(np.float32)


@functools.lru_cache(maxsize=1)
def pattern_bank() -> NDArray[np.float32]:
    """All patterns, (len(Pattern), TILE, TILE) float32 in [0, 1], the same in every process."""
    rng = np.random.Generator(np.random.PCG64(20240))
    cells, tone, edges = _cellular(rng, 90)
    x = np.arange(TILE)
    smooth = _fractal(rng, (4, 8, 16, 32, 64), 0.55)
    wobble = (16 * _equalised(smooth)).astype(np.int64)
    stripes = (((x[None, :] + wobble) % 64) < 30).astype(np.float32) + np.float32(0.2) * _fractal(rng, (32, 64), 0.5)
    panels = (((x[None, :] // 128) * 37 + (x[:, None] // 64) * 61) % 5).astype(np.float32) / np.float32(5)
    panels = np.where((x[None, :] % 128 < 4) | (x[:, None] % 64 < 4), np.float32(1.0), panels * np.float32(0.8))
    small_cells, _, _ = _cellular(rng, 220)
    rough = _fractal(rng, (8, 16, 32, 64, 128, 256), 0.75)
    ridge_source = _fractal(rng, (6, 12, 24, 48), 0.5)
    ridge_source = (ridge_source - ridge_source.min()) / (ridge_source.max() - ridge_source.min())
    return np.stack(
        [
            _equalised(smooth),
            _equalised(rough),
            _equalised(1 - np.abs(2 * ridge_source - 1)),
            _equalised(-cells),
            tone,
            _equalised(-edges),
            stripes / stripes.max(),
            panels,
            np.clip(1.4 - small_cells / 9, 0, 1).astype(np.float32),
            _equalised(_fractal(rng, (64, 128, 256), 0.9)),
        ]
    ).astype(np.float32)


def sample(pattern: Pattern, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
    """Look a pattern up at tile coordinates (1.0 is one whole tile, endlessly repeated).

    Args:
        pattern: which one.
        x: tile coordinate of any shape.
        y: same shape (or broadcastable).

    Returns:
        float32 in [0, 1], broadcast shape of x and y.
    """
    column = np.floor(x * TILE).astype(np.int64) & (TILE - 1)
    row = np.floor(y * TILE).astype(np.int64) & (TILE - 1)
    return pattern_bank()[int(pattern)].reshape(-1)[row * TILE + column]


def sample_many(patterns: NDArray[np.int64], x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
    """As `sample`, with a pattern index per element."""
    column = np.floor(x * TILE).astype(np.int64) & (TILE - 1)
    row = np.floor(y * TILE).astype(np.int64) & (TILE - 1)
    return pattern_bank().reshape(-1)[(patterns * TILE + row) * TILE + column]


def linear(red: int, green: int, blue: int) -> FloatArray:
    """Linear-light colour (3,) float64 of an 8-bit display colour (gamma 2)."""
    return (np.array([red, green, blue], dtype=np.float64) / 255) ** 2


def varied(rng: np.random.Generator, colour: FloatArray, amount: float = 0.25) -> FloatArray:
    """The colour with its brightness and hue shifted by up to `amount`, clipped to [0.005, 0.9]."""
    shift = 1 + amount * (2 * rng.random() - 1) + 0.5 * amount * (2 * rng.random(3) - 1)
    return np.clip(colour * shift, 0.005, 0.9)


def pick(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], amount: float = 0.25) -> FloatArray:
    """One of a few 8-bit display colours, varied, in linear light."""
    return varied(rng, linear(*colours[int(rng.integers(len(colours)))]), amount)


def any_colour(rng: np.random.Generator) -> FloatArray:
    """A colour of any hue, mostly neither black nor glaring."""
    return np.clip(rng.random(3) ** 2 * rng.uniform(0.3, 1.0) + 0.01, 0.0, 0.9)
