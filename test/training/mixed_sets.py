"""Small data sets of several kinds on disk, for tests that mix them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml


def write_set(
    root: Path,
    classes: Sequence[str],
    *,
    pictures: int = 4,
    size_hw: tuple[int, int] = (72, 96),
    depth: bool = False,
    scenes: str | None = None,
    clip: int = 1,
) -> Path:
    """A COCO folder, and `<root>.yaml` with its splits "train" and "val", both of all pictures.

    Picture i is grey, all of brightness 20 + i, has a square of class i modulo their number, and is named
    `clip<i // clip>_<i>.png`; with depth it is 4 m away and its square 1.5 m.
    """
    height, width = size_hw
    document: dict[str, list[Any]] = {"images": [], "annotations": []}
    document["categories"] = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    for i in range(pictures):
        name, side = f"clip{i // clip}_{i}.png", min(size_hw) // 2
        bgr, depth_mm = np.full((*size_hw, 3), 20 + i, np.uint8), np.full(size_hw, 4000, np.uint16)
        bgr[4 : 4 + side, 6 : 6 + side] = (30, 60, 220)
        depth_mm[4 : 4 + side, 6 : 6 + side] = 1500
        cv2.imwrite(str(root / "rgb" / name), bgr)
        if depth:
            cv2.imwrite(str(root / "depth" / name), depth_mm)
        document["images"].append({"id": i + 1, "file_name": name, "height": height, "width": width})
        corners = [6, 4, 6 + side, 4, 6 + side, 4 + side, 6, 4 + side]
        document["annotations"].append(
            {"id": i + 1, "image_id": i + 1, "category_id": 1 + i % len(classes), "segmentation": [corners]}
        )
    (root / "labels.json").write_text(json.dumps(document), encoding="utf-8")
    split = {"annotations": "labels.json", "images": "rgb", **({"depth": "depth"} if depth else {})}
    entries = {"format": "coco", "root": str(root), "splits": {"train": split, "val": split}}
    if depth:
        entries["depth"] = {"kind": "millimetres"}
    if scenes is not None:
        entries["scenes"] = scenes
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path
