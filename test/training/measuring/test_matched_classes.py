"""Classes of a model and of data that call some of them otherwise."""

from __future__ import annotations

import pytest

from training.measuring.classes import match_classes

NAMES = {"fish": ("animal_fish", "Fish"), "rov": ("robot",)}


def test_what_the_vocabulary_calls_otherwise_is_the_same_class() -> None:
    matched = match_classes(("rov", "fish", "shark"), ("animal_fish", "crab", "rov"), (3, 5, 9), NAMES)
    assert matched.category_ids == (9, 3, 10)
    assert matched.lacking == ("crab",)
    assert matched.further == {10: "shark"}


def test_without_other_names_only_equal_ones_match() -> None:
    matched = match_classes(("fish",), ("animal_fish",), (3,))
    assert (matched.category_ids, matched.lacking, matched.further) == ((4,), ("animal_fish",), {4: "fish"})


def test_two_classes_of_the_data_that_are_one_of_the_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['fish'\] stand for several classes of the data .*: evaluate without"):
        match_classes(("fish",), ("animal_fish", "Fish"), (1, 2), NAMES)
