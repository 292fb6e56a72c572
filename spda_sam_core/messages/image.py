"""Images of messages as arrays: `sensor_msgs/Image` and `CompressedImage`, without cv_bridge.

Everything here reads through NumPy views and OpenCV, so one path serves every NumPy and every distribution.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.messages.fields import CompressedImage, Image
from spda_sam_core.picture_file import is_cut_off

# encoding: (dtype, channels, conversion to RGB or None)
_PACKED: dict[str, tuple[type[np.generic], int, int | None]] = {
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8uc3": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "8uc4": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "rgb16": (np.uint16, 3, None),
    "bgr16": (np.uint16, 3, cv2.COLOR_BGR2RGB),
    "16uc3": (np.uint16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": (np.uint16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": (np.uint16, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8uc1": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "yuv422": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
# OpenCV names a pattern by its second row, ROS by its first
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
for _pattern, _conversion in _BAYER.items():
    _PACKED[f"bayer_{_pattern}8"] = (np.uint8, 1, _conversion)
    _PACKED[f"bayer_{_pattern}16"] = (np.uint16, 1, _conversion)

_HALVED = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21, "i420": cv2.COLOR_YUV2RGB_I420}
_PLANAR = (*_HALVED, "nv24")
# of Y, U and V in studio range to R, G and B (ITU-R BT.601), for which OpenCV has no conversion
_YUV_TO_RGB = np.array(
    [
        [255 / 219, 0, 1.402 * 255 / 224],
        [255 / 219, -0.344136 * 255 / 224, -0.714136 * 255 / 224],
        [255 / 219, 1.772 * 255 / 224, 0],
    ]
)
_YUV_TO_RGB = np.hstack([_YUV_TO_RGB, -_YUV_TO_RGB @ [[16], [128], [128]]])


class ImageMessageError(ValueError):
    """A message that holds no such image; says what it holds, what was expected and what to do."""


def decode_image(message: Image) -> NDArray[np.uint8]:
    """Read a colour or grey image.

    Args:
        message: rgb, bgr, rgba, bgra, mono or bayer_* of 8 or 16 bits, yuv422 (uyvy), yuv422_yuy2 (yuyv), nv12, nv21,
            nv24 or i420. 16-bit values are scaled so that 65535 is white.

    Returns:
        (H, W, 3) uint8 RGB; for rgb8 a view of the message's memory.

    Raises:
        ImageMessageError: zero size, too little data, a step that does not fit, or another encoding.
    """
    encoding = message.encoding.lower()
    if encoding in _PLANAR:
        return _rgb(_decode_planar(message, encoding))
    if encoding not in _PACKED:
        raise ImageMessageError(
            f"image encoding '{message.encoding}' is not one of {', '.join([*_PACKED, *_PLANAR])}: "
            "convert it in the camera driver, or with image_proc"
        )
    dtype, channels, conversion = _PACKED[encoding]
    if channels == 2:
        _require_even(message, rows=False)
    pixels = read_pixels(message, dtype, channels)
    rgb = pixels if conversion is None else cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    if rgb.dtype == np.uint16:
        rgb = cv2.convertScaleAbs(np.ascontiguousarray(rgb), alpha=255 / 65535)
    return _rgb(rgb)


def _decode_planar(message: Image, encoding: str) -> NDArray[Any]:
    """Luma first, then chroma: at half the rows, but for nv24."""
    height, width, step = message.height, message.width, message.step
    if encoding == "nv24":
        luma, chroma = _planes(message, (height, width, step), (height, 2 * width, 2 * step))
        yuv = np.dstack([luma, chroma.reshape(height, width, 2)])
        return cv2.transform(yuv, _YUV_TO_RGB)
    _require_even(message, rows=True)
    if encoding == "i420":
        quarter = (height // 2, width // 2, step // 2)
        planes = _planes(message, (height, width, step), quarter, quarter)
    else:
        planes = _planes(message, (height, width, step), (height // 2, width, step))
    one_below_the_other = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    return cv2.cvtColor(one_below_the_other, _HALVED[encoding])


def decode_compressed_image(message: CompressedImage) -> NDArray[np.uint8]:
    """Read a JPEG, PNG or whatever else OpenCV decodes, as compressed_image_transport publishes it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageMessageError: no data, or data that OpenCV cannot decode.
    """
    bayer = next((p for p in _BAYER if message.format.lower().startswith(f"bayer_{p}")), None)
    # some publishers compress the mosaic itself, others the colours that they made of it
    colour = cv2.IMREAD_COLOR if bayer is None else cv2.IMREAD_ANYCOLOR
    # a rotation in EXIF would make the size differ from that of depth and camera_info
    pixels = decode_buffer(message.data, colour | cv2.IMREAD_IGNORE_ORIENTATION, message.format)
    mosaic = bayer if pixels.ndim == 2 else None
    return _rgb(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if mosaic is None else _BAYER[mosaic]))


def read_pixels(message: Image, dtype: type[np.generic], channels: int) -> NDArray[Any]:
    """Return the pixels of a message in native byte order: (H, W), or (H, W, channels) for more than one.

    Raises:
        ImageMessageError: zero size, too little data, or a step that does not fit.
    """
    rows = _rows(message, message.height, message.width * channels * np.dtype(dtype).itemsize)
    pixels = rows.view(np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<"))
    native: NDArray[Any] = pixels.astype(dtype, copy=False)
    return native if channels == 1 else native.reshape(message.height, message.width, channels)


def decode_buffer(data: Any, flags: int, format_name: str) -> NDArray[Any]:
    """Decode a compressed picture with OpenCV.

    Raises:
        ImageMessageError: OpenCV cannot decode it, or it is cut off, which OpenCV would fill with grey.
    """
    buffer = np.frombuffer(data, np.uint8)
    if is_cut_off(buffer.tobytes()):
        raise ImageMessageError(
            f"{buffer.size} bytes of format '{format_name}' are cut off, their end is missing: check the transport"
        )
    try:
        pixels = cv2.imdecode(buffer, flags) if buffer.size else None
    except cv2.error as error:  # sizes beyond OpenCV's limits
        raise ImageMessageError(f"{buffer.size} bytes of format '{format_name}': {error}") from error
    if pixels is None:
        raise ImageMessageError(
            f"{buffer.size} bytes of format '{format_name}' are no picture that OpenCV can decode: "
            "truncated, or of a codec it lacks; publish jpeg or png"
        )
    return np.asarray(pixels)


def _rows(message: Image, n_rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """View the message's data as (n_rows, row_bytes) bytes, padding at the end of rows left out."""
    return _planes(message, (n_rows, row_bytes, message.step))[0]


