"""`spda-sam survey` and `predict` on a bag: the same as on pictures, with metres, and without a traceback."""

from __future__ import annotations

import csv
import json

import bag_file
import cv2
import numpy as np
import pytest
from test_result_bag import labels_of, read_back
from wall import PASS, SIZE_HW, SeesDiscs, pictures

from spda_sam_core.cli import predict, survey
from spda_sam_core.spda_sam import SpdaSam

START = 1_700_000_000_000_000_000
FOCAL = 200.0
DEPTH_MM = np.full(SIZE_HW, 2000, np.uint16)


def bag_of_the_wall(path, *, damaged_at=None, mcap=False, info=True, depth=True):
    """The way past the wall at 2 Hz, with depth."""
    messages = [("/cam/camera_info", START - 1, bag_file.camera_info(SIZE_HW, FOCAL))] if info else []
    for frame in pictures(PASS):
        stamp = START + frame.stamp_ns
        messages.append(("/cam/image", stamp, bag_file.image(stamp, frame.rgb, "rgb8")))
        if depth:
            messages.append(("/cam/depth", stamp + 1000, bag_file.image(stamp, DEPTH_MM, "16UC1")))
    raw = {} if damaged_at is None else {1 + 2 * damaged_at: b"\0\1\0\0damaged"}
    return bag_file.write_bag(path, messages, raw=raw, mcap=mcap)


def test_a_bag_is_surveyed_in_metres_and_what_is_damaged_in_it_is_listed(tmp_path, model, capsys) -> None:
    bag = bag_of_the_wall(tmp_path / "bag", damaged_at=5)
    assert survey.main([str(bag), "-o", str(tmp_path / "out")]) == 3
    assert "picture 5: " in capsys.readouterr().out
    assert "picture 5: " in (tmp_path / "out/report.html").read_text()
    with (tmp_path / "out/findings.csv").open() as file:
        findings = [row for row in csv.DictReader(file) if int(row["frames"]) > 1]
    assert {row["strip_unit"] for row in findings} == {"m"}
    per_px = 2.0 / FOCAL
    sizes = sorted(float(row["area_m2"]) for row in findings)
    np.testing.assert_allclose(sizes, np.pi * (np.array([12, 14, 15]) * per_px) ** 2, rtol=0.05)
    with (tmp_path / "out/instances.csv").open() as file:
        assert {float(row["z_m"]) for row in csv.DictReader(file)} == {2.0}


def test_without_camera_info_sizes_are_in_pixels_unless_the_camera_is_given(tmp_path, model, capsys) -> None:
    bag = str(bag_of_the_wall(tmp_path / "bag", info=False))
    survey.main([bag, "-o", str(tmp_path / "pixels")])
    assert "depth without camera_info: sizes are in pixels; --camera gives" in capsys.readouterr().out
    survey.main([bag, "-o", str(tmp_path / "metres"), "--camera", "200", "200", "79.5", "59.5"])
    assert "depth without" not in capsys.readouterr().out
    units = []
    for name in ("pixels", "metres"):
        with (tmp_path / name / "findings.csv").open() as file:
            units.append({row["strip_unit"] for row in csv.DictReader(file)})
    assert units == [{"picture widths"}, {"m"}]


def test_a_camera_without_depth_gives_no_metres_and_is_refused(tmp_path, model) -> None:
    bag = str(bag_of_the_wall(tmp_path / "bag", depth=False))
    with pytest.raises(ValueError, match=r"--camera: .* has no depth, and metres need both"):
        survey.main([bag, "-o", str(tmp_path / "out"), "--camera", "200", "200", "79.5", "59.5"])


def test_a_survey_of_a_bag_goes_on_after_a_kill(tmp_path, model, monkeypatch) -> None:
    bag = bag_of_the_wall(tmp_path / "bag")
    killed = SeesDiscs(fails_at=20)
    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: killed)
    with pytest.raises(KeyboardInterrupt):
        survey.main([str(bag), "-o", str(tmp_path / "a")])
    assert len(read_back(tmp_path / "a/bag")["/spda_sam/detections"]) == 20  # what was found so far can be played
    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: model)
    assert survey.main([str(bag), "-o", str(tmp_path / "a"), "--resume"]) == 0
    assert model.asked == len(PASS) - 20
    survey.main([str(bag), "-o", str(tmp_path / "b")])
    whole = [p.relative_to(tmp_path / "b") for p in sorted((tmp_path / "b").rglob("*")) if p.is_file()]
    for path in whole:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_predict_looks_at_each_nth_picture_of_a_bag(tmp_path, monkeypatch) -> None:
    class Model(SeesDiscs):
        def predict(self, rgb, depth_m=None, *, estimate_depth, **options):
            np.testing.assert_array_equal(depth_m, 2.0)
            return super().predict(rgb, depth_m, **options)

    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: Model())
    bag = bag_of_the_wall(tmp_path / "bag", mcap=True)
    assert predict.main([str(bag), "--out", str(tmp_path / "out"), "--every", "10"]) == 0
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"{n:06d}.jpg" for n in (0, 10, 20, 30)]


def test_the_bag_that_is_written_agrees_with_tables_labels_and_coco(tmp_path, model) -> None:
    survey.main([str(bag_of_the_wall(tmp_path / "in")), "-o", str(tmp_path / "out")])
    found = read_back(tmp_path / "out/bag")
    with (tmp_path / "out/instances.csv").open() as file:
        rows = list(csv.DictReader(file))
    coco = json.loads((tmp_path / "out/coco.json").read_text())
    boxes = {(a["image_id"], round(a["score"], 4), a["area"]): a["bbox"] for a in coco["annotations"]}
    image_ids = {image["file_name"]: image["id"] for image in coco["images"]}
    detections = [message for _, message in found["/spda_sam/detections"]]
    assert len(detections) == len(PASS)
    seen = 0
    for number, ((_, labels), array) in enumerate(zip(found["/spda_sam/instances"], detections, strict=True)):
        name = f"{number:06d}"
        picture = cv2.imread(str(tmp_path / f"out/labels/{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels_of(labels), picture)
        stamp = array.header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == START + number * 500_000_000
        mine = [row for row in rows if row["frame"] == f"{name}.jpg"]
        assert len(array.detections) == len(mine)
        for row, detection in zip(mine, array.detections, strict=True):
            hypothesis = detection.results[0].hypothesis
            assert (hypothesis.class_id, detection.id) == (row["class"], row["track"])
            area = int(row["area_px"])
            assert np.count_nonzero(labels_of(labels) == int(row["label"])) == area
            x, y, w, h = boxes[image_ids[f"{name}.jpg"], round(hypothesis.score, 4), area]
            position = detection.bbox.center.position
            assert (position.x, position.y) == pytest.approx((x + w / 2, y + h / 2))
            assert (detection.bbox.size_x, detection.bbox.size_y) == pytest.approx((w, h))
            seen += 1
    assert seen == len(rows) > 10
