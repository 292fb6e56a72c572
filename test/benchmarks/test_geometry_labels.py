"""Labels from the geometry that estimated depth gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.geometry_labels import begin_or_go_on, geometry_picture, of_classes, things_met, with_proposals
from training.data.coco_file import annotation_of_mask

HEIGHT, WIDTH = 40, 60


def square(top: int, left: int, side: int = 8) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def document(**things: np.ndarray) -> dict:
    """One picture with things of the classes that the arguments name."""
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(things)],
        "annotations": [{**annotation_of_mask(mask, 7, i + 1), "id": i + 1} for i, mask in enumerate(things.values())],
    }


def found(mask: np.ndarray, score: float) -> dict:
    return {**annotation_of_mask(mask, 7, 1), "score": score}


def test_a_plane_has_the_normal_of_the_plane() -> None:
    near = np.tile(np.linspace(0, 1, 201, dtype=np.float32), (101, 1))  # inverse depth of a plane is linear
    picture = geometry_picture(near, (101, 201)) / 255 * 2 - 1
    # 2 % at either end are cut off; in the middle inverse depth is 0.55 and rises by 0.9 / 0.96 over the width
    slope = 0.87 * 201 * (0.9 / 0.96 / 200) / 0.55  # focal length times the relative change of depth
    assert picture[50, 100] == pytest.approx([0, slope / np.hypot(slope, 1), 0], abs=0.03)
    upright = geometry_picture(near.T.copy(), (201, 101)) / 255 * 2 - 1
    slope *= 101 / 201
    assert upright[100, 50] == pytest.approx([0, 0, slope / np.hypot(slope, 1)], abs=0.03)


def test_some_classes_become_one_and_pictures_without_them_go() -> None:
    both = document(fish=square(0, 0), trash_can=square(20, 20))
    both["images"].append({"id": 8, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH})
    both["annotations"].append({**annotation_of_mask(square(5, 5), 8, 1), "id": 3})
    trash = of_classes(both, {"trash_can"})
    assert [image["id"] for image in trash["images"]] == [7]
    assert [(a["id"], a["category_id"]) for a in trash["annotations"]] == [(2, 1)]
    assert trash["categories"] == [{"id": 1, "name": "object"}]
    assert len(of_classes(both, {"fish"})["images"]) == 2


def test_the_best_proposals_away_from_labels_and_from_each_other_become_labels() -> None:
    labels = document(trash_can=square(0, 0))
    results = [
        found(square(20, 40), 0.3),
        found(square(20, 20), 0.6),
        found(square(21, 20), 0.5),  # the one before, displaced
        found(square(0, 3), 0.9),  # on the label
        found(square(1, 1, 7), 0.9),  # a part of it
        found(square(0, 0, 30), 0.9),  # holds it
        found(square(30, 50, 5), 0.8),  # too small
        found(np.ones((HEIGHT, WIDTH), np.bool_), 0.8),  # too large
        found(square(30, 0), 0.2),  # one too many
    ]
    more = with_proposals(labels, results, top=2)["annotations"]
    assert more[0] == labels["annotations"][0]
    assert [(a["id"], a["image_id"], a["bbox"]) for a in more[1:]] == [(2, 7, [20, 20, 8, 8]), (3, 7, [40, 20, 8, 8])]


def test_a_thing_is_met_by_a_label_that_covers_most_of_it() -> None:
    hidden = document(fish=square(0, 0), eel=square(20, 20), crab=square(30, 40))
    added = [found(square(1, 1), 0.5), found(square(20, 25), 0.5)]  # IoU 49 / 79 and 24 / 104
    assert things_met(hidden, added) == 1


def test_what_other_options_have_made_is_not_taken_for_theirs(tmp_path: Path) -> None:
    file = tmp_path / "run" / "options.json"
    begin_or_go_on(file, {"top": 1, "depth_estimator": None})
    begin_or_go_on(file, {"top": 1, "depth_estimator": None})
    with pytest.raises(ValueError, match=r"top 1, not 2.*--output"):
        begin_or_go_on(file, {"top": 2, "depth_estimator": None})