def _planes(message: Image, *planes: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
    """View the message's data as planes, one after the other, of (rows, bytes in a row, bytes from row to row)."""
    row_bytes = planes[0][1]
    if message.height == 0 or message.width == 0:
        raise ImageMessageError(
            f"image of {message.width}x{message.height} pixels is empty: check the driver that publishes it"
        )
    if message.step < row_bytes:
        raise ImageMessageError(
            f"step is {message.step} bytes, but a row of {message.width} pixels {message.encoding} takes "
            f"{row_bytes}: the publisher's width, step or encoding is wrong"
        )
    ends = list(accumulate(rows * step for rows, _, step in planes))
    _, last_bytes, last_step = planes[-1]
    if len(message.data) < ends[-1] - last_step + last_bytes:  # the last row may lack its padding
        raise ImageMessageError(
            f"data has {len(message.data)} bytes, but {message.width}x{message.height} {message.encoding} "
            f"with step {message.step} needs {ends[-1]}: truncated, or wrong size or encoding"
        )
    data = np.frombuffer(message.data, np.uint8)
    return [
        np.lib.stride_tricks.as_strided(data[begin:], shape=(rows, width), strides=(step, 1), writeable=False)
        for begin, (rows, width, step) in zip((0, *ends), planes, strict=False)
    ]


def _require_even(message: Image, *, rows: bool) -> None:
    if message.width % 2 or (rows and message.height % 2):
        raise ImageMessageError(
            f"image of {message.width}x{message.height} pixels: {message.encoding} shares colour between "
            "neighbours and needs even sizes"
        )


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels, np.uint8)
