"""Average precision on hand-made cases whose value follows from its definition."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from spda_sam_core.checkpoint import save_checkpoint
from spda_sam_core.config import load_model_config
from spda_sam_core.files import file_sha256
from spda_sam_core.instances import Instances, boxes_of_masks
from spda_sam_core.network import build_network
from spda_sam_core.spda_sam import Prediction
from training.dataset import CocoRgbdDataset
from training.evaluate import coco_metrics, evaluate, format_table, main
from training.pictures import DepthImages
from training.scene import CLASS_NAMES

NAMES = ("anode", "hull", "object")
SIZE = (240, 320)
ONE_OF_TWO = 100 * 51 / 101
"""Half of the labels found, none wrong: precision 1 at the recalls 0, 0.01 .. 0.5 of COCO's 101."""


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def instances(found: list[tuple[np.ndarray, int, float]]) -> Instances:
    """From (mask, class id, score), best first."""
    masks = np.stack([m for m, _, _ in found]) if found else np.zeros((0, *SIZE), np.bool_)
    return Instances(
        masks,
        boxes_of_masks(masks),
        np.array([s for _, _, s in found], np.float32),
        np.array([c for _, c, _ in found], np.int64),
        NAMES,
    )


def labels(images: list[list[tuple[np.ndarray, int]]]) -> COCO:
    """COCO labels from (mask, class id) for each picture; ids from 0."""
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


def measure(
    truth: list[list[tuple[np.ndarray, int]]], found: list[list[tuple[np.ndarray, int, float]]]
) -> dict[str, Any]:
    results = [r for i, one in enumerate(found) for r in instances(one).to_coco(i)]
    return coco_metrics(labels(truth), results, range(len(truth)))


A, B, C = square(10, 10, 100), square(150, 10, 100), square(10, 130, 60)


def test_perfect_predictions_score_100() -> None:
    metrics = measure([[(A, 0), (B, 1)], [(C, 2)]], [[(A, 0, 0.9), (B, 1, 0.8)], [(C, 2, 0.7)]])
    for name in ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ap_agnostic", "ap_agnostic50"):
        assert metrics[f"mask_{name}"] == pytest.approx(100), name
        assert metrics[f"box_{name}"] == pytest.approx(100), name
    assert metrics["mask_ap_liaci"] == pytest.approx(100)
    assert metrics["mask_ap_small"] is None  # there is nothing small
    assert metrics["n_images"] == 2


def test_one_of_two_instances_found() -> None:
    metrics = measure([[(A, 0), (B, 0)]], [[(A, 0, 0.9)]])
    assert metrics["mask_ap"] == pytest.approx(ONE_OF_TWO)
    assert metrics["box_ap50"] == pytest.approx(ONE_OF_TWO)


def test_nothing_found_scores_0() -> None:
    metrics = measure([[(A, 0)], []], [[], []])
    assert metrics["mask_ap"] == 0
    assert metrics["mask_ap_agnostic"] == 0
    assert metrics["per_class"]["anode"] == {"mask_ap": 0, "mask_ap50": 0, "box_ap": 0, "n_instances": 1}


def test_nothing_to_find_has_no_value() -> None:
    metrics = measure([[]], [[(A, 0, 0.9)]])
    assert metrics["mask_ap"] is None
    assert metrics["mask_ap_liaci"] is None


def test_a_wrong_class_counts_for_the_agnostic_value_only() -> None:
    metrics = measure([[(A, 0), (B, 1)]], [[(A, 0, 0.9), (B, 0, 0.8)]])
    assert metrics["mask_ap"] == pytest.approx(50)  # anode 100, hull 0
    assert metrics["mask_ap_agnostic"] == pytest.approx(100)
    assert metrics["box_ap_agnostic"] == pytest.approx(100)


def test_a_false_alarm_that_scores_higher_halves_the_precision() -> None:
    assert measure([[(A, 0)]], [[(B, 0, 0.9), (A, 0, 0.8)]])["mask_ap"] == pytest.approx(50)
    assert measure([[(A, 0)]], [[(A, 0, 0.9), (B, 0, 0.8)]])["mask_ap"] == pytest.approx(100)


def test_iou_thresholds() -> None:
    part = square(10, 10, 100)
    part[10:36] = False  # IoU 0.74: above 0.5, 0.55, 0.6, 0.65, 0.7 of the ten thresholds
    metrics = measure([[(A, 0)]], [[(part, 0, 0.9)]])
    assert metrics["mask_ap50"] == pytest.approx(100)
    assert metrics["mask_ap75"] == pytest.approx(0)
    assert metrics["mask_ap"] == pytest.approx(50)


