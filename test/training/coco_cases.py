"""Hand-made labels and results, and a data set and a model made of them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from pycocotools.coco import COCO

from spda_sam_core.results.calibration import UNCALIBRATED
from spda_sam_core.results.instances import Instances, boxes_of_masks
from spda_sam_core.spda_sam import Prediction
from training.data.dataset import CocoRgbdDataset

NAMES = ("anode", "hull", "object")
SIZE = (240, 320)
Labelled = tuple[np.ndarray, int]
"""Mask, class id."""
Found = tuple[np.ndarray, int, float]
"""Mask, class id, score."""


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def instances(found: list[Found]) -> Instances:
    """From what was found, best first."""
    masks = np.stack([m for m, _, _ in found]) if found else np.zeros((0, *SIZE), np.bool_)
    return Instances(
        masks,
        boxes_of_masks(masks),
        np.array([s for _, _, s in found], np.float32),
        np.array([c for _, c, _ in found], np.int64),
        NAMES,
    )


def labels(images: list[list[Labelled]]) -> COCO:
    """COCO labels of each picture; ids from 0."""
    document: dict[str, Any] = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(images))],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [],
    }
    for i, truth in enumerate(images):
        for mask, class_id in truth:
            (result,) = instances([(mask, class_id, 1.0)]).to_coco(i)
            number = len(document["annotations"]) + 1
            document["annotations"].append({**result, "id": number, "area": int(mask.sum()), "iscrowd": 0})
    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def results_of(found: list[list[Found]]) -> list[dict[str, Any]]:
    """COCO results of each picture."""
    return [result for i, one in enumerate(found) for result in instances(one).to_coco(i)]


A, B, C = square(10, 10, 100), square(150, 10, 100), square(10, 130, 60)
A_LOWER = A.copy()
"""IoU 0.77 with A."""
A_LOWER[10:33] = False


def random_case(seed: int, n_labels: int = 5, n_found: int = 7) -> tuple[list[list[Labelled]], list[list[Found]]]:
    """Labels and results of six pictures, small, medium and large."""
    rng = np.random.default_rng(seed)
    truth: list[list[Labelled]] = []
    found: list[list[Found]] = []
    for _ in range(6):
        masks = [square(*rng.integers(0, (200, 120)).tolist(), int(rng.integers(20, 110))) for _ in range(n_labels)]
        truth.append([(m, int(rng.integers(3))) for m in masks])
        scores = np.sort(rng.random(n_found))[::-1].tolist()
        shaky = [np.roll(masks[int(rng.integers(n_labels))], rng.integers(-12, 12, 2), (0, 1)) for _ in scores]
        found.append([(m, int(rng.integers(3)), s) for m, s in zip(shaky, scores, strict=True)])
    return truth, found


def write_folder(root: Path, truth: list[list[Labelled]]) -> CocoRgbdDataset:
    """A data set with depth; picture i has the colour 8 i, and the category ids are not 1, 2, 3."""
    document = json.loads(json.dumps(labels(truth).dataset))
    for entry in document["categories"]:
        entry["id"] *= 10
    for entry in document["annotations"]:
        entry["category_id"] *= 10
    for name in ("rgb", "depth"):
        (root / name).mkdir()
    for i, image in enumerate(document["images"]):
        image["file_name"] = f"{i}.png"
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), np.full((*SIZE, 3), 8 * i, np.uint8))
        cv2.imwrite(str(root / "depth" / f"{i}.png"), np.full(SIZE, 1000, np.uint16))
    (root / "annotations.json").write_text(json.dumps(document))
    return CocoRgbdDataset(root, root / "annotations.json")


class Oracle:
    """Stands for a model: knows the picture by its colour, see `write_folder`, and finds what it was told."""

    class_names = NAMES
    checkpoint_sha256 = "abc"
    runtime = SimpleNamespace(device="cpu", info=None)
    calibration = UNCALIBRATED

    def __init__(self, found: list[list[Found]]) -> None:
        self.found = found
        self.estimates_depth = False
        self.given: list[tuple[int, np.ndarray | None, np.ndarray | None, bool]] = []
        """Picture, metric depth, relative inverse depth, whether to estimate depth."""
        self.batch_sizes: list[int] = []

    def predict_batch(
        self,
        images: list[np.ndarray],
        depths_m: list[np.ndarray | None],
        *,
        relative_inverse_depths: list[np.ndarray | None],
        score_threshold: float,
        estimate_depth: bool,
    ) -> list[Prediction]:
        assert score_threshold < 0.01
        self.batch_sizes.append(len(images))
        numbers = [int(rgb[0, 0, 0]) // 8 for rgb in images]
        for number, depth_m, relative in zip(numbers, depths_m, relative_inverse_depths, strict=True):
            self.given.append((number, depth_m, relative, estimate_depth))
        return [Prediction(instances(self.found[number]), None, "none", {}) for number in numbers]


TRUTH: list[list[Labelled]] = [[(A, 0), (B, 1)], [(C, 2)]]
FOUND: list[list[Found]] = [[(A, 0, 0.9)], [(C, 2, 0.8)]]
"""What is labelled in two pictures, and what a model finds there."""


def open_folder(folder: Path, limit: int | None = None) -> CocoRgbdDataset:
    """What `write_folder` wrote."""
    return CocoRgbdDataset(folder, folder / "annotations.json", limit=limit)
