"""The strip of hull that was passed: where the camera was, from its motion, and what was seen there, in cells.

Lengths are metres where depth and the camera's intrinsics are known, else widths of the picture at the beginning. A
stretch over which the motion could be followed is one piece; where it was lost, a new piece begins, because nobody
knows where. The hull counts as flat and square to the camera; errors of each step add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.metric import Pinhole
from spda_sam_core.tracking.tracker import Tracked

TILE = 64
_CELL = {"m": 0.01, "picture widths": 1 / 128}
_SHORT_WAY = 0.25
"""A way that stays within so much of its middle, in the strip's unit, has no direction: its map lies as the picture."""
_MOST_CELLS = 2048
"""Of a picture's footprint along one side; more is a camera far away, or depth that is none."""


@dataclass
class Piece:
    """A stretch without loss of motion.

    Attributes:
        first: number of its first frame.
        path: (x, y) of the picture's centre, one for each frame.
        frames: their numbers.
        tiles: by tile row and column: (TILE, TILE, 5) uint8 of R, G, B, times seen, times covered (both up to 255).
    """

    first: int
    path: list[tuple[float, float]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    tiles: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def length(self) -> float:
        """Length of the camera's way."""
        steps = np.diff(np.array(self.path).reshape(-1, 2), axis=0)
        return float(np.hypot(*steps.T).sum())

    @property
    def heading(self) -> float:
        """Direction of most of the way in radians, from its first end to its last."""
        path = np.array(self.path)
        spread = path - path.mean(axis=0)
        if float(np.abs(spread).max()) < _SHORT_WAY:
            return 0.0
        _, _, axes = np.linalg.svd(spread, full_matrices=False)
        x, y = axes[0] * (1 if axes[0] @ (path[-1] - path[0]) >= 0 else -1)
        return math.atan2(y, x)


class Strip:
    """Follows the camera and paints what it sees.

    Args:
        camera: intrinsics; without them lengths are picture widths.

    Attributes:
        unit: "m" or "picture widths".
        cell: side of a cell in `unit`.
        pieces: in the order of time.
    """

    def __init__(self, camera: Pinhole | None) -> None:
        self.camera = camera
        self.unit = "m" if camera is not None else "picture widths"
        self.cell = _CELL[self.unit]
        self.pieces: list[Piece] = []
        self._position = np.zeros(2)
        self._angle = 0.0
        self._per_px = 0.0
        self._size_hw = (0, 0)

    def move(self, tracked: Tracked, depth_m: NDArray[np.float32] | None, number: int, *, follows: bool) -> None:
        """Take the camera's next step.

        Args:
            tracked: of this frame.
            depth_m: (H, W) float32 metres, NaN unknown, or None.
            number: of the frame.
            follows: whether the frame before was seen; else a new piece begins.
        """
        size_hw = (tracked.instances.height, tracked.instances.width)
        if not self.pieces or not follows or tracked.motion == "unknown" or size_hw != self._size_hw:
            self.pieces.append(Piece(number))
            self._position, self._angle, self._size_hw = np.zeros(2), 0.0, size_hw
            self._per_px = 1 / size_hw[1]
        else:
            back = np.linalg.inv(tracked.homography)
            centre = np.array([(size_hw[1] - 1) / 2, (size_hw[0] - 1) / 2])
            # where the middle of this picture and a point beside it were in the last one
            was, beside = cv2.perspectiveTransform(np.array([[centre, centre + np.array([1, 0])]]), back)[0]
            self._position = self._position + _turned(was - centre, self._angle) * self._per_px
            across = beside - was
            self._angle += math.atan2(across[1], across[0])
            self._per_px *= float(np.clip(np.hypot(*across), 0.5, 2))
        if self.camera is not None and depth_m is not None:
            height, width = size_hw
            middle = depth_m[height // 4 : 3 * height // 4 : 4, width // 4 : 3 * width // 4 : 4]
            known = middle[np.isfinite(middle) & (middle > 0)]
            if known.size:
                self._per_px = float(np.median(known)) / self.camera.fx
        self.pieces[-1].path.append((float(self._position[0]), float(self._position[1])))
        self.pieces[-1].frames.append(number)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where on the strip a pixel of this frame lies, in `unit`."""
        height, width = self._size_hw
        offset = np.array([x - (width - 1) / 2, y - (height - 1) / 2]) * self._per_px
        place = self._position + _turned(offset, self._angle)
        return float(place[0]), float(place[1])

    @property
    def per_px(self) -> float:
        """How much of the strip a pixel covers along one side, in `unit`."""
        return self._per_px

    def paint(self, rgb: NDArray[np.uint8], covered: NDArray[np.bool_]) -> None:
        """Put this frame onto the strip.

        Args:
            rgb: (H, W, 3) uint8.
            covered: (H, W) bool, pixels that show macrofouling.
        """
        height, width = self._size_hw
        corners = np.array([self.at(x, y) for x in (0, width - 1) for y in (0, height - 1)]) / self.cell
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
        n_columns, n_rows = (high - low).tolist()
        if max(n_columns, n_rows) > _MOST_CELLS:
            return
        # from the middle of a cell to a pixel: the way of `at` backwards
        scale = self.cell / self._per_px
        turn = np.array([_turned(np.array(axis), -self._angle) for axis in ((1.0, 0.0), (0.0, 1.0))]).T * scale
        first = turn @ (low + 0.5 - self._position / self.cell) + ((width - 1) / 2, (height - 1) / 2)
        into = np.hstack([turn, first[:, None]])
        flags, size = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR, (n_columns, n_rows)
        shrink = max(1, int(scale / 2))  # a mean of pixels, not one of them
        small = cv2.resize(rgb, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        ratio = np.array([[small.shape[1] / width], [small.shape[0] / height]])
        colours = cv2.warpAffine(small, into * ratio, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        layers = np.stack([np.ones_like(covered), covered], axis=-1).astype(np.uint8)
        votes = cv2.warpAffine(layers, into, size, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST)
        tiles = self.pieces[-1].tiles
        for row in range(low[1] // TILE, (high[1] - 1) // TILE + 1):
            for column in range(low[0] // TILE, (high[0] - 1) // TILE + 1):
                x0, y0 = column * TILE, row * TILE
                xs = slice(max(low[0], x0) - low[0], min(high[0], x0 + TILE) - low[0])
                ys = slice(max(low[1], y0) - low[1], min(high[1], y0 + TILE) - low[1])
                seen = votes[ys, xs, 0] > 0
                if not seen.any():
                    continue
                tile = tiles.setdefault((row, column), np.zeros((TILE, TILE, 5), np.uint8))
                top, left = ys.start + low[1] - y0, xs.start + low[0] - x0
                part = tile[top : top + seen.shape[0], left : left + seen.shape[1]]
                part[..., :3][seen] = colours[ys, xs][seen]
                part[..., 3:] = cv2.add(part[..., 3:], np.ascontiguousarray(votes[ys, xs]))


def _turned(vector: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = np.array(
        [cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]]
    )
    return turned
