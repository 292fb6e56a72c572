"""Text in pictures, of whatever script: by OpenCV where it has the letters, else by a font of the system.

OpenCV 4 knows ASCII alone and writes question marks for the rest; OpenCV 5 brings fonts for many scripts, not for all.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PX_PER_SCALE = 30
"""Size of a font whose letters are as high as those of OpenCV's at scale 1."""
_MISSING = "\U0010ffff"
"""No character: what a font draws for it stands for those that it does not have."""
FONT_FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path.home() / ".local/share/fonts",
    Path.home() / ".fonts",
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("C:/Windows/Fonts"),
)
"""Where fonts usually are, for systems without fontconfig."""

_log = logging.getLogger(__name__)


def can_write(text: str) -> bool:
    """Whether every character of a text can be written."""
    return _opencv_has(text) or _font_of(text) is not None


def writable(text: str, instead: str) -> str:
    """The text, or what stands instead where no font has its letters, which the log says once."""
    if can_write(text):
        return text
    _tell_missing(text, instead)
    return instead


def with_question_marks(text: str) -> str:
    """The text with question marks for what cannot be written."""
    return text if can_write(text) else "".join(letter if can_write(letter) else "?" for letter in text)


def text_size(text: str, scale: float) -> tuple[int, int, int]:
    """Width of a text, its height above and its depth below the baseline, in pixels; `scale` is OpenCV's."""
    found = None if _opencv_has(text) else _font_of(text)
    if found is None:
        (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
        return width, height, below
    font = _open(*found, scale)
    ascent, descent = font.getmetrics()
    return int(np.ceil(font.getlength(_composed(text)))), ascent, descent


def write_text(picture: NDArray[np.uint8], text: str, start_xy: tuple[int, int], scale: float, colour: Colour) -> None:
    """Write into (H, W, 3) uint8; `start_xy` is where the baseline begins. What does not fit is cut off."""
    found = None if _opencv_has(text) else _font_of(text)
    if found is None:
        cv2.putText(picture, text, start_xy, _FONT, scale, colour, 1, cv2.LINE_AA)
        return
    # here, because only letters outside ASCII need it
    from PIL import Image, ImageDraw

    cover = Image.new("L", (picture.shape[1], picture.shape[0]))
    ImageDraw.Draw(cover).text(start_xy, _composed(text), fill=255, font=_open(*found, scale), anchor="ls")
    strength = np.asarray(cover, np.float32)[..., None] / 255
    picture[:] = np.rint(picture * (1 - strength) + np.array(colour, np.float32) * strength)


def font_file(text: str) -> str | None:
    """A font file of this system with every letter of the text that is not ASCII; None where there is none."""
    found = _font_of(text)
    return None if found is None else found[0]


def _font_of(text: str) -> tuple[str, int] | None:
    return _find_font(frozenset(letter for letter in _composed(text) if not letter.isascii()))


@lru_cache(maxsize=1024)
def _opencv_has(text: str) -> bool:
    """Whether OpenCV writes something else than question marks, one or one a byte, for each letter."""
    letters = {letter for letter in text if not letter.isascii()}
    marks = [_by_opencv("?" * count) for count in range(1, 5)] if letters else []
    return not any(np.array_equal(_by_opencv(letter), mark) for letter in letters for mark in marks)


def _by_opencv(text: str) -> NDArray[np.uint8]:
    picture = np.zeros((40, 120), np.uint8)
    cv2.putText(picture, text, (4, 28), _FONT, 0.8, 255, 1, cv2.LINE_AA)
    return picture


@lru_cache(maxsize=1024)
def _find_font(letters: frozenset[str]) -> tuple[str, int] | None:
    """The file, and the number in it, of a font with these letters; upright and without serifs where there is one."""

    def rank(font: tuple[str, int]) -> tuple[bool, bool, str, int]:
        name = Path(font[0]).name.lower()
        return any(style in name for style in ("bold", "italic", "oblique", "mono")), "sans" not in name, *font

    for path, index in sorted(_candidates(letters), key=rank):
        if _has(path, index, letters):
            return path, index
    return None


def _candidates(letters: frozenset[str]) -> list[tuple[str, int]]:
    """Font files with their numbers that may have these letters."""
    fontconfig = shutil.which("fc-list")
    if fontconfig is None:
        files = (path for folder in FONT_FOLDERS if folder.is_dir() for path in folder.rglob("*"))
        return [(str(path), 0) for path in files if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    charset = " ".join(f"{ord(letter):x}" for letter in sorted(letters))
    command = [fontconfig, "-f", "%{index}\t%{file}\n", f":charset={charset}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    pairs = (line.split("\t", 1) for line in listed if "\t" in line)
    # the upper half of the number is an instance of a variable font
    return [(path, int(index) & 0xFFFF) for index, path in pairs]


def _has(path: str, index: int, letters: frozenset[str]) -> bool:
    from PIL import ImageFont

    try:
        font: Any = ImageFont.truetype(path, 24, index=index)
        missing = bytes(font.getmask(_MISSING))
        return all(bytes(font.getmask(letter)) != missing for letter in letters)
    except OSError:  # damaged, or of pictures that cannot be scaled
        return False


@lru_cache(maxsize=64)
def _open(path: str, index: int, scale: float) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, max(8, round(_PX_PER_SCALE * scale)), index=index)


def _composed(text: str) -> str:
    """One character for a letter and its accents, which more fonts have."""
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=1024)
def _tell_missing(text: str, instead: str) -> None:
    _log.warning(
        "'%s' is drawn as '%s': neither OpenCV %s nor a font of this system has all its letters; install one that has, "
        "such as fonts-noto-cjk",
        text,
        instead,
        cv2.__version__,
    )
