"""Picture files as people have them: whole or refused, upright as their EXIF says, 8 bits of however many are stored.

Masks are drawn on what a labelling tool shows, which is the upright picture. OpenCV turns some formats and not others,
and that differs between its versions: here every format that keeps an orientation is turned by us.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""In lower case: what is taken for a picture where a folder is searched."""
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_SCAN_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the compressed data of a JPEG: stuffed bytes, restarts and fill bytes belong to the data."""
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})
_START_OF_JPEG, _START_OF_SCAN, _END_OF_JPEG, _APP1 = 0xD8, 0xDA, 0xD9, 0xE1
_ORIENTATION_TAG, _LONG = 0x0112, 4


class Picture(NamedTuple):
    """A colour picture.

    Attributes:
        rgb: (H, W, 3) uint8, R G B.
        highest: the highest value in a file of 16 bits; None for one of 8.
        as_stored: whether an orientation in the file was left aside, because the size that was asked for is that of the
            pixels as stored.
    """

    rgb: NDArray[np.uint8]
    highest: int | None = None
    as_stored: bool = False


def read_picture(path: Path, *, bits: int | None = None, size_hw: tuple[int, int] | None = None) -> Picture:
    """Read a colour or grey picture, upright.

    Args:
        path: a file that OpenCV can read.
        bits: bits of a value in files of 16 bits, 8 to 16: 12 makes 4095 white; None: 65535 is white. Files of 8 bits
            are what they are.
        size_hw: the height and width to expect; where only the pixels as stored have it, they are not turned.

    Raises:
        FileNotFoundError: no such file, or no picture.
        ValueError: cut off, values of another type or above `bits`, or another size.
    """
    content = _content(path)
    pixels = decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION, path)
    stored_hw, turn = pixels.shape[:2], orientation(content)
    turned = upright(pixels, turn)
    as_stored = size_hw is not None and turned.shape[:2] != size_hw == stored_hw
    chosen = pixels if as_stored else turned
    if size_hw is not None and chosen.shape[:2] != size_hw:
        flipped = "" if stored_hw == chosen.shape[:2] else f", {stored_hw} as stored"
        raise ValueError(
            f"{path}: {chosen.shape[:2]} pixels (height, width){flipped}, but the COCO file says {size_hw}"
        )
    rgb = np.ascontiguousarray(chosen[..., ::-1])
    if rgb.dtype == np.uint8:
        return Picture(rgb, as_stored=as_stored)
    if rgb.dtype != np.uint16:
        raise ValueError(f"{path}: {rgb.dtype} values: save pictures with 8 or 16 bits")
    highest = int(rgb.max())
    return Picture(_eight_bits(rgb, highest, bits, path), highest, as_stored)


def bits_of(highest: int) -> int | None:
    """How many bits a camera seems to have, of whose 16-bit files this is the highest value; None: all of them."""
    return next((bits for bits in (8, 10, 12, 14) if highest < 1 << bits), None)


def told_dark(picture: Picture) -> str | None:
    """That a picture of 16 bits is nearly black, because its camera has filled fewer; None where it is not."""
    if picture.highest is None or bits_of(picture.highest) is None:
        return None
    return f"its highest value is {picture.highest} of 65535, nearly black: save it with 8 bits, or use all 16"


def _eight_bits(rgb: NDArray[np.uint16], highest: int, bits: int | None, path: Path) -> NDArray[np.uint8]:
    if bits is None:
        return (rgb >> 8).astype(np.uint8)
    if highest >> bits:
        raise ValueError(
            f"{path}: value {highest} does not fit into bits: {bits}: write {highest.bit_length()} or more"
        )
    levels = np.arange(1 << bits) * (255 / ((1 << bits) - 1))
    brightness: NDArray[np.uint8] = np.rint(levels).astype(np.uint8)[rgb]
    return brightness


def read_pixels(path: Path) -> NDArray[np.generic]:
    """The values in a file as they are, (H, W) or (H, W, channels) in OpenCV's order, upright.

    Raises:
        FileNotFoundError: no such file, or no picture.
        ValueError: cut off.
    """
    content = _content(path)
    return upright(decode(content, cv2.IMREAD_UNCHANGED, path), orientation(content))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing, no such file")
    return path.read_bytes()


def decode(content: bytes, flags: int, path: Path) -> NDArray[np.generic]:
    """What OpenCV makes of the content of a whole file with these flags; `path` is for the errors of `read_pixels`."""
    # OpenCV fills what is missing with grey and says nothing
    if is_cut_off(content):
        raise ValueError(f"{path}: cut off, its end is missing after {len(content)} bytes: copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:  # such as more pixels than OpenCV takes
        image = None
    if image is None:
        raise FileNotFoundError(f"{path}: missing or not a picture that OpenCV can read ({len(content)} bytes)")
    return image


def is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG ends before its end mark; what stands behind that mark, or in a thumbnail, does not count.

    Other formats end where their header says, which their decoders see.
    """
    if content.startswith(_JPEG):
        return all(marker != _END_OF_JPEG for marker, _ in _jpeg_segments(content))
    if content.startswith(_PNG):
        return all(kind != b"IEND" for kind, _ in _png_chunks(content))
    return False


