"""Depth of every kind becomes metres or relative inverse depth; damaged files and foreign paths are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.pictures import MILLIMETRES, DepthImages, inside, read_depth_m, read_relative_inverse_depth

STEREO = DepthImages("disparity", focal_px=2000.0, baseline_m=0.25)


def written(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def test_millimetres_become_metres_and_0_unknown(tmp_path: Path) -> None:
    path = written(tmp_path / "d.png", np.array([[0, 1, 65535]], np.uint16))
    np.testing.assert_allclose(read_depth_m(path, (1, 3), MILLIMETRES), [[np.nan, 0.001, 65.535]], rtol=1e-6)


def test_disparity_becomes_metres_by_focal_length_and_baseline(tmp_path: Path) -> None:
    # as Cityscapes documents it: d = (p - 1) / 256, p = 0 unknown; here depth = 500 / d
    path = written(tmp_path / "d.png", np.array([[0, 1, 257, 12801]], np.uint16))
    np.testing.assert_allclose(read_depth_m(path, (1, 4), STEREO), [[np.nan, np.nan, 500.0, 10.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_relative_depth_grows_towards_the_camera_whatever_its_polarity(tmp_path: Path, dtype: type) -> None:
    path = written(tmp_path / "d.png", np.array([[0, 10, np.iinfo(dtype).max]], dtype))
    bright, dark = (
        read_relative_inverse_depth(path, (1, 3), DepthImages("relative", near=near)) for near in ("bright", "dark")
    )
    assert bright.dtype == np.float32
    assert bright[0].tolist() == [0, 10, np.iinfo(dtype).max]
    assert (bright + dark == np.iinfo(dtype).max).all()


def test_grey_saved_as_colour_is_relative_depth_and_colour_is_not(tmp_path: Path) -> None:
    relative = DepthImages("relative", near="bright")
    grey = np.full((4, 5, 3), 7, np.uint8)
    assert (read_relative_inverse_depth(written(tmp_path / "g.png", grey), (4, 5), relative) == 7).all()
    grey[0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"c\.png: uint8 \(4, 5, 3\), expected a grey PNG"):
        read_relative_inverse_depth(written(tmp_path / "c.png", grey), (4, 5), relative)


def test_a_depth_image_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64), np.uint16)
    path = written(tmp_path / "d.png", noise)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"d\.png: cut off, its end is missing after \d+ bytes: copy it again"):
        read_depth_m(path, (64, 64), MILLIMETRES)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"kind": "meters"}, "kind: 'meters': choose one of millimetres, disparity, relative"),
        ({"kind": "relative"}, "relative depth needs near: bright or near: dark"),
        ({"kind": "relative", "near": "white"}, "near: 'white': choose one of bright, dark"),
        ({"kind": "millimetres", "near": "dark"}, "the other kinds have none"),
        ({"kind": "disparity", "focal_px": 100.0}, "disparity needs both, above 0"),
        ({"kind": "disparity", "focal_px": 100.0, "baseline_m": 0.0}, "disparity needs both, above 0"),
        ({"kind": "millimetres", "focal_px": 1.0, "baseline_m": 1.0}, "the other kinds have neither"),
    ],
)
def test_what_depth_images_mean_must_be_said_in_full(entries: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthImages(**entries)


def test_names_stay_inside_their_folder() -> None:
    assert inside(Path("a"), "b/c.png") == Path("a/b/c.png")
    for name in ("../c.png", "b/../../c.png", "/etc/passwd", "..\\c.png", "C:\\c.png", "", "b\0.png"):
        with pytest.raises(ValueError, match="leads out of a: give a name relative to that folder"):
            inside(Path("a"), name)
