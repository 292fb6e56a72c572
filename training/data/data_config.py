"""The YAML of a data set: its format, its folder, its splits, and what its depth images mean.

One file per data set lies in `config/data/`; docs/datasets.md says where each comes from.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from spda_sam_core.config import check_keys
from training.data.depth_cache import cache_folder
from training.data.pictures import MILLIMETRES, DepthImages, inside

DataFormat = Literal["rendered", "coco", "cityscapes", "kitti"]


@dataclass(frozen=True)
class CocoSplit:
    """A split of format "coco"; all paths are relative to the data set's root.

    Attributes:
        annotations: the COCO file, or names that it may have, of which the first that exists is taken.
        images: folder that its `file_name`s are relative to.
        depth: folder with a depth image for each picture: `depth_file_name` in the COCO file, or else the picture's
            own name ending in .png. Without it there is no depth.
        listed_in: CSV file that says which pictures belong to which split, where one COCO file holds them all.
        listed_as: what it says of pictures of this split.
    """

    annotations: str | tuple[str, ...]
    images: str
    depth: str | None = None
    listed_in: str | None = None
    listed_as: str | None = None

    def __post_init__(self) -> None:
        if (self.listed_in is None) != (self.listed_as is None):
            raise ValueError(f"listed_in {self.listed_in} and listed_as {self.listed_as}: give both or neither")


@dataclass(frozen=True)
class LabelSplit:
    """A split of format "cityscapes" or "kitti"; paths are relative to the root, {} stands for a picture's name.

    Attributes:
        images: colour pictures.
        instances: 16-bit PNGs whose pixels name class and instance.
        depth: depth images, or none.
    """

    images: str
    instances: str
    depth: str | None = None

    def __post_init__(self) -> None:
        for name in ("images", "instances", "depth"):
            template = getattr(self, name)
            if template is not None and template.count("{}") != 1:
                raise ValueError(f"{name} '{template}' must have one {{}}, which stands for the picture's name")


@dataclass(frozen=True)
class DataConfig:
    """A data set that is not rendered.

    Attributes:
        format: how it is stored.
        root: its folder, relative to where the program is started.
        splits: by name; training needs "train" and "val".
        depth: what its depth images mean, None where it has none.
        depth_estimator: Depth Anything V2, a file or a folder: pictures without a depth image have its estimates,
            once `training.estimate_depth` has made them.
        merge_classes: name of the one class that all classes become, for class-agnostic work.
        classes: names by class id, of the formats whose files do not name them.
    """

    format: DataFormat
    root: Path
    splits: Mapping[str, CocoSplit | LabelSplit]
    depth: DepthImages | None = None
    depth_estimator: str | None = None
    merge_classes: str | None = None
    classes: Mapping[int, str] | None = None

    def __post_init__(self) -> None:
        if (self.format == "coco") != (self.classes is None):
            raise ValueError(f"format '{self.format}', classes {self.classes}: coco has none, the others need them")
        for number, name in (self.classes or {}).items():
            if not isinstance(number, int) or not isinstance(name, str):
                raise ValueError(f"classes: {number!r}: {name!r} must be a class id and its name, such as 26: car")
        for name, split in self.splits.items():
            if split.depth is not None and self.depth is None:
                raise ValueError(f"split '{name}' has depth images: say what they mean in depth: {{kind: ...}}")


@dataclass(frozen=True)
class SplitFiles:
    """Where a split lies.

    Attributes:
        root: folder of the data set.
        annotations: the COCO file.
        images: folder of the pictures.
        depth: folder of the depth images, or None.
        depth_images: what they mean.
        cache: folder of estimates for pictures without a depth image, or None.
        merge_classes: see `DataConfig`.
        only: file names that belong to the split; None: all of the COCO file.
    """

    root: Path
    annotations: Path
    images: Path
    depth: Path | None
    depth_images: DepthImages
    cache: Path | None = None
    merge_classes: str | None = None
    only: frozenset[str] | None = None


def read_yaml(path: Path) -> tuple[DataFormat, dict[str, Any]]:
    """The format of a data set, "rendered" where it names none, and the entries of its YAML.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no mapping, or an unknown format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such data set: see config/data/ for examples")
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: holds {type(entries).__name__}: see config/data/ for examples")
    name = entries.get("format", "rendered")
    if name not in get_args(DataFormat):
        raise ValueError(f"{path}: format '{name}': choose one of {', '.join(get_args(DataFormat))}")
    return name, entries


def load_data_config(path: Path) -> DataConfig:
    """Read the YAML of a data set that is not rendered.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown or a missing key, or values that contradict each other.
    """
    name, entries = read_yaml(path)
    check_keys(f"{path}", entries, DataConfig)
    kind = CocoSplit if name == "coco" else LabelSplit
    try:
        depth = entries.get("depth")
        if depth is not None:
            check_keys("depth", depth, DepthImages)
        splits = {}
        for split, given in entries["splits"].items():
            check_keys(f"split '{split}'", given, kind)
            splits[split] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
        return DataConfig(
            format=name,
            root=Path(entries["root"]),
            splits=splits,
            depth=None if depth is None else DepthImages(**depth),
            depth_estimator=entries.get("depth_estimator"),
            merge_classes=entries.get("merge_classes"),
            classes=entries.get("classes"),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def split_names(path: Path) -> tuple[str, ...]:
    """Names of the splits in the YAML of a data set; raises what `read_yaml` raises, ValueError if there are none."""
    splits = read_yaml(path)[1].get("splits")
    if not isinstance(splits, dict) or not splits:
        raise ValueError(f"{path}: no splits: see config/data/ for examples")
    return tuple(splits)


def split_files(path: Path, split: str) -> SplitFiles:
    """Where a split lies. Nothing is rendered or converted.

    Raises:
        FileNotFoundError: no such YAML, or a list of pictures or an estimator that it names is missing.
        ValueError: no such split, or what `load_data_config` refuses.
    """
    names = split_names(path)
    if split not in names:
        raise ValueError(f"{path}: no split '{split}': choose one of {', '.join(names)}")
    name, entries = read_yaml(path)
    if name == "rendered":
        folder = Path(entries["root"]) / split
        return SplitFiles(folder, folder / "annotations.json", folder / "rgb", folder / "depth", MILLIMETRES)
    config = load_data_config(path)
    root, chosen = config.root, config.splits[split]
    depth_images = config.depth or MILLIMETRES
    cache = None if config.depth_estimator is None else cache_folder(root, config.depth_estimator)
    if isinstance(chosen, LabelSplit):
        depth = root if chosen.depth is not None else None
        return SplitFiles(root, root / f"coco_{split}.json", root, depth, depth_images, cache, config.merge_classes)
    listed = [chosen.annotations] if isinstance(chosen.annotations, str) else chosen.annotations
    candidates = [inside(root, file) for file in listed]
    return SplitFiles(
        root=root,
        annotations=next((file for file in candidates if file.is_file()), candidates[0]),
        images=inside(root, chosen.images),
        depth=None if chosen.depth is None else inside(root, chosen.depth),
        depth_images=depth_images,
        cache=cache,
        merge_classes=config.merge_classes,
        only=None if chosen.listed_in is None else _listed(inside(root, chosen.listed_in), str(chosen.listed_as)),
    )


def _listed(path: Path, label: str) -> frozenset[str]:
    """All other fields of the rows of a CSV file that have the field `label`: a file name is one of them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of pictures: copy it here or correct listed_in")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[field.strip() for field in row] for row in csv.reader(file)]
    return frozenset(field for row in rows if label in row for field in row if field != label)
