"""Class names of any script are drawn where OpenCV or a font of the system has their letters, else their ids."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageFont

from spda_sam_core.results import text
from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances, boxes_of_masks

SYSTEM_FONT = next(
    (str(path) for folder in text.FONT_FOLDERS if folder.is_dir() for path in folder.rglob("DejaVuSans.ttf")), None
)
needs_font = pytest.mark.skipif(SYSTEM_FONT is None, reason="no DejaVu Sans on this system")


def written(name: str, size_hw: tuple[int, int] = (60, 300)) -> np.ndarray:
    picture = np.zeros((*size_hw, 3), np.uint8)
    text.write_text(picture, name, (10, 40), 1.0, (255, 255, 255))
    return picture


def ink(grey: np.ndarray) -> np.ndarray:
    """The part of (H, W) that is not empty."""
    rows, columns = np.nonzero(grey)
    return grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def drawn(name: str) -> np.ndarray:
    """A picture with an instance of class 1, of this name."""
    masks = np.zeros((1, 200, 300), np.bool_)
    masks[0, 40:160, 60:220] = True
    names = ("first", name)
    scores, class_ids = np.array([0.5], np.float32), np.array([1], np.int64)
    found = Instances(masks, boxes_of_masks(masks), scores, class_ids, names)
    return draw_instances(np.zeros((200, 300, 3), np.uint8), found)


@pytest.fixture(autouse=True)
def forget() -> None:
    for cached in (text._opencv_has, text._find_font, text._tell_missing, text._open):
        cached.cache_clear()


@pytest.fixture
def opencv_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV as it was up to version 4: a question mark for each byte of what is not ASCII."""
    plain = cv2.putText

    def put_text(picture: np.ndarray, words: str, *arguments: object) -> np.ndarray:
        shown = "".join(letter if letter.isascii() else "?" * len(letter.encode()) for letter in words)
        return plain(picture, shown, *arguments)

    monkeypatch.setattr(cv2, "putText", put_text)


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(text, "FONT_FOLDERS", ())


@needs_font
@pytest.mark.parametrize("name", ["rør", "Größe", "водоросль", "φύκια", "e\u0301ponge"])
@pytest.mark.parametrize("fontconfig", [True, False])
def test_a_name_is_drawn_in_its_own_letters(
    opencv_4: None, monkeypatch: pytest.MonkeyPatch, name: str, fontconfig: bool
) -> None:
    if not fontconfig:
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif shutil.which("fc-list") is None:
        pytest.skip("no fontconfig")
    assert text.can_write(name)
    path = text.font_file(name)
    assert path is not None
    picture = written(name)
    expected = ImageFont.truetype(path, 30).getmask(text._composed(name), anchor="ls")
    shape = np.frombuffer(bytes(expected), np.uint8).reshape(expected.size[::-1])
    np.testing.assert_array_equal(ink(picture[..., 0]), ink(shape))
    rows, columns = np.nonzero(picture[..., 0])
    width, above, below = text.text_size(name, 1.0)
    assert columns.max() <= 10 + width
    assert 40 - above <= rows.min()
    assert rows.max() <= 40 + below


@needs_font
def test_names_differ_in_the_picture_as_they_do_in_words(opencv_4: None) -> None:
    assert not np.array_equal(drawn("rør"), drawn("rår"))
    assert not np.array_equal(drawn("rør"), drawn("r??r"))


def test_what_opencv_can_write_it_writes() -> None:
    picture = np.zeros((60, 300, 3), np.uint8)
    cv2.putText(picture, "anode 0.9", (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 1, cv2.LINE_AA)
    assert np.array_equal(written("anode 0.9"), picture)


@pytest.mark.parametrize("name", ["海藻", "rør", "สาหร่าย", "طحالب", "🐟"])
def test_a_name_without_a_font_is_drawn_as_its_id_and_the_log_says_why_once(
    opencv_4: None, no_fonts: None, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert not text.can_write(name)
    with caplog.at_level(logging.WARNING):
        first, second = drawn(name), drawn(name)
    assert np.array_equal(first, drawn("class 1"))
    assert np.array_equal(first, second)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [f"'{name}' is drawn as 'class 1'"]


def test_a_file_that_is_no_font_is_passed_over(
    opencv_4: None, no_fonts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(text, "FONT_FOLDERS", (tmp_path,))
    assert text.font_file("ø") is None


def test_titles_keep_what_can_be_written(opencv_4: None, no_fonts: None) -> None:
    pictures = [np.zeros((30, 300, 3), np.uint8)]
    assert np.array_equal(contact_sheet(pictures, 1, ["海藻 7.png"]), contact_sheet(pictures, 1, ["?? 7.png"]))


@needs_font
def test_text_beyond_the_picture_is_cut_off(opencv_4: None) -> None:
    picture = np.full((12, 12, 3), 9, np.uint8)
    text.write_text(picture, "ørørør", (5, 20), 2.0, (255, 255, 255))
    assert picture.shape == (12, 12, 3)
    assert (picture > 9).any()
