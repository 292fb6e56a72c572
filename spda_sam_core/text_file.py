"""Text files as editors and spreadsheets save them."""

from __future__ import annotations

import json
from pathlib import Path


def read_text(path: Path) -> str:
    """The text in a file of UTF-8, UTF-16 or UTF-32, with or without a byte order mark, which is no part of it.

    Raises:
        ValueError: bytes of another encoding.
    """
    content = path.read_bytes()
    encoding = json.detect_encoding(content)  # by the zeros of its first characters, as every text here begins in ASCII
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is no {encoding.upper()}: save the file as UTF-8") from error
