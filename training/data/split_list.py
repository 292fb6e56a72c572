"""Which pictures of a COCO file belong to a split, where a CSV file says so."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spda_sam_core.text_file import read_text

_SEPARATORS = ",;\t|"
"""Spreadsheets write the first three, by the country they are in."""


@dataclass(frozen=True)
class SplitList:
    """A list of pictures and their splits.

    Attributes:
        path: its file, for errors.
        rows: fields of each row, in any columns and with any others; a head is a row like any other.
        label: what it says of pictures of this split.
    """

    path: Path
    rows: tuple[tuple[str, ...], ...]
    label: str

    def select(self, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The pictures of this split: the column that names the most pictures is that of the files.

        Args:
            images: entries of the COCO file. A row names one by its path below the folder of the pictures, by its file
                name, or by that without ending.

        Raises:
            ValueError: a picture is in two splits, or a row could mean several.
        """
        of_label = Counter(column for row in self.rows for column, field in enumerate(row) if field == self.label)
        if not of_label:
            return []
        (label_column, _), *_ = of_label.most_common(1)
        names = _Names(images)
        columns = range(max(map(len, self.rows)))
        fields = {column: [row[column] for row in self.rows if column < len(row)] for column in columns}
        file_column = max((c for c in columns if c != label_column), key=lambda c: names.score(fields[c]), default=None)
        splits: dict[int, set[str]] = {}
        for row in self.rows:
            if file_column is None or len(row) <= max(file_column, label_column):
                continue
            meant = names.find(row[file_column])
            if len(meant) > 1:
                several = ", ".join(images[number]["file_name"] for number in meant)
                raise ValueError(f"{self.path}: '{row[file_column]}' may be any of {several}: write the whole path")
            for number in meant:
                splits.setdefault(number, set()).add(row[label_column])
        twice = [number for number, labels in splits.items() if len(labels) > 1]
        if twice:
            labels = " and ".join(sorted(splits[twice[0]]))
            more = f" ({len(twice) - 1} more)" if len(twice) > 1 else ""
            raise ValueError(
                f"{self.path}: '{images[twice[0]]['file_name']}' is in {labels}{more}: put each picture into one split"
            )
        return [image for number, image in enumerate(images) if self.label in splits.get(number, ())]


class _Names:
    """Pictures by the ways in which lists name them; places in the list of pictures."""

    def __init__(self, images: Iterable[Mapping[str, Any]]) -> None:
        self.paths: dict[str, list[int]] = {}
        self.names: dict[str, list[int]] = {}
        self.stems: dict[str, list[int]] = {}
        for number, image in enumerate(images):
            path = _path(image["file_name"])
            for found, key in ((self.paths, str(path)), (self.names, path.name), (self.stems, path.stem)):
                found.setdefault(key, []).append(number)

    def find(self, field: str) -> list[int]:
        path = _path(field)
        return self._by_file(path) or self.stems.get(path.name) or self.stems.get(path.stem) or []

    def score(self, fields: Iterable[str]) -> tuple[int, int]:
        """How many fields are files of pictures, and how many are at least their names without ending."""
        paths = [_path(field) for field in fields]
        return sum(bool(self._by_file(path)) for path in paths), sum(bool(self.find(str(path))) for path in paths)

    def _by_file(self, path: PurePosixPath) -> list[int]:
        return self.paths.get(str(path)) or self.names.get(path.name) or []


def _path(text: str) -> PurePosixPath:
    return PurePosixPath(text.replace("\\", "/"))


def read_split_list(path: Path, label: str) -> SplitList:
    """Read a CSV file, with commas, semicolons, tabs or bars.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of pictures: copy it here or correct listed_in")
    lines = read_text(path).splitlines()
    separator = max(_SEPARATORS, key=lambda mark: max((line.count(mark) for line in lines[:2]), default=0))
    rows = (tuple(field.strip() for field in row) for row in csv.reader(lines, delimiter=separator))
    return SplitList(path, tuple(row for row in rows if row), label)
