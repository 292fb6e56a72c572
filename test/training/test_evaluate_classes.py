"""Models and data may have any classes: they are told by their names, and what one of them lacks is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_cases import FOUND, A, B, C, Oracle, open_folder
from folder_cases import document, encoded, noise, write_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import save_checkpoint
from training.evaluate import main
from training.measuring.measure import evaluate


def named(oracle: Oracle, *names: str) -> Oracle:
    """The same model with other names for its classes."""
    oracle.class_names = names  # type: ignore[assignment]
    return oracle


def test_classes_in_another_order_are_told_by_their_names(folder: Path) -> None:
    plain = evaluate(Oracle(FOUND), open_folder(folder))  # type: ignore[arg-type]
    # class 0 of the model is the hull, class 1 the object, class 2 the anode
    found = [[(A, 2, 0.9)], [(C, 1, 0.8)]]
    moved = evaluate(named(Oracle(found), "hull", "object", "anode"), open_folder(folder))  # type: ignore[arg-type]
    assert moved["per_class"] == plain["per_class"]
    assert (moved["model_lacks"], moved["data_lack"]) == ({}, {})


def test_a_letter_in_two_parts_is_the_same_letter(folder: Path) -> None:
    text = (folder / "annotations.json").read_text().replace('"anode"', '"n\u00f8\u0065\u0301"')
    (folder / "annotations.json").write_text(text)
    model = named(Oracle(FOUND), "n\u00f8\u00e9", "hull", "object")
    metrics = evaluate(model, open_folder(folder))  # type: ignore[arg-type]
    assert metrics["model_lacks"] == {}
    assert metrics["mask_ap"] == pytest.approx(200 / 3)


def test_a_class_that_the_model_lacks_counts_as_nothing_found_and_is_named(folder: Path) -> None:
    metrics = evaluate(named(Oracle(FOUND), "anode", "hull", "seal"), open_folder(folder))  # type: ignore[arg-type]
    assert metrics["model_lacks"] == {"object": 1}
    assert metrics["data_lack"] == {"seal": 1}
    assert metrics["per_class"]["object"]["mask_ap"] == 0
    assert metrics["per_class"]["object"]["mask_olrp"] == 100
    assert metrics["mask_ap"] == pytest.approx(100 / 3)
    assert tuple(metrics["per_class"]) == ("anode", "hull", "object")


def test_detections_of_a_class_that_the_data_lack_count_where_all_are_one(folder: Path) -> None:
    found = [[(A, 0, 0.9), (B, 2, 0.8)], [(C, 2, 0.7), (A, 2, 0.6)]]
    metrics = evaluate(named(Oracle(found), "anode", "hull", "seal"), open_folder(folder))  # type: ignore[arg-type]
    assert metrics["data_lack"] == {"seal": 3}
    assert metrics["mask_ar100_agnostic"] == pytest.approx(100)
    assert metrics["mask_ap_agnostic"] == pytest.approx(100)  # the false alarm comes last
    merged = [[(m, 0, s) for m, _, s in one] for one in found]
    same = evaluate(named(Oracle(merged), "anode"), open_folder(folder))  # type: ignore[arg-type]
    for key in (key for key in metrics if "agnostic" in key):
        assert metrics[key] == pytest.approx(same[key]), key


def test_a_model_and_data_without_a_class_in_common_are_compared_all_the_same(folder: Path) -> None:
    metrics = evaluate(named(Oracle(FOUND), "x", "y", "z"), open_folder(folder))  # type: ignore[arg-type]
    assert metrics["mask_ap"] == metrics["box_ap"] == 0
    assert metrics["mask_ar100_agnostic"] == pytest.approx(200 / 3)
    assert metrics["model_lacks"] == {"anode": 1, "hull": 1, "object": 1}


def test_the_command_names_the_classes_that_model_and_data_do_not_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = document(["a.png", "b.png"])
    labels["categories"] = [{"id": 3, "name": "anode"}, {"id": 4, "name": "海豹"}]
    for annotation, category in zip(labels["annotations"], (3, 4), strict=True):
        annotation["category_id"] = category
    files = {"a.png": encoded(noise(0)), "b.png": encoded(noise(1))}
    data = write_set(tmp_path / "data", {"val": files}, labels=labels)
    checkpoint = tmp_path / "model.safetensors"
    network = build_network(load_model_config("tiny", class_names=("object", "anode")))
    save_checkpoint(checkpoint, network, {})
    report = tmp_path / "report"
    main(f"--data {data} --checkpoint {checkpoint} --depth none --device cpu --report {report}".split())
    printed = capsys.readouterr().out
    lacking = "The model lacks these classes of the data, which count as 0 AP (labels): 海豹 (1)."
    for text in (printed, (report / "report.md").read_text(encoding="utf-8")):
        assert lacking in text
        assert "whose detections count in agnostic figures only (detections): object (" in text
    metrics = json.loads((report / "metrics.json").read_text())
    written = COCO(str(report / "labels.json"))
    assert {c["name"] for c in written.cats.values()} == {"anode", "海豹", "object"}
    run = COCOeval(written, written.loadRes(str(report / "results.json")), "segm")
    run.params.useCats = 0
    run.evaluate()
    run.accumulate()
    run.summarize()
    keys = ("ap_agnostic", "ap_agnostic50", "ap_agnostic75", "ap_agnostic_small", "ap_agnostic_medium")
    keys += ("ap_agnostic_large", "ar1_agnostic", "ar10_agnostic", "ar100_agnostic", "ar100_small_agnostic")
    keys += ("ar100_medium_agnostic", "ar100_large_agnostic")
    for value, key in zip(run.stats, keys, strict=True):
        assert (value, metrics[f"mask_{key}"]) == (-1, None) or 100 * value == pytest.approx(metrics[f"mask_{key}"])
