"""Depth from messages: units come from the encoding (REP-118), never from a guess."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.metres import metres
from spda_sam_core.depth.rvl import decode_rvl
from spda_sam_core.messages.fields import CompressedImage, Image
from spda_sam_core.messages.image import ImageMessageError, decode_buffer, read_pixels

_CONFIG_HEADER = struct.Struct("<iff")
_RVL_SIZE = struct.Struct("<II")
_LARGEST_SIDE = 1 << 14


def decode_depth(message: Image) -> NDArray[np.float32]:
    """Read depth along the optical axis.

    Args:
        message: 32FC1 (metres) or 16UC1 (millimetres).

    Returns:
        (H, W) float32 metres; NaN where unknown (0, negative, NaN or inf in the message).

    Raises:
        ImageMessageError: another encoding, zero size, too little data, or a step that does not fit.
    """
    encoding = message.encoding.upper()
    if encoding == "32FC1":
        return metres(read_pixels(message, np.float32, 1))
    if encoding == "16UC1":
        return metres(read_pixels(message, np.uint16, 1))
    raise ImageMessageError(_not_depth(message.encoding))


def decode_compressed_depth(message: CompressedImage) -> NDArray[np.float32]:
    """Read what compressed_depth_image_transport publishes, as PNG or RVL.

    32FC1 is stored as 16-bit quantised inverse depth, with its two constants in a header of 12 bytes. Before RVL stand
    width and height, in 4 bytes each.

    Returns:
        (H, W) float32 metres, NaN where unknown.

    Raises:
        ImageMessageError: not 16UC1 or 32FC1, neither PNG nor RVL, or no data that decodes.
    """
    encoding = message.format.split(";")[0].strip().upper()
    if "compresseddepth" not in message.format.lower() or encoding not in ("16UC1", "32FC1"):
        raise ImageMessageError(_not_depth(message.format))
    if len(message.data) <= _CONFIG_HEADER.size:
        raise ImageMessageError(f"compressed depth of {len(message.data)} bytes is truncated")
    data = np.frombuffer(message.data, np.uint8)
    _, depth_quantisation, depth_offset = _CONFIG_HEADER.unpack(data[: _CONFIG_HEADER.size].tobytes())
    rest = data[_CONFIG_HEADER.size :]
    if "rvl" in message.format.lower():
        stored = _decode_rvl(rest, message.format)
    else:
        stored = decode_buffer(rest, cv2.IMREAD_UNCHANGED, message.format)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ImageMessageError(f"depth '{message.format}' holds {stored.dtype} {stored.shape}: need 16 bit")
    if encoding == "16UC1":
        return metres(stored)
    inverse = stored.astype(np.float32) - np.float32(depth_offset)
    known = (stored > 0) & (inverse > 0)
    depth_m = np.float32(depth_quantisation) / np.where(known, inverse, np.float32(1))
    return metres(np.where(known, depth_m, np.float32(np.nan)))


def _decode_rvl(data: NDArray[np.uint8], format_name: str) -> NDArray[np.uint16]:
    what = f"{data.size} bytes of format '{format_name}'"
    if data.size < _RVL_SIZE.size:
        raise ImageMessageError(f"{what} are truncated")
    width, height = _RVL_SIZE.unpack(data[: _RVL_SIZE.size].tobytes())
    if not 0 < width <= _LARGEST_SIDE or not 0 < height <= _LARGEST_SIDE:
        raise ImageMessageError(f"{what} say that they are {width}x{height} pixels: damaged, or no RVL")
    try:
        return decode_rvl(data[_RVL_SIZE.size :], (height, width))
    except ValueError as error:
        raise ImageMessageError(f"{what} cannot be decoded: {error}") from error


def _not_depth(encoding: str) -> str:
    return f"depth encoding '{encoding}' is not depth: publish 16UC1 (mm) or 32FC1 (m), see REP-118"
