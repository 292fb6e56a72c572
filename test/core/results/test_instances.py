"""`Instances` refuses what does not fit together, and agrees with pycocotools on masks and boxes."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from spda_sam_core.results.instances import Instances, boxes_of_masks, encode_rle

NAMES = ("anode", "hull", "object")


def make(**changes: Any) -> Instances:
    """Two overlapping instances in a 6 x 8 image."""
    masks = np.zeros((2, 6, 8), np.bool_)
    masks[0, 1:4, 2:5] = True
    masks[1, 3:6, 4:8] = True
    fields: dict[str, Any] = {
        "masks": masks,
        "boxes_xyxy": np.array([[2, 1, 5, 4], [4, 3, 8, 6]], np.float32),
        "scores": np.array([0.9, 0.4], np.float32),
        "class_ids": np.array([2, 0], np.int64),
        "class_names": NAMES,
    }
    return Instances(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"masks": np.zeros((6, 8), np.bool_)}, ValueError, r"\(6, 8\): expected \(N, H, W\)"),
        ({"masks": np.zeros((2, 6, 8), np.uint8)}, TypeError, "masks are uint8: expected bool"),
        ({"scores": np.array([0.9], np.float32)}, ValueError, r"scores have shape \(1,\), but 2 masks"),
        ({"boxes_xyxy": np.zeros((2, 5), np.float32)}, ValueError, r"\(2, 5\), but 2 masks need \(2, 4\)"),
        ({"scores": np.array([0.9, 0.4], np.float64)}, TypeError, "scores are float64: expected float32"),
        ({"class_ids": np.array([0, 1], np.int32)}, TypeError, "class_ids are int32: expected int64"),
        ({"scores": np.array([0.4, 0.9], np.float32)}, ValueError, "descending"),
        ({"scores": np.array([1.5, 0.9], np.float32)}, ValueError, r"must lie in \[0, 1\]"),
        ({"scores": np.array([np.nan, 0.9], np.float32)}, ValueError, r"must lie in \[0, 1\]"),
        ({"class_ids": np.array([0, 3], np.int64)}, ValueError, r"\[0, 3\] must lie in 0\.\.2"),
        ({"class_ids": np.array([-1, 0], np.int64)}, ValueError, r"\[-1, 0\] must lie in 0\.\.2"),
    ],
)
def test_contradictions_are_refused_with_both_values(
    changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make(**changes)


def test_size_and_length() -> None:
    instances = make()
    assert (len(instances), instances.height, instances.width) == (2, 6, 8)


def test_an_empty_result_keeps_the_image_size_and_gives_an_empty_label_image() -> None:
    nothing = Instances.empty(6, 8, NAMES)
    assert (len(nothing), nothing.height, nothing.width) == (0, 6, 8)
    assert nothing.to_coco(1) == []
    assert nothing.to_label_image().shape == (6, 8)
    assert not nothing.to_label_image().any()


def test_filter_keeps_scores_at_the_threshold() -> None:
    assert make().filter(score_threshold=0.4).scores.tolist() == pytest.approx([0.9, 0.4])
    assert make().filter(score_threshold=0.41).class_ids.tolist() == [2]


def test_filter_by_class_name() -> None:
    assert make().filter(class_names=["anode"]).class_ids.tolist() == [0]
    assert len(make().filter(class_names=[])) == 0
    with pytest.raises(ValueError, match=r"unknown classes \['anod'\]: choose from anode, hull, object"):
        make().filter(class_names=["anod"])


def test_label_image_gives_overlaps_to_the_higher_score() -> None:
    label = make().to_label_image()
    assert label.dtype == np.uint16
    assert label[3, 4] == 1  # in both masks
    assert label[5, 7] == 2
    assert label[0, 0] == 0
    assert (label == 1).sum() == 9
    assert (label == 2).sum() == 11


def test_coco_results_are_json_and_carry_the_masks() -> None:
    results = json.loads(json.dumps(make().to_coco(image_id=7)))
    assert [r["category_id"] for r in results] == [3, 1]
    assert [r["bbox"] for r in results] == [[2, 1, 3, 3], [4, 3, 4, 3]]
    assert {r["image_id"] for r in results} == {7}
    decoded = [coco_mask.decode(r["segmentation"]).astype(bool) for r in results]
    np.testing.assert_array_equal(decoded, make().masks)


def test_supervision_detections_carry_everything() -> None:
    sv = pytest.importorskip("supervision")
    instances = make()
    detections = instances.to_supervision()
    assert isinstance(detections, sv.Detections)
    assert len(detections) == 2
    np.testing.assert_array_equal(detections.xyxy, instances.boxes_xyxy)
    np.testing.assert_array_equal(detections.mask, instances.masks)
    np.testing.assert_array_equal(detections.confidence, instances.scores)
    np.testing.assert_array_equal(detections.class_id, instances.class_ids)
    assert detections.data["class_name"].tolist() == ["object", "anode"]
    # what supervision derives from masks and half-open boxes
    assert detections.area.tolist() == instances.masks.sum(axis=(1, 2)).tolist() == [9, 12]
    assert detections.box_area.tolist() == [9, 12]
    chosen = detections[detections.data["class_name"] == "anode"]
    np.testing.assert_array_equal(chosen.mask, instances.filter(class_names=["anode"]).masks)


def test_supervision_detections_of_an_empty_result() -> None:
    sv = pytest.importorskip("supervision")
    detections = Instances.empty(6, 8, NAMES).to_supervision()
    assert len(detections) == 0
    assert (detections.xyxy.shape, detections.mask.shape) == ((0, 4), (0, 6, 8))
    assert (detections.confidence.shape, detections.class_id.shape) == ((0,), (0,))
    assert detections.data["class_name"].tolist() == []
    assert detections.area.tolist() == []
    both = sv.Detections.merge([detections, make().to_supervision()])  # as over the frames of a video
    assert both.data["class_name"].tolist() == ["object", "anode"]


def test_without_supervision_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)  # as if not installed
    with pytest.raises(ImportError, match="pip install supervision"):
        make().to_supervision()


def random_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    blobs = rng.random((4, 90, 70)) < np.array([0.02, 0.3, 0.7, 0.999])[:, None, None]
    big = np.zeros((300, 400), np.bool_)  # runs long enough for three 5-bit groups
    big[20:250, 30:390] = True
    return [*blobs, big, np.zeros((5, 4), np.bool_), np.ones((5, 4), np.bool_), np.eye(7, dtype=np.bool_)]


@pytest.mark.parametrize("mask", random_masks())
def test_rle_equals_pycocotools(mask: np.ndarray) -> None:
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = encode_rle(mask)
    assert ours["counts"] == theirs["counts"].decode("ascii")
    assert ours["size"] == list(theirs["size"])
    assert coco_mask.area(ours) == mask.sum()


def test_boxes_equal_those_of_pycocotools() -> None:
    masks = np.stack([m for m in random_masks() if m.shape == (90, 70)])
    x, y, w, h = np.stack([coco_mask.toBbox(encode_rle(m)) for m in masks]).T
    np.testing.assert_array_equal(boxes_of_masks(masks), np.stack([x, y, x + w, y + h], axis=1))


def test_the_box_of_an_empty_mask_is_zero() -> None:
    assert boxes_of_masks(np.zeros((1, 4, 4), np.bool_)).tolist() == [[0, 0, 0, 0]]
