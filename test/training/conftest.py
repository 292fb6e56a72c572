"""A small data set and a small run, for tests that train."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from coco_cases import TRUTH, write_folder
from small_model import SMALL

from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import TrainConfig, load_train_config, write_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path: Path) -> CocoRgbdDataset:
    """Six pictures with a red and a green square on grey; squares are near."""
    root, rng = tmp_path / "squares", np.random.default_rng(0)
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    images, annotations = [], []
    for i in range(6):
        bgr = np.full((72, 96, 3), 90, np.uint8)
        depth = np.full((72, 96), 4000, np.uint16)
        for k in range(2):
            x, y = int(rng.integers(0, 20) + 48 * k), int(rng.integers(0, 40))
            bgr[y : y + 26, x : x + 26] = [(20, 20, 220), (20, 220, 20)][k]
            depth[y : y + 26, x : x + 26] = 1500
            corners = [x, y, x + 26, y, x + 26, y + 26, x, y + 26]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, "category_id": k + 1, "iscrowd": 0, "area": 676,
                 "bbox": [x, y, 26, 26], "segmentation": [corners]}
            )  # fmt: skip
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), bgr)
        cv2.imwrite(str(root / "depth" / f"{i}.png"), depth)
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": 72, "width": 96})
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return CocoRgbdDataset(root, root / "annotations.json")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    write_model(tmp_path / "model.yaml", "tiny", SMALL)
    shipped = load_train_config(REPOSITORY / "config/train/tiny.yaml")
    return dataclasses.replace(
        shipped,
        model=str(tmp_path / "model.yaml"),
        output=str(tmp_path / "run"),
        steps=6,
        batch_size=3,
        warmup_steps=2,
        decay_steps=1,
        save_every=3,
        validate_every=100,
        precision="float32",
        init_from=None,
        augment=dataclasses.replace(shipped.augment, estimated_depth=0.0),
    )


@pytest.fixture
def run_file(dataset: CocoRgbdDataset, tmp_path: Path) -> Callable[[TrainConfig], Path]:
    """Writes a configuration, on `dataset`, as a YAML file for the command, and returns its path."""

    def write(config: TrainConfig) -> Path:
        split = {"annotations": "annotations.json", "images": "rgb", "depth": "depth"}
        data = {"format": "coco", "root": str(dataset.root), "depth": {"kind": "millimetres"}}
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({**data, "splits": {"train": split, "val": split}}))
        fields = json.loads(json.dumps(dataclasses.asdict(config)))  # lists for tuples
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**fields, "data": str(tmp_path / "data.yaml")}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the two pictures of `coco_cases.TRUTH`."""
    write_folder(tmp_path, TRUTH)
    return tmp_path
