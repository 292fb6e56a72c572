"""Image and depth messages to arrays: every encoding against pixels worked out by hand, and every refusal."""

import struct
import sys
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from spda_sam_core.messages.depth import decode_compressed_depth, decode_depth
from spda_sam_core.messages.image import ImageMessageError, decode_compressed_image, decode_image
from spda_sam_ros.messages.results import encode_image

HEIGHT, WIDTH = 6, 8
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
MONO = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)


def message(pixels, encoding, padding=0, big_endian=False, height=HEIGHT, width=WIDTH):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def grey(mono):
    return np.repeat(mono[:, :, None], 3, axis=2)


PACKED = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "8UC3": (RGB[..., ::-1], RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], 2), RGB),
    "bgra8": (np.concatenate([RGB[..., ::-1], ALPHA], 2), RGB),
    "mono8": (MONO, grey(MONO)),
    "8UC1": (MONO, grey(MONO)),
    "mono16": (MONO.astype("<u2") * 257, grey(MONO)),
    "rgb16": (RGB.astype("<u2") * 257, RGB),
    "bgr16": (RGB[..., ::-1].astype("<u2") * 257, RGB),
    "16UC3": (RGB[..., ::-1].astype("<u2") * 257, RGB),
    "rgba16": (np.concatenate([RGB, ALPHA], 2).astype("<u2") * 257, RGB),
    "bgra16": (np.concatenate([RGB[..., ::-1], ALPHA], 2).astype("<u2") * 257, RGB),
}


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", PACKED)
def test_packed_encodings_become_rgb_whatever_the_row_padding(encoding, padding):
    pixels, expected = PACKED[encoding]
    rgb = decode_image(message(pixels, encoding, padding))
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, expected)


def test_big_endian_mono16():
    rgb = decode_image(message(MONO.astype(">u2") * 257, "mono16", big_endian=True))
    np.testing.assert_array_equal(rgb, grey(MONO))


