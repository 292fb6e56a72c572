"""How much was seen and how much of that is covered, section by section along each piece of the strip."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.survey.strip import TILE, Piece, Strip

SECTION = {"m": 1.0, "picture widths": 1.0}
"""Length of a section along the way."""
_LONGEST_MAP_PX = 6000


class Section(NamedTuple):
    """A stretch of a piece.

    Attributes:
        piece: index of the piece.
        start: along the piece's heading, from its first end, in the strip's unit.
        stop: likewise.
        seen: area that was seen, square units.
        covered: share of it that shows macrofouling, 0..1.
    """

    piece: int
    start: float
    stop: float
    seen: float
    covered: float


class PieceMap(NamedTuple):
    """A piece as a picture that lies along its heading.

    Attributes:
        rgb: (h, w, 3) uint8, a pixel for each cell; white where nothing was seen.
        matrix: (2, 3) from places on the piece to pixels of that picture.
    """

    rgb: NDArray[np.uint8]
    matrix: NDArray[np.float64]


def sections_of(strip: Strip) -> list[Section]:
    """All sections in which something was seen, in order."""
    length = SECTION[strip.unit]
    found = []
    for index, piece in enumerate(strip.pieces):
        if not piece.tiles:
            continue
        along, covered = _cells(piece, strip.cell)
        origin = float(along.min())
        number = ((along - origin) / length).astype(int)
        seen = np.bincount(number)
        growth = np.bincount(number, weights=covered)
        for k in np.flatnonzero(seen).tolist():
            area = float(seen[k]) * strip.cell**2
            start = k * length
            stop = min(start + length, float(along.max()) - origin + strip.cell)
            found.append(Section(index, start, stop, area, float(growth[k] / seen[k])))
    return found


def map_of(piece: Piece, strip: Strip) -> PieceMap | None:
    """A picture of what was seen on a piece; None where that is nothing."""
    if not piece.tiles:
        return None
    rows, columns = zip(*piece.tiles, strict=True)
    low_row, low_column = min(rows), min(columns)
    canvas_hw = ((max(rows) - low_row + 1) * TILE, (max(columns) - low_column + 1) * TILE)
    canvas = np.zeros((*canvas_hw, 4), np.uint8)
    for (row, column), tile in piece.tiles.items():
        y, x = (row - low_row) * TILE, (column - low_column) * TILE
        canvas[y : y + TILE, x : x + TILE, :3] = tile[..., :3]
        canvas[y : y + TILE, x : x + TILE, 3] = np.where(tile[..., 3] > 0, 255, 0)
    cosine, sine = math.cos(-piece.heading), math.sin(-piece.heading)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    ys, xs = np.nonzero(canvas[..., 3])
    turned = turn @ np.array([xs, ys], np.float64)
    low, high = turned.min(axis=1), turned.max(axis=1)
    scale = min(1.0, _LONGEST_MAP_PX / float((high - low).max() + 1))
    into = np.hstack([turn * scale, (-low * scale)[:, None]])
    size = tuple(int(v) + 2 for v in (high - low) * scale)
    laid = cv2.warpAffine(canvas, into, size, flags=cv2.INTER_LINEAR)
    seen = laid[..., 3:].astype(np.float32) / 255
    rgb = (laid[..., :3] * seen + 255 * (1 - seen)).astype(np.uint8)
    # from places: to cells of the canvas, then as above
    first = np.array([low_column, low_row]) * TILE + 0.5
    matrix = np.hstack([into[:, :2] / strip.cell, (into[:, 2] - into[:, :2] @ first)[:, None]])
    return PieceMap(rgb, matrix)


def _cells(piece: Piece, cell: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every cell that was seen: its place along the heading, and 1 where most views of it show macrofouling."""
    cosine, sine = math.cos(piece.heading), math.sin(piece.heading)
    alongs, covereds = [], []
    for (row, column), tile in piece.tiles.items():
        ys, xs = np.nonzero(tile[..., 3])
        alongs.append(((xs + column * TILE + 0.5) * cosine + (ys + row * TILE + 0.5) * sine) * cell)
        covereds.append((tile[ys, xs, 4] * 2.0 > tile[ys, xs, 3]).astype(np.float64))
    return np.concatenate(alongs), np.concatenate(covereds)