def orientation(content: bytes) -> int:
    """The orientation 1 to 8 in the EXIF data of a JPEG, PNG or WebP file; 1, which is upright, where there is none.

    OpenCV turns TIFF files itself, whatever it is asked.
    """
    for exif in _exif_blocks(content):
        try:
            found = _exif_orientation(exif.removeprefix(b"Exif\0\0"))
        except struct.error:  # damaged
            continue
        if found is not None:
            return found
    return 1


def upright(pixels: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """(H, W) or (H, W, channels) as stored to how it is meant to be seen, for an orientation of EXIF."""
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and what belongs to them, as far as they are whole; the last is the end mark, where there is one."""
    at = 2
    while (at := content.find(b"\xff", at)) >= 0:
        while content[at + 1 : at + 2] == b"\xff":
            at += 1
        if at + 1 >= len(content):
            return
        marker = content[at + 1]
        at += 2
        if marker == _END_OF_JPEG:
            yield marker, b""
            return
        if marker in _WITHOUT_LENGTH:
            continue
        if marker == _START_OF_JPEG:  # the rest is missing, and another file follows
            return
        end = at + int.from_bytes(content[at : at + 2], "big")
        if end > len(content) or end < at + 2:
            return
        yield marker, content[at + 2 : end]
        at = end
        if marker == _START_OF_SCAN:
            data_ends = _SCAN_ENDS.search(content, at)
            if data_ends is None:
                return
            at = data_ends.start()


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and data of the chunks that are whole."""
    at = len(_PNG)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if at + 12 + length > len(content):
            return
        yield kind, content[at + 8 : at + 8 + length]
        at += 12 + length


def _exif_blocks(content: bytes) -> Iterator[bytes]:
    if content.startswith(_JPEG):
        for marker, data in _jpeg_segments(content):
            if marker == _START_OF_SCAN:
                return
            if marker == _APP1 and data.startswith(b"Exif\0\0"):
                yield data
    elif content.startswith(_PNG):
        yield from (data for kind, data in _png_chunks(content) if kind == b"eXIf")
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(content):
            kind, length = struct.unpack_from("<4sI", content, at)
            if kind == b"EXIF":
                yield content[at + 8 : at + 8 + length]
            at += 8 + length + length % 2


def _exif_orientation(tiff: bytes) -> int | None:
    """The orientation in EXIF data, None where it has none that is valid; struct.error where it is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
        if tag == _ORIENTATION_TAG:
            (value,) = struct.unpack_from(order + ("I" if kind == _LONG else "H"), tiff, entry + 8)
            return value if 1 <= value <= 8 else None
    return None


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write a picture by its suffix, B G R or grey; OSError says what OpenCV keeps to itself."""
    done, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))
    if not done:
        raise OSError(f"{path}: OpenCV cannot encode {pixels.shape} pixels as {path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())