def test_rgb8_is_not_copied():
    source = message(RGB, "rgb8")
    assert np.shares_memory(decode_image(source), np.frombuffer(source.data, np.uint8))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_name_the_first_two_rows(pattern, bits):
    colour = {"r": 200, "g": 120, "b": 40}
    cell = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(cell, (HEIGHT // 2, WIDTH // 2))
    if bits == 16:
        mosaic = mosaic.astype("<u2") * 257
    rgb = decode_image(message(mosaic, f"bayer_{pattern}{bits}"))
    np.testing.assert_array_equal(rgb, np.broadcast_to([200, 120, 40], rgb.shape))


def yuv(r, g, b):
    """BT.601, studio range, as video cameras send it (ITU-R BT.601, 8 bit)."""
    return (
        round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255),
        round(128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255),
        round(128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255),
    )


LEFT, RIGHT = (200, 60, 30), (20, 90, 220)


HALF = WIDTH // 2


def left_and_right():
    """Luma (HEIGHT, WIDTH), and U and V (HEIGHT, HALF), of a picture of two colours."""
    luma = np.empty((HEIGHT, WIDTH), np.uint8)
    u, v = np.empty((2, HEIGHT, HALF), np.uint8)
    luma[:, :HALF], u[:, : HALF // 2], v[:, : HALF // 2] = yuv(*LEFT)
    luma[:, HALF:], u[:, HALF // 2 :], v[:, HALF // 2 :] = yuv(*RIGHT)
    return luma, u, v


def assert_left_and_right(rgb):
    assert np.abs(rgb[:, :HALF].astype(int) - LEFT).max() <= 3
    assert np.abs(rgb[:, HALF:].astype(int) - RIGHT).max() <= 3


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_yuv_encodings(encoding):
    luma, u, v = left_and_right()
    if encoding.startswith("nv"):
        chroma = [u, v] if encoding == "nv12" else [v, u]
        data = np.concatenate([luma, np.stack(chroma, -1)[: HEIGHT // 2].reshape(-1, WIDTH)])
    else:
        pairs = luma.reshape(HEIGHT, HALF, 2)
        order = [u, pairs[..., 0], v, pairs[..., 1]]
        if encoding in ("yuv422_yuy2", "yuyv"):
            order = [pairs[..., 0], u, pairs[..., 1], v]
        data = np.stack(order, -1).reshape(HEIGHT, -1)
    assert_left_and_right(decode_image(message(data, encoding, padding=4)))


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("encoding", ["nv24", "i420"])
def test_yuv_encodings_whose_rows_of_chroma_have_another_length(encoding, padding):
    luma, u, v = left_and_right()
    if encoding == "nv24":
        chroma = [np.repeat(np.stack([u, v], -1), 2, axis=1).reshape(HEIGHT, 2 * WIDTH)]
        chroma_padding = 2 * padding
    else:
        chroma = [u[: HEIGHT // 2], v[: HEIGHT // 2]]
        chroma_padding = padding // 2
    planes = [np.pad(luma, ((0, 0), (0, padding))), *(np.pad(c, ((0, 0), (0, chroma_padding))) for c in chroma)]
    data = np.concatenate([plane.ravel() for plane in planes]).tobytes()
    image = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH + padding, data=array("B", data))
    assert_left_and_right(decode_image(image))
    image.data = image.data[:-20]
    with pytest.raises(ImageMessageError, match=f"with step {WIDTH + padding} needs {len(data)}: truncated"):
        decode_image(image)


def test_compressed_images_of_both_codecs():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    for extension, tolerance in ((".png", 0), (".jpg", 25)):
        data = cv2.imencode(extension, cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR))[1].tobytes()
        rgb = decode_compressed_image(CompressedImage(format=f"bgr8; {extension[1:]}", data=array("B", data)))
        assert rgb.shape == smooth.shape
        assert np.abs(rgb.astype(int) - smooth).mean() <= tolerance / 4
        assert np.abs(rgb.astype(int) - smooth).max() <= tolerance * 4


def test_compressed_bayer_is_demosaiced():
    mosaic = np.tile(np.array([[200, 120], [120, 40]], np.uint8), (8, 8))
    data = array("B", cv2.imencode(".png", mosaic)[1].tobytes())
    rgb = decode_compressed_image(CompressedImage(format="bayer_rggb8; png compressed bayer_rggb8", data=data))
    np.testing.assert_array_equal(rgb, np.broadcast_to([200, 120, 40], rgb.shape))


def test_colours_that_were_made_of_bayer_before_compressing_stay_as_they_are():
    data = array("B", cv2.imencode(".png", cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR))[1].tobytes())
    rgb = decode_compressed_image(CompressedImage(format="bayer_rggb8; png compressed bgr8", data=data))
    np.testing.assert_array_equal(rgb, RGB)


def changed(**fields):
    image = message(RGB, "rgb8")
    for name, value in fields.items():
        setattr(image, name, value)
    return image


REFUSED = {
    "data shorter than step * height": (
        changed(data=array("B", bytes(100))),
        "data has 100 bytes, but 8x6 rgb8 with step 24 needs 144",
    ),
    "no data": (changed(data=array("B")), "data has 0 bytes"),
    "zero width": (changed(width=0), "image of 0x6 pixels is empty"),
    "zero height": (changed(height=0), "image of 8x0 pixels is empty"),
    "all zero": (Image(encoding="rgb8"), "image of 0x0 pixels is empty"),
    "step too small": (changed(step=20), "step is 20 bytes, but a row of 8 pixels rgb8 takes 24"),
    "step zero": (changed(step=0), "step is 0 bytes"),
    "unknown encoding": (changed(encoding="hsv8"), "image encoding 'hsv8' is not one of rgb8, "),
    "no encoding": (changed(encoding=""), "image encoding '' is not one of"),
    "depth as image": (changed(encoding="32FC1"), "image encoding '32FC1' is not one of"),
    "odd width in nv12": (changed(encoding="nv12", width=7), "nv12 shares colour between neighbours"),
    "nv12 without chroma": (
        changed(encoding="nv12", step=8, data=array("B", bytes(48))),
        "data has 48 bytes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_images_are_refused_with_the_reason(case):
    image, text = REFUSED[case]
    with pytest.raises(ImageMessageError) as error:
        decode_image(image)
    assert text in str(error.value)


def test_the_padding_of_the_last_row_may_be_missing():
    image = message(RGB, "rgb8", padding=8)
    image.data = array("B", image.data.tobytes()[:-8])
    np.testing.assert_array_equal(decode_image(image), RGB)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_compressed_data_which_is_no_picture_is_refused(data):
    with pytest.raises(ImageMessageError, match="no picture that OpenCV can decode"):
        decode_compressed_image(CompressedImage(format="png", data=array("B", data)))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_compressed_picture_that_was_cut_off_is_refused_not_filled_with_grey(ending):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(f".{ending}", noise)[1].tobytes()
    whole = CompressedImage(format=ending, data=array("B", data + b"\0" * 50))
    assert decode_compressed_image(whole).shape == noise.shape
    with pytest.raises(ImageMessageError, match="are cut off, their end is missing: check the transport"):
        decode_compressed_image(CompressedImage(format=ending, data=array("B", data[:-2000])))


def test_encode_image_is_what_decode_reads():
    header = Header(frame_id="camera")
    label = RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    image = encode_image(label, "mono16", header)
    assert (image.height, image.width, image.step, image.encoding) == (HEIGHT, WIDTH, 2 * WIDTH, "mono16")
    assert image.header == header
    assert image.is_bigendian == (sys.byteorder == "big")
    np.testing.assert_array_equal(np.frombuffer(image.data, np.uint16).reshape(HEIGHT, WIDTH), label)
    np.testing.assert_array_equal(decode_image(encode_image(RGB[:, ::-1], "rgb8", header)), RGB[:, ::-1])


# Depth


def test_16uc1_is_millimetres_and_zero_is_unknown():
    depth_mm = np.array([[0, 1, 1500], [65535, 20, 3]], "<u2")
    depth_m = decode_depth(message(depth_mm, "16UC1", height=2, width=3))
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, [[np.nan, 0.001, 1.5], [65.535, 0.02, 0.003]], rtol=1e-6)


def test_32fc1_is_metres_and_what_cannot_be_a_depth_is_unknown():
    values = np.array([[0.0, -1.0, np.nan], [np.inf, -np.inf, 2.5]], "<f4")
    depth_m = decode_depth(message(values, "32FC1", padding=4, height=2, width=3))
    np.testing.assert_array_equal(depth_m, np.array([[np.nan] * 3, [np.nan, np.nan, 2.5]], np.float32))


def test_big_endian_depth():
    depth_m = decode_depth(message(np.array([[1500]], ">u2"), "16UC1", big_endian=True, height=1, width=1))
    assert depth_m[0, 0] == pytest.approx(1.5)


def test_an_encoding_without_unit_is_no_depth():
    with pytest.raises(ImageMessageError) as error:
        decode_depth(message(RGB, "rgb8"))
    assert str(error.value) == ("depth encoding 'rgb8' is not depth: publish 16UC1 (mm) or 32FC1 (m), see REP-118")


def compressed_depth(stored, format_name, constants=(0.0, 0.0)):
    data = struct.pack("<iff", 0, *constants) + cv2.imencode(".png", stored)[1].tobytes()
    return CompressedImage(format=format_name, data=array("B", data))


def test_compressed_depth_in_millimetres():
    stored = np.array([[0, 1500], [700, 65535]], np.uint16)
    depth_m = decode_compressed_depth(compressed_depth(stored, "16UC1; compressedDepth png"))
    np.testing.assert_allclose(depth_m, [[np.nan, 1.5], [0.7, 65.535]], rtol=1e-6)


def test_compressed_depth_in_metres_is_quantised_inverse_depth():
    depth_m = np.array([[0.5, 2.0], [7.5, np.nan]])
    # as compressed_depth_image_transport encodes it: quantisation 100, largest depth 10 m
    a = 100.0 * (100.0 + 1.0)
    b = 1.0 - a / 10.0
    stored = np.where(np.isnan(depth_m), 0, np.round(a / np.nan_to_num(depth_m, nan=1.0) + b)).astype(np.uint16)
    decoded = decode_compressed_depth(compressed_depth(stored, "32FC1; compressedDepth", (a, b)))
    np.testing.assert_allclose(decoded, depth_m, rtol=0.01)


def rvl_depth(word, size):
    data = struct.pack("<iffIII", 0, 0.0, 0.0, *size, word)
    return CompressedImage(format="16UC1; compressedDepth rvl", data=array("B", data))


def test_compressed_depth_may_be_rvl_with_width_and_height_before_it():
    # 1 zero, 2 others: 5 more than nothing, 2 less than that; test/core/depth/test_rvl.py has the code itself
    depth_m = decode_compressed_depth(rvl_depth(0x1_2_A_1_3_0_0_0, (3, 1)))
    np.testing.assert_allclose(depth_m, [[np.nan, 0.005, 0.003]], rtol=1e-6)


@pytest.mark.parametrize(
    ("compressed", "text"),
    [
        (compressed_depth(np.ones((2, 2), np.uint16), "16UC1; compressedDepth rvl"), "damaged, or no RVL"),
        (rvl_depth(0x01F00000, (3, 1)), "bytes of format '16UC1; compressedDepth rvl' cannot be decoded: "),
        (compressed_depth(np.ones((2, 2), np.uint16), "bgr8; jpeg compressed bgr8"), "is not depth"),
        (compressed_depth(np.ones((2, 2), np.uint8), "16UC1; compressedDepth"), "need 16 bit"),
        (CompressedImage(format="16UC1; compressedDepth", data=array("B", bytes(5))), "truncated"),
        (CompressedImage(format="16UC1; compressedDepth", data=array("B", bytes(50))), "no picture"),
    ],
)
def test_compressed_depth_which_cannot_be_read_is_refused(compressed, text):
    with pytest.raises(ImageMessageError, match=text):
        decode_compressed_depth(compressed)
