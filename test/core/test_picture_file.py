"""Pictures as phones, cameras and labelling tools leave them are read as their owners see them, or refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from spda_sam_core.picture_file import bits_of, is_cut_off, read_picture, read_pixels

NOISE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
CORNERS = np.zeros((24, 40, 3), np.uint8)
CORNERS[:8, :16] = (250, 0, 0)
CORNERS[16:, 24:] = (0, 250, 0)
CORNERS[:8, 24:] = (0, 0, 250)


def encoded(rgb: np.ndarray, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, kind, **options)
    return content.getvalue()


def turned(kind: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(CORNERS, kind, exif=exif, **options)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_a_picture_is_seen_upright_as_its_exif_says(
    tmp_path: Path, kind: str, options: dict[str, object], orientation: int
) -> None:
    path = written(tmp_path / f"a.{kind.lower()}", turned(kind, orientation, **options))
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert expected.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    rgb = read_picture(path).rgb
    assert rgb.shape == expected.shape
    assert np.abs(rgb.astype(int) - expected).max() < 30
    assert np.array_equal(read_pixels(path)[..., ::-1], rgb)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_labels_of_the_pixels_as_stored_get_those(tmp_path: Path, orientation: int) -> None:
    path = written(tmp_path / "a.png", turned("PNG", orientation))
    as_stored = read_picture(path, size_hw=(24, 40))
    assert as_stored.as_stored
    np.testing.assert_array_equal(as_stored.rgb, CORNERS)
    assert not read_picture(path, size_hw=(40, 24)).as_stored
    with pytest.raises(ValueError, match=r"\(40, 24\) pixels \(height, width\), \(24, 40\) as stored, but .* \(9, 9\)"):
        read_picture(path, size_hw=(9, 9))


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_labels_that_fit_both_ways_are_those_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    picture = read_picture(written(tmp_path / "a.png", turned("PNG", orientation)), size_hw=(24, 40))
    assert not picture.as_stored
    assert not np.array_equal(picture.rgb, CORNERS)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_of_either_byte_order_is_read(tmp_path: Path, order: str, kind: int) -> None:
    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    value = number(6, 2 if kind == 3 else 4).ljust(4, b"\0")
    entry = number(0x0112, 2) + number(kind, 2) + number(1, 4) + value
    tiff = (b"II" if order == "little" else b"MM") + number(42, 2) + number(8, 4) + number(1, 2) + entry + number(0, 4)
    path = written(tmp_path / "a.jpg", encoded(CORNERS, "JPEG", exif=b"Exif\0\0" + tiff))
    assert read_picture(path).rgb.shape[:2] == (40, 24)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0junk" * 9]
)
def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path, exif: bytes) -> None:
    content = encoded(CORNERS, "JPEG")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    assert read_picture(written(tmp_path / "a.jpg", content[:2] + segment + content[2:])).rgb.shape == (24, 40, 3)


WHOLE = {
    "baseline.jpg": encoded(NOISE, "JPEG"),
    "progressive.jpg": encoded(NOISE, "JPEG", progressive=True),
    "restarts.jpg": encoded(NOISE, "JPEG", restart_marker_rows=1),
    "grey.jpg": encoded(NOISE[..., 0], "JPEG"),
    "a.png": encoded(NOISE, "PNG"),
    "palette.png": encoded(NOISE[..., 0] // 32, "PNG"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "trailer", [b"", b"\0" * 5000, b"\xff" * 9, NOISE.tobytes()[:5000], WHOLE["baseline.jpg"][:900]]
)
def test_what_stands_behind_the_end_of_a_picture_does_not_matter(tmp_path: Path, name: str, trailer: bytes) -> None:
    plain = read_picture(written(tmp_path / name, WHOLE[name])).rgb
    np.testing.assert_array_equal(read_picture(written(tmp_path / name, WHOLE[name] + trailer)).rgb, plain)


def thumbnail_in_front(content: bytes) -> bytes:
    thumbnail = b"Exif\0\0" + encoded(NOISE[:16, :16], "JPEG")
    return content[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + content[2:]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.35, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("padding", [b"", b"\0" * 5000, WHOLE["baseline.jpg"], WHOLE["a.png"]])
def test_a_picture_that_was_cut_off_is_refused(tmp_path: Path, name: str, share: float, padding: bytes) -> None:
    content = thumbnail_in_front(WHOLE[name]) if name.endswith("jpg") else WHOLE[name]
    assert not is_cut_off(content)
    path = written(tmp_path / name, content[: int(share * len(content))] + padding)
    with pytest.raises(ValueError, match=rf"{name}: cut off, its end is missing after \d+ bytes: copy it again"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff", b"BM" + b"\0" * 60])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.png: missing or not a picture"):
        read_picture(written(tmp_path / "a.png", content))
    with pytest.raises(FileNotFoundError, match=r"b\.png: missing, no such file"):
        read_picture(tmp_path / "b.png")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_of_so_many_bits_span_black_to_white(tmp_path: Path, bits: int) -> None:
    top = (1 << bits) - 1
    stored = np.array([[0, top // 4, top // 2, top]], np.uint16)
    for ending in ("png", "tiff"):
        path = tmp_path / f"a.{ending}"
        cv2.imwrite(str(path), np.repeat(stored[..., None], 3, axis=2))
        picture = read_picture(path, bits=bits)
        assert picture.highest == top
        assert np.abs(picture.rgb[0, :, 0].astype(float) - stored[0] / top * 255).max() <= 0.5
        assert bits_of(picture.highest) == (bits if bits < 16 else None)


def test_without_bits_65535_is_white_and_with_too_few_the_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 4095, 65535]], np.uint16))
    assert read_picture(path).rgb[0, :, 1].tolist() == [0, 15, 255]
    with pytest.raises(ValueError, match=r"a\.png: value 65535 does not fit into bits: 12: write 16 or more"):
        read_picture(path, bits=12)


def test_pictures_of_8_bits_are_the_same_whatever_the_bits(tmp_path: Path) -> None:
    picture = read_picture(written(tmp_path / "a.png", WHOLE["a.png"]), bits=12)
    np.testing.assert_array_equal(picture.rgb, NOISE)
    assert picture.highest is None


def test_other_types_of_values_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), np.ones((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match=r"a\.tiff: float32 values: save pictures with 8 or 16 bits"):
        read_picture(tmp_path / "a.tiff")
