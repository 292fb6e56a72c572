"""COCO folders with colour and depth: `rgb/`, `depth/` (16-bit PNG, millimetres, 0 unknown), annotations."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    Attributes:
        image_id: id in the COCO file.
        file_name: name below `rgb/`.
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, NaN is unknown; None where the folder has no depth for it.
        masks: (N, H, W) bool.
        class_ids: (N,) int64, index into `CocoRgbdDataset.class_names`.
    """

    image_id: int
    file_name: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    masks: NDArray[np.bool_]
    class_ids: NDArray[np.int64]


class CocoRgbdDataset:
    """The pictures of a COCO file, in the order of their ids; crowd annotations are left out of the masks.

    Args:
        root: folder with `rgb/` and, if there is depth, `depth/` (same names, ending in .png).
        annotations: the COCO file.
        limit: only the first pictures.

    Attributes:
        coco: the pycocotools index of the file, all pictures.
        class_names: names of the categories in the order of their ids.
        category_ids: the COCO id of each class.
        image_ids: ids of the pictures of this data set.

    Raises:
        FileNotFoundError: no such COCO file.
        ValueError: the file holds no pictures or no categories, or a limit below 1.
    """

    def __init__(self, root: str | Path, annotations: str | Path, *, limit: int | None = None) -> None:
        self.root = Path(root)
        if not Path(annotations).is_file():
            raise FileNotFoundError(f"{annotations}: no such COCO file: write it or correct the path")
        if limit is not None and limit < 1:
            raise ValueError(f"limit {limit} must be at least 1")
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            self.coco = COCO(str(annotations))
        categories = sorted(self.coco.dataset.get("categories", []), key=lambda c: c["id"])
        if not categories or not self.coco.imgs:
            raise ValueError(
                f"{annotations}: {len(self.coco.imgs)} images and {len(categories)} categories: "
                "a COCO instance file needs both"
            )
        self.class_names: tuple[str, ...] = tuple(str(c["name"]) for c in categories)
        self.category_ids: tuple[int, ...] = tuple(int(c["id"]) for c in categories)
        self.image_ids: tuple[int, ...] = tuple(sorted(self.coco.imgs)[:limit])
        self._class_of = {category: i for i, category in enumerate(self.category_ids)}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Sample:
        """Read picture `index`.

        Raises:
            FileNotFoundError: its colour file is missing or no picture.
            ValueError: its size is not the one in the COCO file, or depth has another size or type.
        """
        image_id = self.image_ids[index]
        record = self.coco.imgs[image_id]
        height, width = int(record["height"]), int(record["width"])
        path = self.root / "rgb" / record["file_name"]
        # masks are drawn on the stored pixels: a rotation flag in the file must not turn them
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None:
            raise FileNotFoundError(f"{path}: missing or not a picture that OpenCV can read")
        if bgr.shape[:2] != (height, width):
            raise ValueError(
                f"{path}: {bgr.shape[:2]} pixels (height, width), but the COCO file says {(height, width)}"
            )
        annotations = [a for a in self.coco.imgToAnns[image_id] if not a.get("iscrowd", 0)]
        masks = np.zeros((len(annotations), height, width), np.bool_)
        for mask, annotation in zip(masks, annotations, strict=True):
            mask[:] = self.coco.annToMask(annotation)
        return Sample(
            image_id=image_id,
            file_name=str(record["file_name"]),
            rgb=np.ascontiguousarray(bgr[..., ::-1]),
            depth_m=self._read_depth(str(record["file_name"]), (height, width)),
            masks=masks,
            class_ids=np.array([self._class_of[a["category_id"]] for a in annotations], np.int64),
        )

    def _read_depth(self, file_name: str, size_hw: tuple[int, int]) -> NDArray[np.float32] | None:
        path = (self.root / "depth" / file_name).with_suffix(".png")
        if not path.exists():
            return None
        millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if millimetres is None or millimetres.dtype != np.uint16 or millimetres.shape != size_hw:
            found = "nothing" if millimetres is None else f"{millimetres.dtype} {millimetres.shape}"
            raise ValueError(f"{path}: {found}, expected a uint16 PNG in millimetres of size {size_hw}")
        depth_m = millimetres.astype(np.float32) * np.float32(1e-3)
        depth_m[millimetres == 0] = np.nan
        return depth_m


def open_split(data: str | Path, split: str, *, limit: int | None = None) -> CocoRgbdDataset:
    """Open a split of a rendered data set; what is missing of it is rendered first (a progress bar shows it).

    Args:
        data: YAML such as `config/data/rendered.yaml`.
        split: name of a split in it.
        limit: only the first pictures.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: no such YAML file.
        ValueError: no such split, or a limit below 1.
    """
    # here, because only rendered data need the renderer's ray caster
    from training.rendered_folder import load_rendered_config, write_split

    config = load_rendered_config(Path(data))
    if split not in config.splits:
        raise ValueError(f"{data}: no split '{split}': choose one of {', '.join(config.splits)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit} must be at least 1")
    folder = config.root / split
    count = min(limit or config.splits[split].n_images, config.splits[split].n_images)
    if not _is_rendered(folder, count, config.splits[split].seed, config.image_size_hw):
        write_split(config, split, limit=count)
    return CocoRgbdDataset(folder, folder / "annotations.json", limit=count)


def _is_rendered(folder: Path, count: int, seed: int, size_hw: tuple[int, int]) -> bool:
    """Whether the folder holds at least `count` pictures of this seed and size, listed in its COCO file."""
    listing, first = folder / "annotations.json", folder / "parts" / "000000.json"
    if not listing.exists() or not first.exists():
        return False
    part = json.loads(first.read_text(encoding="utf-8"))
    if part["seed"] != seed or part["size_hw"] != list(size_hw):
        return False
    return len(json.loads(listing.read_text(encoding="utf-8"))["images"]) >= count
