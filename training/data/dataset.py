"""Labelled pictures for training and evaluation: `open_split` opens any data set of `config/data/`."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from spda_sam_core.picture_file import Picture, read_picture
from training.data.coco_file import load_coco, to_rle
from training.data.data_config import LabelData, SplitFiles, load_data_config, read_data, split_files
from training.data.depth_cache import cached_file, read_cached
from training.data.label_store import LabelStore
from training.data.pictures import (
    MILLIMETRES,
    DepthImages,
    depth_file,
    inside,
    read_depth_m,
    read_relative_inverse_depth,
)
from training.data.split_list import SplitList


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    Attributes:
        image_id: id in the COCO file.
        file_name: name below the folder of the pictures.
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, NaN is unknown; None where there is no metric depth for it.
        masks: (N, H, W) bool.
        class_ids: (N,) int64, index into `CocoRgbdDataset.class_names`.
        relative_inverse_depth: (H, W) float32, larger is nearer, of unknown scale and offset: from a relative depth
            image, or a cached estimate where there is no depth image; else None.
    """

    image_id: int
    file_name: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    masks: NDArray[np.bool_]
    class_ids: NDArray[np.int64]
    relative_inverse_depth: NDArray[np.float32] | None = None


class CocoRgbdDataset:
    """The pictures of a COCO file, in the order of their ids; crowd annotations are left out of the masks.

    Processes that get it by `spawn` share its labels, and get no `coco`, which would be a copy for each.

    Args:
        root: folder of the data set.
        annotations: the COCO file, or what `training.data.coco_file.index` made of one.
        images: folder of the pictures, below `root`.
        depth: folder of the depth images, below `root`: `depth_file_name` of the picture in the COCO file, or else
            its own name ending in .png; None: there are none.
        depth_images: what they mean.
        bits: see `training.data.data_config.CocoData`.
        cache: folder of cached estimates, for pictures without a depth image.
        merge_classes: name of the one class that all classes become.
        listed: which pictures to take; None: all.
        limit: only the first pictures.

    Attributes:
        coco: the pycocotools index of the file, all pictures.
        class_names: names of the categories in the order of their ids.
        category_ids: the COCO id of each class.
        image_ids: ids of the pictures of this data set.

    Raises:
        FileNotFoundError: no such COCO file.
        ValueError: the file is damaged, see `training.data.coco_file.load_coco`; or a limit below 1.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | Path | COCO,
        *,
        images: str | Path = "rgb",
        depth: str | Path | None = "depth",
        depth_images: DepthImages = MILLIMETRES,
        bits: int | None = None,
        cache: Path | None = None,
        merge_classes: str | None = None,
        listed: SplitList | None = None,
        limit: int | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"limit {limit} must be at least 1")
        self.root = Path(root)
        self.images = self.root / images
        self.depth = None if depth is None else self.root / depth
        self.depth_images = depth_images
        self.bits = bits
        self.cache = cache
        indexed = isinstance(annotations, COCO)
        self.coco = annotations if indexed else load_coco(Path(annotations), merge_classes=merge_classes, listed=listed)
        categories = sorted(self.coco.dataset["categories"], key=lambda c: c["id"])
        self.class_names: tuple[str, ...] = tuple(str(c["name"]) for c in categories)
        self.category_ids: tuple[int, ...] = tuple(int(c["id"]) for c in categories)
        self.image_ids: tuple[int, ...] = tuple(sorted(self.coco.imgs)[:limit])
        self._class_of = {category: i for i, category in enumerate(self.category_ids)}
        self._at = tuple(range(len(self.image_ids)))
        self._labels = LabelStore((self.coco.imgs[i], self.coco.imgToAnns.get(i, [])) for i in self.image_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "coco"}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Sample:
        """Read picture `index`.

        Raises:
            FileNotFoundError: its colour file is missing or no picture.
            ValueError: its size is not the one in the COCO file, or depth has another size or type.
        """
        rgb = self.rgb(index)
        masks, class_ids = self.instances(index)
        depth_m, relative_inverse_depth = self.depth_of(index)
        return Sample(
            image_id=self.image_ids[index],
            file_name=self.file_name(index),
            rgb=rgb,
            depth_m=depth_m,
            masks=masks,
            class_ids=class_ids,
            relative_inverse_depth=relative_inverse_depth,
        )

    def _record(self, index: int) -> dict[str, Any]:
        """The entry of picture `index` in the COCO file."""
        return self._labels.record(self._at[index])

    def part(self, indices: Sequence[int]) -> CocoRgbdDataset:
        """The same data set with these pictures alone, in this order."""
        chosen = copy.copy(self)
        chosen.coco = self.coco  # which other processes do without
        chosen.image_ids = tuple(self.image_ids[index] for index in indices)
        chosen._at = tuple(self._at[index] for index in indices)
        return chosen

    def file_name(self, index: int) -> str:
        """Name of picture `index` below the folder of the pictures."""
        return str(self._record(index)["file_name"])

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of picture `index`, as the COCO file says."""
        return int(self._record(index)["height"]), int(self._record(index)["width"])

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """The colours of picture `index`, (H, W, 3) uint8; raises what `__getitem__` raises."""
        return self.picture(index).rgb

    def picture(self, index: int) -> Picture:
        """The same, upright where that has the size in the COCO file, with what the file says of itself."""
        return read_picture(self.rgb_file(index), bits=self.bits, size_hw=self.size_hw(index))

    def rgb_file(self, index: int) -> Path:
        """The colour picture `index`, whether or not it is there."""
        return inside(self.images, self._record(index)["file_name"])

    def annotations(self, index: int, *, crowd: bool = False) -> list[dict[str, Any]]:
        """What is labelled in picture `index`, in the order of `instances`; or its crowd regions."""
        return [a for a in self._labels.annotations(self._at[index]) if bool(a["iscrowd"]) == crowd]

    def instances(self, index: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Masks (N, H, W) and class ids (N,) of picture `index`."""
        annotations = self.annotations(index)
        size_hw = self.size_hw(index)
        masks = np.zeros((len(annotations), *size_hw), np.bool_)
        for mask, annotation in zip(masks, annotations, strict=True):
            mask[:] = coco_mask.decode(to_rle(annotation["segmentation"], size_hw))
        return masks, np.array([self._class_of[a["category_id"]] for a in annotations], np.int64)

    def has_instances(self) -> bool:
        """Whether anything is labelled in any picture; reads labels up to the first."""
        return any(self.instances(index)[0].any() for index in range(len(self)))

    def depth_file(self, index: int) -> Path | None:
        """The depth image of picture `index`, None where there is none."""
        return depth_file(self.depth, self._record(index))

    def cached_path(self, index: int) -> Path | None:
        """Where a cached estimate for picture `index` belongs, whether or not it is there; None without a cache."""
        if self.cache is None:
            return None
        return cached_file(self.cache, self.images.relative_to(self.root), self.file_name(index))

    def has_depth(self, index: int) -> bool:
        """Whether picture `index` has a depth image or a cached estimate."""
        cached = self.cached_path(index)
        return self.depth_file(index) is not None or (cached is not None and cached.exists())

    def depth_of(self, index: int) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Metric depth and relative inverse depth of picture `index`, at most one of them, as in `Sample`.

        Raises:
            FileNotFoundError: it is no picture.
            ValueError: it has another size or type.
        """
        path, size_hw = self.depth_file(index), self.size_hw(index)
        if path is not None and self.depth_images.kind == "relative":
            return None, read_relative_inverse_depth(path, size_hw, self.depth_images)
        if path is not None:
            return read_depth_m(path, size_hw, self.depth_images), None
        cached = self.cached_path(index)
        return None, read_cached(cached, size_hw) if cached is not None and cached.exists() else None


def open_split(data: str | Path, split: str, *, limit: int | None = None) -> CocoRgbdDataset:
    """Open a split of a data set.

    What is missing of a rendered one is rendered first, and instance images in the manner of Cityscapes are made a
    COCO file once; a progress bar shows either.

    Args:
        data: YAML such as `config/data/rendered.yaml`.
        split: name of a split in it.
        limit: only the first pictures.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: no such YAML file, or no such COCO file.
        ValueError: no such split, a limit below 1, or damaged labels.
    """
    data = Path(data)
    files = split_files(data, split)
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit} must be at least 1")
    kind, _ = read_data(data)
    if kind == "rendered":
        limit = _render_missing(data, split, limit)
    elif isinstance(config := load_data_config(data), LabelData):
        # here, because only these need it
        from training.data.instance_images import convert_split

        convert_split(config, split)
    return dataset_of(files, files.annotations, limit=limit)