def test_masks_are_judged_as_masks_and_boxes_as_boxes() -> None:
    frame = A.copy()
    frame[12:108, 12:108] = False  # the same box, hardly any mask
    metrics = measure([[(A, 0)]], [[(frame, 0, 0.9)]])
    assert metrics["box_ap"] == pytest.approx(100)
    assert metrics["mask_ap50"] == pytest.approx(0)


def test_the_size_of_a_false_alarm_is_the_area_of_its_mask() -> None:
    medium = square(10, 10, 60)
    frame = square(150, 10, 120)
    frame[14:126, 154:266] = False  # 1856 pixels, medium, in a large box
    metrics = measure([[(medium, 0)]], [[(frame, 0, 0.9), (medium, 0, 0.8)]])
    assert metrics["mask_ap_medium"] == pytest.approx(50)
    assert metrics["box_ap_medium"] == pytest.approx(100)


def test_per_class_and_the_mean_without_object() -> None:
    metrics = measure([[(A, 0), (B, 1), (C, 2)]], [[(A, 0, 0.9), (B, 1, 0.8)]])
    assert metrics["per_class"]["anode"]["mask_ap"] == pytest.approx(100)
    assert metrics["per_class"]["object"]["mask_ap"] == pytest.approx(0)
    assert metrics["mask_ap"] == pytest.approx(200 / 3)
    assert metrics["mask_ap_liaci"] == pytest.approx(100)


def random_case(seed: int) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    truth: list[Any] = []
    found: list[Any] = []
    for _ in range(6):
        masks = [square(*rng.integers(0, (200, 120)).tolist(), int(rng.integers(20, 110))) for _ in range(5)]
        truth.append([(m, int(rng.integers(3))) for m in masks])
        scores = np.sort(rng.random(7))[::-1].tolist()
        shaky = [np.roll(masks[int(rng.integers(5))], rng.integers(-12, 12, 2), (0, 1)) for _ in scores]
        found.append([(m, int(rng.integers(3)), s) for m, s in zip(shaky, scores, strict=True)])
    return truth, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agnostic_equals_labels_and_results_with_their_classes_merged(seed: int) -> None:
    truth, found = random_case(seed)
    plain = measure(truth, found)
    merged = measure([[(m, 0) for m, _ in one] for one in truth], [[(m, 0, s) for m, _, s in one] for one in found])
    assert 0 < plain["mask_ap_agnostic"] < 100
    assert plain["mask_ap_agnostic"] == pytest.approx(merged["mask_ap"], abs=1e-9)
    assert plain["mask_ap_agnostic50"] == pytest.approx(merged["mask_ap50"], abs=1e-9)
    assert plain["box_ap_agnostic"] == pytest.approx(merged["box_ap"], abs=1e-9)


