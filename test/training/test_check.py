"""The dataset doctor names every defect by file and id, and says whether training would fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from spda_sam_core.results.instances import encode_rle
from training.check import check, main
from training.data.dataset import open_split
from training.data.depth_cache import begin_cache, cached_file, write_cached

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = (40, 60)
NAMES = ("fish", "wreck")


class Fixture:
    """A COCO folder with depth, four pictures with a fish each, that a test breaks before it is examined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "data"
        for name in ("rgb", "depth"):
            (self.root / name).mkdir(parents=True)
        self.document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
        self.document["categories"] = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
        mask = np.zeros(SIZE, np.bool_)
        mask[10:20, 10:30] = True
        noise = np.random.default_rng(0)
        for i in range(1, 5):
            cv2.imwrite(str(self.root / f"rgb/{i}.jpg"), noise.integers(0, 255, (*SIZE, 3), np.uint8))
            cv2.imwrite(str(self.root / f"depth/{i}.png"), np.full(SIZE, 1000 * i, np.uint16))
            self.document["images"].append({"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]})
            own = {
                "id": i,
                "image_id": i,
                "category_id": 1 + i % 2,
                "iscrowd": 0,
                "area": 200,
                "bbox": [10, 10, 20, 10],
            }
            self.document["annotations"].append({**own, "segmentation": encode_rle(mask)})
        self.entries: dict[str, Any] = {"format": "coco", "root": str(self.root), "depth": {"kind": "millimetres"}}
        self.entries["splits"] = {"train": {"annotations": "train.json", "images": "rgb", "depth": "depth"}}

    @property
    def yaml(self) -> Path:
        """The data set as it is now, on disk."""
        (self.root / "train.json").write_text(json.dumps(self.document))
        path = self.folder / "data.yaml"
        path.write_text(yaml.safe_dump(self.entries))
        return path

    def problems(self) -> list[tuple[str, str, str]]:
        """Level, kind, and where with text of what is found, without the folders."""
        found = check(self.yaml, workers=1)["train"].problems
        return [(p.level, p.kind, f"{p.where}: {p.text}".replace(f"{self.root}/", "")) for p in found]


@pytest.fixture
def data(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_a_sound_data_set_has_no_problems(data: Fixture, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, report = tmp_path / "sheet.jpg", tmp_path / "report.json"
    assert main([str(data.yaml), "--workers", "2", "--sheet", str(sheet), "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "train: 4 pictures, 4 instances, 0 crowd regions" in printed
    assert "4 depth images (100 % of their pixels known), 0 estimates" in printed
    assert "fish                            2 instances  50.0 %  in 2 pictures" in printed
    assert "0 errors, 0 warnings: training can begin" in printed
    written = json.loads(report.read_text())
    assert written["errors"] == written["warnings"] == 0
    assert written["splits"]["train"]["instances"] == {"fish": 2, "wreck": 2}
    assert written["splits"]["train"]["known_depth"] == 1
    image = cv2.imread(str(sheet))
    assert image.shape[1] > 4 * 2 * 480  # four samples, each beside its depth


def test_a_sheet_that_cannot_be_written_is_said(data: Fixture, tmp_path: Path, capsys) -> None:
    (tmp_path / "taken.jpg").mkdir()
    assert main([str(data.yaml), "--workers", "1", "--sheet", str(tmp_path / "taken.jpg")]) == 1
    assert "taken.jpg cannot be written: " in capsys.readouterr().out


def test_the_sheet_shows_masks_where_they_are(data: Fixture, tmp_path: Path) -> None:
    for i in range(1, 5):
        cv2.imwrite(str(data.root / f"rgb/{i}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    del data.entries["splits"]["train"]["depth"]
    del data.entries["depth"]
    sheet = tmp_path / "sheet.jpg"
    main([str(data.yaml), "--workers", "1", "--sheet", str(sheet)])
    image = cv2.imread(str(sheet)).max(axis=2)
    cell = image[4 + 24 : 4 + 24 + 320, 4 : 4 + 480]  # gap, title, and the picture at 480 / 60 of its size
    inside, outside = cell[110:150, 110:230], cell[190:300, 270:470]
    assert inside.mean() > 50
    assert outside.mean() < 10


def broken_picture(data: Fixture) -> None:
    path = data.root / "rgb/2.jpg"
    path.write_bytes(path.read_bytes()[:-900])


def broken_png(data: Fixture) -> None:
    (data.root / "depth/3.png").write_bytes(b"\x89PNG nothing IEND")


def shorter_picture(data: Fixture) -> None:
    cv2.imwrite(str(data.root / "rgb/4.jpg"), np.zeros((39, 60, 3), np.uint8))


def missing_picture(data: Fixture) -> None:
    (data.root / "rgb/1.jpg").unlink()


def depth_of_8_bit(data: Fixture) -> None:
    cv2.imwrite(str(data.root / "depth/1.png"), np.zeros(SIZE, np.uint8))


def blind_depth(data: Fixture) -> None:
    depth = np.zeros(SIZE, np.uint16)
    depth[0, :24] = 500
    cv2.imwrite(str(data.root / "depth/1.png"), depth)


def no_depth(data: Fixture) -> None:
    (data.root / "depth/1.png").unlink()


def annotation(**change: Any) -> Any:
    """A defect that changes annotation 3."""

    def breaks(data: Fixture) -> None:
        data.document["annotations"][2].update(change)

    return breaks


def image(**change: Any) -> Any:
    """A defect that changes picture 3."""

    def breaks(data: Fixture) -> None:
        data.document["images"][2].update(change)

    return breaks


def rare_class(data: Fixture) -> None:
    own = data.document["annotations"][0]
    data.document["annotations"] += [{**own, "id": i} for i in range(10, 500)]
    data.document["categories"].append({"id": 9, "name": "mine"})


def unknown_class(data: Fixture) -> None:
    data.document["categories"].pop()


EMPTY = encode_rle(np.zeros(SIZE, np.bool_))
TALL = encode_rle(np.zeros((60, 40), np.bool_))
SHORT = {"size": list(SIZE), "counts": [100, 50]}


@pytest.mark.parametrize(
    ("breaks", "level", "kind", "named"),
    [
        (broken_picture, "error", "unusable picture", "rgb/2.jpg, picture 2: cut off"),
        (broken_png, "error", "unusable depth image", "depth/3.png, depth of picture 3: missing or not a picture"),
        (shorter_picture, "error", "unusable picture", "rgb/4.jpg, picture 4: (39, 60) pixels"),
        (missing_picture, "error", "unusable picture", "rgb/1.jpg, picture 1: missing"),
        (depth_of_8_bit, "error", "unusable depth image", "depth/1.png, depth of picture 1: uint8 (40, 60)"),
        (blind_depth, "warning", "hardly any depth", "rgb/1.jpg, picture 1: 1.0 % of its pixels known"),
        (no_depth, "warning", "no depth", "1 of 4 pictures have none: python -m training.estimate_depth"),
        (annotation(segmentation=[]), "warning", "no mask", "train.json, annotation 3 of picture 3"),
        (annotation(segmentation=[[1, 1, 5, 5]]), "warning", "empty polygon", "train.json, annotation 3 of picture 3"),
        (annotation(segmentation=EMPTY), "warning", "empty mask", "train.json, annotation 3 of picture 3"),
        (
            annotation(segmentation=[[50, 5, 90, 5, 90, 30]]),
            "warning",
            "polygon out of frame",
            "train.json, annotation 3 of picture 3: reaches 30 pixels out of a picture of (40, 60)",
        ),
        (annotation(segmentation=TALL), "error", "RLE of the wrong size", "annotation 3 of picture 3: size (60, 40)"),
        (annotation(segmentation=SHORT), "error", "RLE of the wrong size", "of picture 3: counts cover 150 pixels"),
        (annotation(id=2), "warning", "duplicate annotation id", "train.json, annotation 2"),
        (annotation(image_id=77), "warning", "unknown picture", "train.json, annotation 3: image_id 77"),
        (annotation(iscrowd=1), "warning", "crowd region", "train.json, annotation 3"),
        (image(id=2), "error", "duplicate picture id", "train.json, picture 2"),
        (image(file_name="../3.jpg"), "error", "path traversal", "train.json, picture 3: file_name '../3.jpg'"),
        (unknown_class, "error", "unknown category", "train.json, annotation 1: category_id 2"),
        (rare_class, "warning", "rare class", "train.json, class 'fish': 2 instances, the most frequent class has 492"),
        (rare_class, "warning", "rare class", "train.json, class 'mine': 0 instances"),
    ],
)  # fmt: skip
def test_each_defect_is_named_by_file_and_id(data: Fixture, breaks: Any, level: str, kind: str, named: str) -> None:
    breaks(data)
    found = data.problems()
    assert any(p[:2] == (level, kind) and named in p[2] for p in found), found
    assert all(p[0] == "warning" for p in found) == (level == "warning"), found


@pytest.mark.parametrize(
    "breaks",
    [
        broken_picture,
        depth_of_8_bit,
        missing_picture,
        annotation(segmentation=TALL),
        image(id=2),
        image(file_name="../3.jpg"),
        unknown_class,
        annotation(segmentation=[]),
        annotation(segmentation=[[-50, -50, -40, -50, -40, -40]]),
        annotation(image_id=77),
        annotation(id=2),
        blind_depth,
    ],
)
def test_the_exit_status_says_whether_the_data_can_be_read(
    data: Fixture, breaks: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(data)
    status = main([str(data.yaml), "--workers", "1", "--sheet", str(tmp_path / "s.jpg")])
    try:
        readable = all(sample.masks.shape[1:] == SIZE for sample in open_split(data.yaml, "train"))
    except (FileNotFoundError, ValueError):
        readable = False
    assert status == (0 if readable else 1)
    assert ("training would fail" in capsys.readouterr().out) is not readable


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"images": [', "malformed JSON"), ("{}", "0 images and 0 categories"), (None, "no such COCO")],
)
def test_a_malformed_coco_file_is_reported(data: Fixture, text: str | None, message: str, tmp_path: Path) -> None:
    path = data.yaml
    if text is None:
        (data.root / "train.json").unlink()
    else:
        (data.root / "train.json").write_text(text)
    report = tmp_path / "report.json"
    assert main([str(path), "--json", str(report)]) == 1
    (problem,) = json.loads(report.read_text())["splits"]["train"]["problems"]
    assert message in problem["text"]


@pytest.mark.parametrize("junk", [None, [], {}, "x", -1])
def test_junk_in_the_coco_file_is_reported_and_never_a_crash(data: Fixture, junk: Any) -> None:
    sound = json.dumps(data.document)
    for kind, entries in json.loads(sound).items():
        for key in entries[1]:
            data.document = json.loads(sound)
            data.document[kind][1][key] = junk
            check(data.yaml, workers=1)
        data.document = json.loads(sound)
        data.document[kind][1] = junk
        assert any(level == "error" for level, _, _ in data.problems())


def test_splits_that_do_not_fit_together_are_refused(data: Fixture, tmp_path: Path) -> None:
    data.entries["splits"]["val"] = {**data.entries["splits"]["train"], "annotations": "val.json"}
    other = {**data.document, "categories": [{"id": 1, "name": "fish"}, {"id": 2, "name": "rock"}]}
    (data.root / "val.json").write_text(json.dumps(other))
    no_depth(data)
    found = {p.kind: p for p in check(data.yaml, workers=1)["val"].problems if p.level == "error"}
    assert set(found) == {"other classes", "depth of some pictures only"}
    assert "3 of 4 pictures: python -m training.estimate_depth --data" in found["depth of some pictures only"].text
    estimator = tmp_path / "e.pth"
    estimator.write_bytes(b"any")
    data.entries["depth_estimator"] = str(estimator)
    write_cached(cached_file(begin_cache(data.root, estimator), Path("rgb"), "1.jpg"), np.ones(SIZE, np.float32))
    report = check(data.yaml, workers=1)["val"]
    assert (report.n_with_depth, report.n_estimated) == (3, 1)
    assert [p.kind for p in report.problems if p.level == "error"] == ["other classes"]


def test_a_damaged_estimate_is_found_too(data: Fixture, tmp_path: Path) -> None:
    no_depth(data)
    estimator = tmp_path / "e.pth"
    estimator.write_bytes(b"any")
    data.entries["depth_estimator"] = str(estimator)
    cached_file(begin_cache(data.root, estimator), Path("rgb"), "1.jpg").parent.mkdir()
    cached_file(begin_cache(data.root, estimator), Path("rgb"), "1.jpg").write_bytes(b"\x89PNG\r\n\x1a\n")
    (problem,) = data.problems()
    assert problem[:2] == ("error", "unusable depth image")
    assert "rgb/1.jpg.png, depth of picture 1: cut off" in problem[2]


def test_pictures_are_examined_although_the_file_has_errors_elsewhere(data: Fixture) -> None:
    missing_picture(data)
    data.document["annotations"][2]["category_id"] = 77
    kinds = {kind for _, kind, _ in data.problems()}
    assert {"unusable picture", "unknown category"} <= kinds


def test_merged_classes_are_counted_as_one(data: Fixture) -> None:
    data.entries["merge_classes"] = "object"
    assert check(data.yaml, workers=1)["train"].instances == {"object": 4}


def test_many_problems_of_a_kind_are_told_once(
    data: Fixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = data.document["annotations"][0]
    data.document["annotations"] += [{**own, "id": i, "iscrowd": 1} for i in range(10, 30)]
    main([str(data.yaml), "--workers", "1", "--sheet", str(tmp_path / "s.jpg")])
    printed = capsys.readouterr().out
    assert printed.count(": crowd region: left out") == 5
    assert "warning: crowd region: 15 more" in printed
    assert "4 instances, 20 crowd regions" in printed


def test_rendered_data_are_not_rendered(tmp_path: Path) -> None:
    text = (REPOSITORY / "config/data/rendered.yaml").read_text(encoding="utf-8")
    path = tmp_path / "rendered.yaml"
    path.write_text(text.replace("root: data/rendered", f"root: {tmp_path}/data"), encoding="utf-8")
    assert main([str(path)]) == 0
    assert not (tmp_path / "data").exists()


def test_instance_images_are_examined_too(tmp_path: Path) -> None:
    entries = yaml.safe_load((REPOSITORY / "config/data/kitti.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "kitti.yaml"
    path.write_text(yaml.safe_dump({**entries, "root": str(tmp_path / "k")}))
    assert main([str(path), "--workers", "1"]) == 1  # nothing there
    (tmp_path / "k/instance").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "k/instance/a.png"), np.full(SIZE, 26 * 256 + 1, np.uint16))
    (problem, *_) = check(path, workers=1)["val"].problems
    assert (problem.level, problem.kind) == ("error", "unusable picture")
    assert "image_2/a.png, picture 1" in problem.where


def test_it_runs_as_a_script(data: Fixture, tmp_path: Path) -> None:
    broken_picture(data)
    command = [sys.executable, "training/check.py", str(data.yaml), "--sheet", str(tmp_path / "s.jpg")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "rgb/2.jpg, picture 2: unusable picture: cut off" in done.stdout
    assert (tmp_path / "s.jpg").exists()
    done = subprocess.run([*command[:2], "nowhere.yaml"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "error: nowhere.yaml: no such data set: see config/ for examples\n",
    )
