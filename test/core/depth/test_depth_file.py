"""Depth files: millimetres and metres; what is unknown; what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from spda_sam_core.depth.depth_file import read_depth_m

METRES = np.array([[1.5, 0.0, 65.535]], np.float32)


def written(path: Path, values: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), values)
    return path


@pytest.mark.parametrize(("name", "values"), [
    ("d.png", (METRES * 1000).astype(np.uint16)), ("d.tiff", METRES), ("e.tiff", np.where(METRES, METRES, np.inf)),
    ("f.tiff", np.where(METRES, METRES, -1).astype(np.float32)),
])  # fmt: skip
def test_millimetres_and_metres_are_the_same_depth(tmp_path: Path, name: str, values: np.ndarray) -> None:
    depth_m = read_depth_m(written(tmp_path / name, values), (1, 3))
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, [[1.5, np.nan, 65.535]], rtol=1e-6)


@pytest.mark.parametrize(
    "values", [np.zeros((1, 3), np.uint8), np.zeros((1, 3, 3), np.uint16), np.zeros((3, 1), np.uint16)]
)
def test_what_is_no_depth_of_that_picture_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"d\.png: uint\d+ \(.*expected \(1, 3\) pixels .*uint16 millimetres"):
        read_depth_m(written(tmp_path / "d.png", values), (1, 3))
