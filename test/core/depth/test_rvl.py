"""RVL: depth maps come back bit for bit from an encoder written after the paper, one number at a time."""

import numpy as np
import pytest

from spda_sam_core.depth.rvl import decode_rvl

RNG = np.random.default_rng(0)


def encode_rvl(depth: np.ndarray) -> np.ndarray:
    """Wilson 2017, figure 1, in Python's integers."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            nibble, number = number & 7, number >> 3
            nibbles.append(nibble | (8 if number else 0))
            if not number:
                return

    pixels = depth.ravel().tolist()
    i, previous = 0, 0
    while i < len(pixels):
        start = i
        while i < len(pixels) and not pixels[i]:
            i += 1
        put(i - start)
        run = i
        while run < len(pixels) and pixels[run]:
            run += 1
        put(run - i)
        for pixel in pixels[i:run]:
            delta, previous = pixel - previous, pixel
            put(2 * delta if delta >= 0 else -2 * delta - 1)
        i = run
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[j : j + 8]), 16) for j in range(0, len(nibbles), 8)]
    return np.array(words, "<u4").view(np.uint8)


ramp = np.add.outer(np.arange(48) * 7, np.arange(64) * 11).astype(np.uint16)
holes = np.where(RNG.random((48, 64)) < 0.3, 0, ramp).astype(np.uint16)
MAPS = {
    "a slope": ramp + 500,
    "with holes": holes,
    "noise over all 16 bits": RNG.integers(0, 65536, (48, 64)).astype(np.uint16),
    "nothing known": np.zeros((48, 64), np.uint16),
    "zeros at both ends": np.pad(ramp[:4, :6] + 1, 3),
    "a single pixel": np.array([[65535]], np.uint16),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_come_back_bit_for_bit(name) -> None:
    decoded = decode_rvl(encode_rvl(MAPS[name]), MAPS[name].shape)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, MAPS[name])


def test_a_word_begins_with_its_topmost_nibble() -> None:
    """By hand: 0 zeros, 2 others; 5 is the difference 5, coded 10 (octal 12); then -2, coded 3."""
    word = 0x0_2_A_1_3_0_0_0
    np.testing.assert_array_equal(decode_rvl(np.array([word], "<u4").view(np.uint8), (1, 2)), [[5, 3]])


@pytest.mark.parametrize("kept", [0, 4, 400, 2000])
def test_what_is_cut_off_is_refused(kept) -> None:
    with pytest.raises(ValueError, match="it ends "):
        decode_rvl(encode_rvl(MAPS["noise over all 16 bits"])[:kept], (48, 64))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([0xFFFFFFFF, 0xFFFFFFF0], "a number of over 32 bits"),
        ([0xF7000000], r"a run of 63 zeros and 0 others ends beyond its 4 pixels"),
        ([0], "or is empty"),
    ],
)
def test_what_is_no_such_code_is_refused(words, text) -> None:
    with pytest.raises(ValueError, match=text):
        decode_rvl(np.array(words, "<u4").view(np.uint8), (2, 2))
