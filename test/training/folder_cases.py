"""COCO folders of a few pictures, as users have them, for tests that spoil them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

SQUARE = [[10, 10, 30, 10, 30, 25, 10, 25]]
SIZE = (40, 60)


def noise(seed: int, size_hw: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8)


def encoded(rgb: np.ndarray, kind: str = "PNG", *, orientation: int = 1) -> bytes:
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(content, kind, exif=exif)
    return content.getvalue()


def document(names: list[str], *, size_hw: tuple[int, int] = SIZE) -> dict[str, Any]:
    """A COCO file: a fish in each picture, and no info."""
    images = [
        {"id": i, "file_name": name, "height": size_hw[0], "width": size_hw[1]} for i, name in enumerate(names, start=1)
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": SQUARE, "iscrowd": 0}
        for i in range(1, len(names) + 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fish"}]}


def write_set(
    folder: Path,
    splits: dict[str, dict[str, bytes]],
    *,
    size_hw: tuple[int, int] = SIZE,
    labels: dict[str, Any] | bytes | None = None,
    of_splits: dict[str, Any] | None = None,
    **entries: Any,
) -> Path:
    """Write a data set and return its YAML.

    Args:
        folder: for all of it.
        splits: files by name, for each split.
        size_hw: what the COCO files say of every picture.
        labels: the COCO file of every split, in place of `document`.
        of_splits: further entries of each split in the YAML.
        entries: of the YAML.
    """
    for split, files in splits.items():
        (folder / split).mkdir(parents=True)
        for name, content in files.items():
            (folder / split / name).write_bytes(content)
        own = document(list(files), size_hw=size_hw) if labels is None else labels
        content = own if isinstance(own, bytes) else json.dumps(own).encode()
        (folder / f"{split}.json").write_bytes(content)
    listed = {split: {"annotations": f"{split}.json", "images": split, **(of_splits or {})} for split in splits}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump({"format": "coco", "root": str(folder), "splits": listed, **entries}))
    return path
