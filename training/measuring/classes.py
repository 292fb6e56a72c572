"""Which class of a model is which class of the data: they are told by their names, in whatever order."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
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


def match_classes(
    model: Sequence[str],
    data: Sequence[str],
    category_ids: Sequence[int],
    other_names: Mapping[str, Sequence[str]] | None = None,
) -> MatchedClasses:
    """Match names; composed and decomposed letters are the same.

    Args:
        model: names of the model's classes.
        data: names of the classes of the data.
        category_ids: of the classes of the data.
        other_names: what data may call a class of the model beside its name, see `Vocabulary.names`.

    Raises:
        ValueError: two classes of the data are one of the model: no detection could tell which it is.
    """
    aliases = {_plain(other): _plain(name) for name, others in (other_names or {}).items() for other in others}
    named = [aliases.get(_plain(name), _plain(name)) for name in data]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ValueError(
            f"{twice} stand for several classes of the data {list(data)}: evaluate without their other names"
        )
    known = dict(zip(named, category_ids, strict=True))
    found: list[int] = []
    further: dict[int, str] = {}
    for name in model:
        category = known.get(_plain(name))
        if category is None:
            category = max([*category_ids, *further]) + 1
            further[category] = name
        found.append(category)
    of_model = {_plain(name) for name in model}
    return MatchedClasses(
        tuple(found), tuple(name for name, own in zip(data, named, strict=True) if own not in of_model), further
    )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
