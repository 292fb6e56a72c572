"""RVL, the lossless code of depth maps of 16 bits that `compressedDepth` carries beside PNG.

Wilson, "Fast Lossless Depth Image Compression", ISS 2017. Pixels are runs: how many zeros, how many others, and those
as differences to the one before, signs in the lowest bit. Each of these numbers is a row of nibbles, the lowest three
bits first, whose fourth bit says that more follow; eight nibbles are a word of 32 bits, the first one on top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NIBBLES_OF_A_NUMBER = 11
"""At most: 32 bits, three in each."""


def decode_rvl(data: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint16]:
    """Decode a depth map.

    Args:
        data: (N,) uint8, little-endian words.
        size_hw: height and width of the map.

    Returns:
        (H, W) uint16.

    Raises:
        ValueError: it ends too early, or is no such code.
    """
    numbers = _numbers(data)
    n_pixels = size_hw[0] * size_hw[1]
    # where each run of differences stands among the numbers, and where its pixels stand in the map
    runs: list[tuple[int, int, int]] = []
    at, pixel = 0, 0
    while pixel < n_pixels:
        if at + 2 > len(numbers):
            raise ValueError(f"it ends after {pixel} of {n_pixels} pixels")
        zeros, others = int(numbers[at]), int(numbers[at + 1])
        at, pixel = at + 2, pixel + zeros
        if pixel + others > n_pixels or not zeros + others:
            raise ValueError(
                f"a run of {zeros} zeros and {others} others ends beyond its {n_pixels} pixels, or is empty"
            )
        runs.append((at, pixel, others))
        at, pixel = at + others, pixel + others
    if at > len(numbers):
        raise ValueError(f"it ends {at - len(numbers)} pixels too early")
    decoded = np.zeros(n_pixels, np.uint16)
    from_number, to_pixel, counts = (np.array(column) for column in zip(*runs, strict=True))
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    coded = numbers[np.repeat(from_number, counts) + within]
    # 16 bits that wrap around, as the encoder's do
    decoded[np.repeat(to_pixel, counts) + within] = ((coded >> 1) ^ -(coded & 1)).cumsum().astype(np.uint16)
    return decoded.reshape(size_hw)


def _numbers(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """All numbers, in order; those of the padding at the end among them."""
    words = data[: data.size // 4 * 4].view("<u4")
    nibbles = (words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32) & 15).ravel().astype(np.int64)
    ends = np.flatnonzero(nibbles < 8)
    if not ends.size:
        return np.zeros(0, np.int64)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > _NIBBLES_OF_A_NUMBER:
        raise ValueError("it has a number of over 32 bits")
    starts = ends - lengths + 1
    place = np.arange(ends[-1] + 1) - np.repeat(starts, lengths)
    return np.add.reduceat((nibbles[: ends[-1] + 1] & 7) << 3 * place, starts)
