"""The report agrees with pycocotools, says what was measured, and can be written whatever was found."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from coco_cases import A_LOWER, SIZE, A, B, Found, Labelled, random_case, results_of, write_folder
from matplotlib.font_manager import fontManager

from training.data.dataset import CocoRgbdDataset
from training.measuring.coco_metrics import run_cocoeval
from training.measuring.curves import draw_curves, draw_reliability
from training.measuring.measure import Measured, measure
from training.measuring.report import write_report

CONDITIONS = {
    "depth": "true",
    "depth_holes": 0.25,
    "checkpoint_sha256": "0123abcd",
    "images_per_second": 4.25,
    "checkpoint": "runs/mine.safetensors",
    "data": "config/data/mine.yaml",
    "split": "test_e",
    "device": "cuda:1",
    "commit": "fedc9876",
    "doubles": 0.125,
    "model_lacks": {},
    "data_lack": {},
}


def measured(dataset: CocoRgbdDataset, results: list[dict[str, Any]]) -> Measured:
    """What the command measures and knows."""
    found = measure(dataset.coco, results, dataset.image_ids)
    return found._replace(metrics={**found.metrics, **CONDITIONS})


def report(root: Path, truth: list[list[Labelled]], found: list[list[Found]]) -> tuple[Path, dict[str, Any]]:
    """Folder of the report, and the metrics."""
    root.mkdir(exist_ok=True)
    dataset = write_folder(root, truth)
    results = [{**result, "category_id": 10 * result["category_id"]} for result in results_of(found)]
    found_well = measured(dataset, results)
    assert write_report(root / "report", dataset, results, found_well, {}) == root / "report" / "report.md"
    return root / "report", found_well.metrics


@pytest.mark.parametrize(("kind", "name", "n_equal"), [("segm", "mask", 6), ("bbox", "box", 3)])
def test_the_commands_in_the_report_give_the_ap_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, n_equal: int
) -> None:
    folder, metrics = report(tmp_path, *random_case(1))
    (commands,) = re.findall(r"```python\n(.*?)```", (folder / "report.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(commands.replace('"segm"', f'"{kind}"'), names)
    keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")[:n_equal]
    expected = [metrics[f"{name}_{key}"] for key in keys]
    assert 0 < expected[0] < 100
    assert (100 * names["run"].stats[:n_equal]).tolist() == pytest.approx(expected, abs=1e-9)


def test_a_polygon_becomes_a_label_that_pycocotools_reads(tmp_path: Path) -> None:
    truth, found = [[(A, 0)]], [[(A, 0, 0.9)]]
    dataset = write_folder(tmp_path, truth)
    dataset.coco.dataset["annotations"][0]["segmentation"] = [[10, 10, 110, 10, 110, 110, 10, 110]]
    results = [{**result, "category_id": 10} for result in results_of(found)]
    write_report(tmp_path / "report", dataset, results, measured(dataset, results), {})
    (label,) = json.loads((tmp_path / "report" / "labels.json").read_text())["annotations"]
    (result,) = json.loads((tmp_path / "report" / "results.json").read_text())
    assert label["segmentation"] == result["segmentation"]


def test_with_a_limit_the_written_labels_are_those_of_the_pictures_that_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, [[(A, 0)], [(B, 1)], [(A, 2)]])
    dataset = CocoRgbdDataset(tmp_path, tmp_path / "annotations.json", limit=2)
    write_report(tmp_path / "report", dataset, [], measured(dataset, []), {})
    labels = json.loads((tmp_path / "report" / "labels.json").read_text())
    assert [image["id"] for image in labels["images"]] == [0, 1]
    assert [label["image_id"] for label in labels["annotations"]] == [0, 1]


def test_the_report_says_what_was_measured_and_how_good_it_was(tmp_path: Path) -> None:
    folder, metrics = report(tmp_path, *random_case(1))
    text = (folder / "report.md").read_text()
    for word in ("runs/mine.safetensors", "0123abcd", "config/data/mine.yaml", "test_e", "cuda:1", "fedc9876", "4.25"):
        assert word in text, word
    assert "| pictures | 6 |" in text
    assert "true, 25 % made unknown" in text
    rows = {cells[1]: cells[2:-1] for line in text.splitlines() if len(cells := re.split(r" *\| *", line)) > 4}
    assert rows[""] == ["masks", "masks, agnostic", "boxes", "boxes, agnostic"]
    for title, key, agnostic in (
        ("AP", "ap", "ap_agnostic"),
        ("AP75", "ap75", "ap_agnostic75"),
        ("AP large", "ap_large", "ap_agnostic_large"),
        ("AR10", "ar10", "ar10_agnostic"),
        ("AR100 medium", "ar100_medium", "ar100_medium_agnostic"),
    ):
        expected = [metrics[f"{kind}_{each}"] for kind in ("mask", "box") for each in (key, agnostic)]
        assert rows[title] == [f"{value:.1f}" for value in expected]
    scores = dict(re.findall(r"^\| (\S.*?) *\| +([\d.]+) \|$", text, re.MULTILINE))
    assert scores["calibration error"] == f"{metrics['calibration_error']:.3f}"
    assert scores["LaECE"] == f"{metrics['laece']:.3f}"
    assert scores["oLRP, %"] == f"{metrics['mask_olrp']:.1f}"
    assert scores["doubles"] == "0.125"
    hull = dict(zip(rows["class"], rows["hull"], strict=True))
    of_hull = metrics["per_class"]["hull"]
    assert hull["labels"] == str(of_hull["n_instances"])
    assert hull["box AP"] == f"{of_hull['box_ap']:.1f}"
    assert hull["oLRP"] == f"{of_hull['mask_olrp']:.1f}"
    assert hull["threshold"] == f"{of_hull['lrp_optimal_threshold']:.2f}"
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert shown == ["pr_curve.png", "reliability.png", "best.jpg", "worst.jpg"]
    assert all(cv2.imread(str(folder / name)) is not None for name in shown)


def test_best_and_worst_pictures_are_shown_in_order(tmp_path: Path) -> None:
    # picture i has i labels of which one is found: the more, the worse; the colour of picture i is 8 i
    truth: list[list[Labelled]] = [[], *([(A, 0)] + [(B, 1)] * i for i in range(10))]
    folder, _ = report(tmp_path, truth, [[], *([(A, 0, 0.9)] for _ in range(10))])
    for name, expected in (("best", range(1, 9)), ("worst", range(10, 2, -1))):
        sheet = cv2.imread(str(folder / f"{name}.jpg"))
        height = sheet.shape[0] // len(expected)
        assert sheet.shape[1] > 3 * SIZE[1]
        corners = [sheet[row * height + height - 20, 20].mean() for row in range(len(expected))]
        np.testing.assert_allclose(corners, [8 * i for i in expected], atol=3)


def test_what_scores_below_the_threshold_is_not_drawn(tmp_path: Path) -> None:
    sheets = []
    for name, found in (("weak", [[(A, 0, 0.29)]]), ("none", [[]])):
        folder, _ = report(tmp_path / name, [[(B, 0)]], found)
        sheets.append((folder / "worst.jpg").read_bytes())
    assert sheets[0] == sheets[1]


def test_a_model_that_finds_nothing_gets_a_report(tmp_path: Path) -> None:
    folder, metrics = report(tmp_path, [[(A, 0)], []], [[], []])
    text = (folder / "report.md").read_text()
    assert metrics["mask_ap"] == 0
    for title, cell in (
        ("AP", r"0\.0"),
        ("AP75", r"0\.0"),
        ("AP small", "-"),
        ("AP medium", "-"),
        ("AR100 large", r"0\.0"),
    ):
        assert re.search(rf"^\| {title} +(\| +{cell} ){{4}}", text, re.MULTILINE), title
    assert not re.search(r"none|nan", text, re.IGNORECASE)
    assert json.loads((folder / "results.json").read_text()) == []
    assert cv2.imread(str(folder / "worst.jpg")) is not None


def test_nothing_to_find_gives_dashes_and_no_galleries(tmp_path: Path) -> None:
    folder, _ = report(tmp_path, [[], []], [[], []])
    text = (folder / "report.md").read_text()
    assert len(re.findall(r"^\| A[PR][^|]*(?:\| +- ){4}", text, re.MULTILINE)) == 12
    assert re.search(r"anode +\| +0( \| +-){3}", text)
    assert not re.search(r"none|nan", text, re.IGNORECASE)
    assert ".jpg" not in text
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".json", ".json", ".md", ".png", ".png"]


def test_the_curves_are_those_of_the_table_and_carry_its_ap(tmp_path: Path) -> None:
    dataset = write_folder(tmp_path, [[(A, 0), (B, 0)]])
    results = [{**r, "category_id": 10} for r in results_of([[(A_LOWER, 0, 0.9)]])]
    left, right = draw_curves(run_cocoeval(dataset.coco, results, dataset.image_ids)).axes
    legends = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (left, right)]
    assert legends[0] == ["IoU 0.5  50.5", "IoU 0.75  50.5", "IoU 0.9  0.0"]  # 51 of 101
    assert legends[1] == ["anode  50.5", "mean of classes  50.5"]  # the others have no label
    recall, precision = left.get_lines()[0].get_data()
    np.testing.assert_allclose(recall, np.linspace(0, 1, 101))
    np.testing.assert_allclose(precision, [1.0] * 51 + [0.0] * 50)


def test_the_reliability_diagram_shows_the_share_that_is_true_in_each_bin(tmp_path: Path) -> None:
    # from 0.9 up two of three are true, at 0.3 none; what scores 0.04 is not shown
    truth: list[list[Labelled]] = [[(A, 0)], [(A, 0)], [(A, 0)]]
    found = [[(A, 0, 0.94), (B, 1, 0.3)], [(A, 0, 0.92)], [(B, 0, 0.91), (B, 0, 0.04)]]
    dataset = write_folder(tmp_path, truth)
    results = [{**result, "category_id": 10 * result["category_id"]} for result in results_of(found)]
    top, bottom = draw_reliability(measured(dataset, results).matches).axes
    ideal, shown = top.get_lines()
    np.testing.assert_allclose(ideal.get_data(), [[0, 1], [0, 1]])
    some = np.isfinite(shown.get_ydata())
    np.testing.assert_allclose(shown.get_xdata()[some], [0.3, (0.94 + 0.92 + 0.91) / 3], rtol=1e-6)
    np.testing.assert_allclose(shown.get_ydata()[some], [0, 2 / 3])
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in bottom.patches if bar.get_height()}
    assert heights == {0.3: 1, 0.9: 3}
    error = (0.3 + 3 * (2.77 / 3 - 2 / 3)) / 4
    assert f"calibration error {error:.3f}" in [text.get_text() for text in top.get_legend().get_texts()]


def test_of_many_classes_the_best_and_the_worst_are_named(tmp_path: Path) -> None:
    dataset = write_folder(tmp_path, [[(A, 0)]])
    document = dataset.coco.dataset
    document["categories"] = [{"id": i, "name": f"class {i}"} for i in range(1, 21)]
    (label,) = document["annotations"]
    # label i is of class i and found, after i - 1 false alarms
    document["annotations"] = [{**label, "id": i, "category_id": i} for i in range(1, 21)]
    dataset.coco.createIndex()
    (hit,), (wrong,) = results_of([[(A, 0, 0.5)]]), results_of([[(B, 0, 0.9)]])
    results = [{**hit, "category_id": i} for i in range(1, 21)]
    results += [{**wrong, "category_id": i} for i in range(1, 21) for _ in range(i - 1)]
    _, right = draw_curves(run_cocoeval(dataset.coco, results, dataset.image_ids)).axes
    names = [text.get_text().split("  ")[0] for text in right.get_legend().get_texts()]
    assert names == [*(f"class {i}" for i in (1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 19, 20)), "mean of classes"]
    assert len(right.get_lines()) == 21


@pytest.mark.parametrize("there", [True, False])
def test_a_class_has_its_name_in_the_curves_where_a_font_has_its_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    dataset = write_folder(tmp_path, [[(A, 0), (B, 1)]])
    for category, name in zip(dataset.coco.dataset["categories"], ("海藻", "rør", "c"), strict=True):
        category["name"] = name
    some_font = fontManager.findfont("DejaVu Serif")
    monkeypatch.setattr("training.measuring.curves.font_file", lambda _: some_font if there else None)
    _, right = draw_curves(run_cocoeval(dataset.coco, [], dataset.image_ids)).axes
    texts = right.get_legend().get_texts()
    assert [text.get_text().split("  ")[0] for text in texts[:2]] == ["海藻" if there else "class 0", "rør"]
    assert ("DejaVu Serif" in texts[0].get_fontfamily()) == there
