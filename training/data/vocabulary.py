"""A vocabulary: the classes of a model that learns from several data sets, joined by their names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from spda_sam_core.settings import load_settings, settings
from training.data.coco_file import index
from training.data.dataset import CocoRgbdDataset


@settings
class Vocabulary:
    """Classes, and what data sets call them.

    Attributes:
        classes: names, in the order in which a model has them.
        names: of a class, other names that sets have for it. Several names of one set may become one class.
        catch_all: the class of things of which no more is said: they may be of any other class too, while things of
            the others are of one class only. Null: there is no such class.

    Raises:
        ValueError: a class twice, other names or a catch-all that are no class, or a name that could mean two classes.
    """

    classes: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    catch_all: str | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("classes () are none: give at least one")
        seen: dict[str, str] = {}
        everything = [(name, name) for name in self.classes]
        everything += [(other, name) for name, others in self.names.items() for other in others]
        for other, name in everything:
            if name not in self.classes:
                raise ValueError(f"names: '{name}' is none of the classes: {_nearest(name, self.classes)}")
            if other in seen:
                raise ValueError(f"'{other}' stands for '{seen[other]}' and for '{name}': leave one of them out")
            seen[other] = name
        if self.catch_all is not None and self.catch_all not in self.classes:
            raise ValueError(
                f"catch_all: '{self.catch_all}' is none of the classes: {_nearest(self.catch_all, self.classes)}"
            )

    def class_of(self, name: str) -> str:
        """The class that a set calls `name`.

        Raises:
            ValueError: none.
        """
        if name in self.classes:
            return name
        for known, others in self.names.items():
            if name in others:
                return known
        listed = [*self.classes, *(other for others in self.names.values() for other in others)]
        raise ValueError(
            f"class '{name}' is not in the vocabulary: add it to classes or names; {_nearest(name, listed)}"
        )


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read the YAML of a vocabulary, such as `config/classes/sea.yaml`; raises what `load_settings` raises."""
    return load_settings(Vocabulary, path, "vocabulary")


def in_vocabulary(pictures: CocoRgbdDataset, vocabulary: Vocabulary, class_names: Sequence[str]) -> CocoRgbdDataset:
    """A data set with the classes of a vocabulary.

    Args:
        pictures: all pictures of a COCO file, or of a part of it.
        vocabulary: what its names mean.
        class_names: of the result, at least those that its names mean; classes that it has no instances of are well.

    Raises:
        ValueError: a class that the vocabulary does not have.
    """
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    pairs = zip(pictures.category_ids, pictures.class_names, strict=True)
    becomes = {category: ids[vocabulary.class_of(name)] for category, name in pairs}
    document = {
        **pictures.coco.dataset,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "annotations": [
            {**annotation, "category_id": becomes[annotation["category_id"]]}
            for annotation in pictures.coco.dataset["annotations"]
        ],
    }
    return CocoRgbdDataset(
        pictures.root,
        index(document),
        images=pictures.images.relative_to(pictures.root),
        depth=None if pictures.depth is None else pictures.depth.relative_to(pictures.root),
        depth_images=pictures.depth_images,
        bits=pictures.bits,
        cache=pictures.cache,
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    return f"the nearest is '{difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]}'"
