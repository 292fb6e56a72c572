"""Which class of a model is which class of the data: they are told by their names, in whatever order."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class MatchedClasses(NamedTuple):
    """The classes of a model among those of the data.

    Attributes:
        category_ids: of each class of the model, in its order: that of the class of this name in the data, or one that
            the data do not use.
        lacking: names of the classes of the data that the model does not have.
        further: names of the classes of the model that the data do not have, by these category ids.
    """

    category_ids: tuple[int, ...]
    lacking: tuple[str, ...]
    further: dict[int, str]


def match_classes(model: Sequence[str], data: Sequence[str], category_ids: Sequence[int]) -> MatchedClasses:
    """Match names; composed and decomposed letters are the same.

    Args:
        model: names of the model's classes.
        data: names of the classes of the data.
        category_ids: of the classes of the data.
    """
    known = {_plain(name): category for name, category in zip(data, category_ids, strict=True)}
    found: list[int] = []
    further: dict[int, str] = {}
    for name in model:
        category = known.get(_plain(name))
        if category is None:
            category = max([*category_ids, *further]) + 1
            further[category] = name
        found.append(category)
    of_model = {_plain(name) for name in model}
    return MatchedClasses(tuple(found), tuple(name for name in data if _plain(name) not in of_model), further)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