class Oracle:
    """Stands for a model: finds the first label of a picture whose index it reads from the pixels."""

    class_names = NAMES
    checkpoint_sha256 = "abc"
    depth_estimator: object | None = None

    def __init__(self) -> None:
        self.calls: list[tuple[bool, bool]] = []

    def predict_batch(
        self, images: list[np.ndarray], depths_m: list[np.ndarray | None], **options: Any
    ) -> list[Prediction]:
        (rgb,), (depth_m,) = images, depths_m
        self.calls.append((depth_m is not None, options["estimate_depth"]))
        assert options["score_threshold"] < 0.01
        masks = [[(A, 0, 0.9)], [(C, 2, 0.8)]]
        return [Prediction(instances(masks[int(rgb[0, 0, 0])]), None, "none", {})]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, (A, B) and (C), with depth; category ids that are not 1, 2, 3."""
    document = copy.deepcopy(labels([[(A, 0), (B, 1)], [(C, 2)]]).dataset)
    for entry in document["categories"]:
        entry["id"] *= 10
    for entry in document["annotations"]:
        entry["category_id"] *= 10
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for i, image in enumerate(document["images"]):
        image["file_name"] = f"{i}.png"
        cv2.imwrite(str(tmp_path / "rgb" / f"{i}.png"), np.full((*SIZE, 3), i, np.uint8))
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), np.full(SIZE, 1000, np.uint16))
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    return tmp_path


def open_folder(folder: Path, limit: int | None = None) -> CocoRgbdDataset:
    return CocoRgbdDataset(folder, folder / "annotations.json", limit=limit)


def test_evaluate_maps_class_ids_to_the_ids_of_the_data(folder: Path) -> None:
    metrics = evaluate(Oracle(), open_folder(folder))  # type: ignore[arg-type]
    assert metrics["mask_ap"] == pytest.approx(200 / 3)
    assert metrics["checkpoint_sha256"] == "abc"
    assert metrics["images_per_second"] > 0
    assert metrics["per_class"]["hull"]["n_instances"] == 1
    json.dumps(metrics)
    assert "hull" in format_table(metrics)


def test_a_limit_leaves_the_other_pictures_out_of_the_labels_too(folder: Path) -> None:
    metrics = evaluate(Oracle(), open_folder(folder, limit=1))  # type: ignore[arg-type]
    assert metrics["n_images"] == 1
    assert metrics["mask_ap"] == pytest.approx(50)
    assert metrics["per_class"]["object"]["mask_ap"] is None
    assert format_table(metrics).count("-") > 1


def test_depth_modes_decide_what_the_network_sees(folder: Path) -> None:
    oracle = Oracle()
    oracle.depth_estimator = object()
    for mode, expected in (("true", (True, False)), ("estimated", (False, True)), ("none", (False, False))):
        oracle.calls.clear()
        evaluate(oracle, open_folder(folder), mode)  # type: ignore[arg-type]
        assert oracle.calls == [expected] * 2


def test_relative_depth_images_are_the_depth_of_the_data(folder: Path) -> None:
    for i in range(2):
        cv2.imwrite(str(folder / "depth" / f"{i}.png"), np.full(SIZE, 40, np.uint8))
    relative = DepthImages("relative", near="bright")
    dataset = CocoRgbdDataset(folder, folder / "annotations.json", depth_images=relative)
    given = []

    class Spy(Oracle):
        def predict_batch(
            self, images: list[np.ndarray], depths_m: list[np.ndarray | None], **options: Any
        ) -> list[Prediction]:
            given.append((depths_m[0], options["relative_inverse_depths"][0]))
            return super().predict_batch(images, depths_m, **options)

    for mode, holes, share in (("true", 0.0, 1.0), ("true", 0.5, 0.5)):
        given.clear()
        evaluate(Spy(), dataset, mode, depth_holes=holes)  # type: ignore[arg-type]
        for depth_m, inverse in given:
            assert depth_m is None
            assert np.nanmax(inverse) == 40
            assert abs(np.isfinite(inverse).mean() - share) < 0.02
    given.clear()
    evaluate(Spy(), dataset, "none")  # type: ignore[arg-type]
    assert given == [(None, None)] * 2


def test_what_cannot_be_evaluated_is_refused(folder: Path) -> None:
    oracle = Oracle()
    with pytest.raises(ValueError, match="'estimated' needs a depth estimator"):
        evaluate(oracle, open_folder(folder), "estimated")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth mode 'both': choose one of true, estimated, none"):
        evaluate(oracle, open_folder(folder), "both")  # type: ignore[arg-type]
    (folder / "depth" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png has no depth: choose depth mode"):
        evaluate(oracle, open_folder(folder))  # type: ignore[arg-type]
    oracle.class_names = ("anode", "object", "hull")  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"'object', 'hull'\) are not those of the data"):
        evaluate(oracle, open_folder(folder))  # type: ignore[arg-type]


def test_pictures_show_image_labels_and_prediction(folder: Path, tmp_path: Path) -> None:
    evaluate(Oracle(), open_folder(folder), pictures=tmp_path / "out")  # type: ignore[arg-type]
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["000000.jpg", "000001.jpg"]
    assert cv2.imread(str(files[0])).shape[1] > 3 * SIZE[1]


@pytest.mark.parametrize("depth", ["true", "none"])
def test_the_command_writes_the_numbers_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: str) -> None:
    data = tmp_path / "rendered.yaml"
    data.write_text(
        f"root: {tmp_path}/data\nimage_size_hw: [48, 64]\nclasses: [{', '.join(CLASS_NAMES)}]\n"
        "splits: {val: {seed: 2, n_images: 2}}\n"
    )
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, build_network(load_model_config("tiny")), {})
    command = f"--data {data} --split val --checkpoint {checkpoint} --depth {depth} --limit 2 --device cpu"
    main([*command.split(), "--json", str(tmp_path / "out" / "val.json")])
    metrics = json.loads((tmp_path / "out" / "val.json").read_text())
    required = ("n_images", "mask_ap", "mask_ap50", "mask_ap75", "mask_ap_agnostic", "box_ap", "per_class")
    assert set(required) <= set(metrics)
    assert metrics["n_images"] == 2
    assert 0 <= metrics["mask_ap"] <= 100
    assert metrics["depth"] == depth
    assert metrics["checkpoint_sha256"] == file_sha256(checkpoint)
    assert tuple(metrics["per_class"]) == CLASS_NAMES
    assert "sea_chest_grating" in capsys.readouterr().out
