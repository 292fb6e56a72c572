"""The YAML of a data set: its format, its folder, its splits, and what its depth images mean.

One file per data set lies in `config/data/`; docs/datasets.md says where each comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from spda_sam_core.settings import read_yaml, settings, settings_from
from training.data.depth_cache import cache_folder
from training.data.pictures import MILLIMETRES, DepthImages, inside
from training.data.split_list import SplitList, read_split_list

DataFormat = Literal["rendered", "coco", "cityscapes", "kitti"]


@settings
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
        if not self.annotations:
            raise ValueError("annotations name no file: give one, or a list of names that it may have")
        if (self.listed_in is None) != (self.listed_as is None):
            raise ValueError(f"listed_in {self.listed_in} and listed_as {self.listed_as}: give both or neither")


@settings
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


@settings
class CocoData:
    """A data set of format "coco".

    Attributes:
        root: its folder, relative to where the program is started.
        splits: by name; training needs "train" and "val".
        format: how it is stored.
        depth: what its depth images mean, None where it has none.
        bits: bits of a value in colour pictures of 16 bits, where a camera fills fewer, such as 12; null: 16.
        depth_estimator: Depth Anything V2, a file or a folder: pictures without a depth image have its estimates,
            once `training.estimate_depth` has made them.
        merge_classes: name of the one class that all classes become, for class-agnostic work.
        scenes: regular expression; pictures whose file names have the same first match are of one scene, such as a
            clip, and are never parted by `training.data.held_back`. None: each picture is a scene of its own.
        model_terms: what a model that has learned from these pictures may be used for, where that is not anything; it
            goes into the checkpoint, and is shown whenever that is loaded.
    """

    root: Path
    splits: Mapping[str, CocoSplit]
    format: Literal["coco"] = "coco"
    depth: DepthImages | None = None
    bits: int | None = None
    depth_estimator: str | None = None
    merge_classes: str | None = None
    scenes: str | None = None
    model_terms: str | None = None

    def __post_init__(self) -> None:
        _check_pictures(self.splits, self.depth, self.bits)
        try:
            re.compile(self.scenes or "")
        except re.error as error:
            raise ValueError(f"scenes '{self.scenes}' is no regular expression ({error})") from error


@settings
class LabelData:
    """A data set of format "cityscapes" or "kitti".

    Attributes:
        format: how it is stored.
        classes: names by class id, which its files do not tell.
        root, splits, depth, bits, depth_estimator, merge_classes: as in `CocoData`.
    """

    format: Literal["cityscapes", "kitti"]
    root: Path
    splits: Mapping[str, LabelSplit]
    classes: Mapping[int, str]
    depth: DepthImages | None = None
    bits: int | None = None
    depth_estimator: str | None = None
    merge_classes: str | None = None

    def __post_init__(self) -> None:
        _check_pictures(self.splits, self.depth, self.bits)


def _check_pictures(
    splits: Mapping[str, CocoSplit] | Mapping[str, LabelSplit], depth: DepthImages | None, bits: int | None
) -> None:
    if bits is not None and not 8 <= bits <= 16:
        raise ValueError(f"bits {bits} must lie in 8..16")
    for name, split in splits.items():
        if split.depth is not None and depth is None:
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
        bits: see `CocoData`.
        cache: folder of estimates for pictures without a depth image, or None.
        merge_classes: see `CocoData`.
        listed: which pictures of the COCO file belong to the split; None: all of them.
    """

    root: Path
    annotations: Path
    images: Path
    depth: Path | None
    depth_images: DepthImages
    bits: int | None = None
    cache: Path | None = None
    merge_classes: str | None = None
    listed: SplitList | None = None


def read_data(path: Path) -> tuple[DataFormat, dict[str, Any]]:
    """The format of a data set, "rendered" where it names none, and the entries of its YAML.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no mapping, or an unknown format.
    """
    entries = read_yaml(path, "data set")
    name = entries.get("format", "rendered")
    if name not in get_args(DataFormat):
        raise ValueError(f"{path}: format: {name!r}: choose one of {', '.join(get_args(DataFormat))}")
    return name, entries


def load_data_config(path: Path) -> CocoData | LabelData:
    """Read the YAML of a data set that is not rendered; raises what `load_settings` raises."""
    name, entries = read_data(path)
    return settings_from(CocoData if name == "coco" else LabelData, entries, str(path))


def model_terms_of(path: Path) -> str | None:
    """See `CocoData.model_terms`; raises what `load_data_config` raises."""
    if read_data(path)[0] != "rendered" and isinstance(config := load_data_config(path), CocoData):
        return config.model_terms
    return None


def scene_of_pictures(path: Path) -> Callable[[str], str]:
    """What names the scene of a picture of a data set by its file name; raises what `load_data_config` raises."""
    scenes = None
    if read_data(path)[0] != "rendered" and isinstance(config := load_data_config(path), CocoData):
        scenes = config.scenes
    if scenes is None:
        return str
    pattern = re.compile(scenes)

    def scene(file_name: str) -> str:
        found = pattern.search(file_name)
        return found.group() if found else file_name

    return scene


def split_names(path: Path) -> tuple[str, ...]:
    """Names of the splits in the YAML of a data set; raises what `read_data` raises, ValueError if there are none."""
    splits = read_data(path)[1].get("splits")
    if not isinstance(splits, dict) or not splits:
        raise ValueError(f"{path}: no splits: see config/data/ for examples")
    return tuple(splits)


def split_files(path: Path, split: str) -> SplitFiles:
    """Where a split lies. Nothing is rendered or converted.

    Raises:
        FileNotFoundError: no such YAML, or a list of pictures or an estimator that it names is missing.
        ValueError: no such split, or what its settings refuse.
    """
    names = split_names(path)
    if split not in names:
        raise ValueError(f"{path}: no split '{split}': choose one of {', '.join(names)}")
    if read_data(path)[0] == "rendered":
        # here, because only rendered data need the renderer
        from training.data.rendered_folder import load_rendered_config

        folder = load_rendered_config(path).root / split
        return SplitFiles(folder, folder / "annotations.json", folder / "rgb", folder / "depth", MILLIMETRES)
    config = load_data_config(path)
    root, chosen = config.root, config.splits[split]
    depth_images = config.depth or MILLIMETRES
    cache = None if config.depth_estimator is None else cache_folder(root, config.depth_estimator)
    if isinstance(chosen, LabelSplit):
        depth = root if chosen.depth is not None else None
        return SplitFiles(
            root, root / f"coco_{split}.json", root, depth, depth_images, config.bits, cache, config.merge_classes
        )
    listed = [chosen.annotations] if isinstance(chosen.annotations, str) else chosen.annotations
    candidates = [inside(root, file) for file in listed]
    return SplitFiles(
        root=root,
        annotations=next((file for file in candidates if file.is_file()), candidates[0]),
        images=inside(root, chosen.images),
        depth=None if chosen.depth is None else inside(root, chosen.depth),
        depth_images=depth_images,
        bits=config.bits,
        cache=cache,
        merge_classes=config.merge_classes,
        listed=None
        if chosen.listed_in is None
        else read_split_list(inside(root, chosen.listed_in), str(chosen.listed_as)),
    )
