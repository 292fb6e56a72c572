"""Classes of several sets are joined by their names, as a YAML says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mixed_sets import write_set

from training.data.dataset import open_split
from training.data.vocabulary import Vocabulary, in_vocabulary, load_vocabulary
from training.world.scene import CLASS_NAMES

REPOSITORY = Path(__file__).resolve().parents[3]


def test_names_of_a_set_become_classes_of_the_vocabulary(tmp_path: Path) -> None:
    pictures = open_split(write_set(tmp_path / "sea", ["trash", "animal_fish", "eel"], pictures=6), "train")
    vocabulary = Vocabulary(("fish", "anode", "trash"), {"fish": ("animal_fish", "eel")})
    joined = in_vocabulary(pictures, vocabulary, ["anode", "fish", "trash"])
    assert joined.class_names == ("anode", "fish", "trash")
    assert [joined[i].class_ids.tolist() for i in range(6)] == [[2], [1], [1]] * 2
    assert [joined.file_name(i) for i in range(6)] == [pictures.file_name(i) for i in range(6)]
    assert [c["name"] for c in joined.coco.dataset["categories"]] == ["anode", "fish", "trash"]  # what is measured
    assert all((joined[i].masks == pictures[i].masks).all() for i in range(6))


def test_a_class_that_the_vocabulary_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    pictures = open_split(write_set(tmp_path / "sea", ["animal_fsh"]), "train")
    vocabulary = Vocabulary(("fish", "anode"), {"fish": ("animal_fish",)})
    with pytest.raises(
        ValueError,
        match="class 'animal_fsh' is not in the vocabulary: add it to classes or names; the nearest is 'animal_fish'",
    ):
        in_vocabulary(pictures, vocabulary, ["fish", "anode"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"classes": "fish"}, "classes: 'fish' is no list"),
        ({"classes": []}, r"classes \(\) are none: give at least one"),
        ({"classes": ["fish", "fish"]}, "'fish' stands for 'fish' and for 'fish': leave one of them out"),
        (
            {"classes": ["fish"], "names": {"fsh": ["eel"]}},
            "names: 'fsh' is none of the classes: the nearest is 'fish'",
        ),
        ({"classes": ["fish", "eel"], "names": {"fish": ["eel"]}}, "'eel' stands for 'eel' and for 'fish'"),
        ({"classes": ["fish"], "names": {"fish": "eel"}}, "names.fish: 'eel' is no list"),
        ({"classes": ["fish"], "name": {}}, "unknown key 'name': did you mean 'names'"),
        (
            {"classes": ["fish", "thing"], "catch_all": "things"},
            "catch_all: 'things' is none of the classes: the nearest is 'thing'",
        ),
    ],
)
def test_a_wrong_vocabulary_is_refused_by_file_key_and_value(
    entries: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    with pytest.raises(ValueError, match=f"classes.yaml: {message}"):
        load_vocabulary(path)


def test_the_shipped_vocabulary_joins_what_the_sets_have_in_common() -> None:
    sea = load_vocabulary(REPOSITORY / "config/classes/sea.yaml")
    assert sea.classes[: len(CLASS_NAMES)] == CLASS_NAMES
    assert len(sea.classes) == 11 + 22 + 5
    of_coco = ("person", "toothbrush", "traffic light", "tv", "bird")
    assert {sea.class_of(name) for name in of_coco} == {"object"}
    assert len(sea.names["object"]) == 80
    assert sea.catch_all == "object"
    pairs = {
        "animal_fish": "fish",
        "fish": "fish",
        "animal_starfish": "starfish",
        "over_board_valves": "over_board_valve",
    }
    assert {name: sea.class_of(name) for name in pairs} == pairs