def dataset_of(files: SplitFiles, annotations: Path | COCO, *, limit: int | None = None) -> CocoRgbdDataset:
    """The pictures of a split, of which nothing is rendered or converted; raises what `CocoRgbdDataset` raises."""
    return CocoRgbdDataset(
        files.root,
        annotations,
        images=files.images.relative_to(files.root),
        depth=None if files.depth is None else files.depth.relative_to(files.root),
        depth_images=files.depth_images,
        bits=files.bits,
        cache=files.cache,
        merge_classes=files.merge_classes,
        listed=files.listed,
        limit=limit,
    )


def _render_missing(data: Path, split: str, limit: int | None) -> int:
    """Render what is not there yet; returns how many pictures to take."""
    # here, because only rendered data need the renderer's ray caster
    from training.data.rendered_folder import is_complete, load_rendered_config, write_split

    config = load_rendered_config(data)
    folder, chosen = config.root / split, config.splits[split]
    count = min(limit or chosen.n_images, chosen.n_images)
    if _n_listed(folder) < count or not is_complete(folder, 0, chosen, config.image_size_hw):
        write_split(config, split, limit=count)
    return count


def _n_listed(folder: Path) -> int:
    """How many pictures the COCO file in the folder lists; 0 without one."""
    listing = folder / "annotations.json"
    return len(json.loads(listing.read_text(encoding="utf-8"))["images"]) if listing.exists() else 0
