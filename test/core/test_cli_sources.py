"""What `spda-sam predict` is given is seen upright, or named as damaged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from spda_sam_core.cli.sources import Pictures

NOISE = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_looked_at_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(NOISE).save(tmp_path / "a.png", exif=exif)
    (look,) = Pictures(tmp_path)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(look.rgb, np.asarray(ImageOps.exif_transpose(picture)))


def test_what_is_cut_off_is_named_and_what_has_a_trailer_is_read(tmp_path: Path) -> None:
    content = cv2.imencode(".jpg", NOISE)[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(content[:-500])
    (tmp_path / "whole.jpg").write_bytes(content + b"\0" * 5000)
    cut, whole = Pictures(tmp_path)
    assert cut.rgb is None
    assert "cut.jpg: cut off" in cut.problem
    assert whole.rgb is not None
    assert not whole.problem


def test_nearly_black_pictures_of_16_bits_are_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8, 3), 4000, np.uint16))
    assert len(list(Pictures(tmp_path))) == 2
    assert caplog.text.count("a.png: its highest value is 4000 of 65535, nearly black") == 1
    assert "b.png" not in caplog.text
