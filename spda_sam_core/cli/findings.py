"""What `spda-sam predict` writes: overlays, label images, COCO files and a contact sheet."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.picture_file import write_picture
from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.polygons import polygons_of
from spda_sam_core.weights.files import write_whole

SHEET_CELLS = 24
_SHEET_PX = 480


class Findings:
    """Collects what is found, writes pictures at once and the files about all of them at the end.

    Args:
        folder: made where it is missing.
        class_names: of the model.
        for_labelling: write `labelling.json` too.
        expected: about how many pictures will come, so that the contact sheet shows some of all.

    Raises:
        FileExistsError: an earlier run's files are in the folder.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...], *, for_labelling: bool, expected: int) -> None:
        self.folder, self.for_labelling = folder, for_labelling
        if (folder / "coco.json").exists():
            raise FileExistsError(f"{folder} holds what an earlier run has found: choose another --out, or delete it")
        self.categories = [{"id": i + 1, "name": name} for i, name in enumerate(class_names)]
        self.images: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.areas: list[int] = []
        self.polygons: list[list[list[float]]] = []
        self.cells: list[NDArray[np.uint8]] = []
        self.titles: list[str] = []
        self.places: set[PurePosixPath] = set()
        self.step = max(1, -(-expected // SHEET_CELLS))

    def add(self, name: str, rgb: NDArray[np.uint8], instances: Instances) -> None:
        """Write overlay and label image of a picture, and remember the rest.

        Args:
            name: relative path of the picture, with its suffix.
            rgb: (H, W, 3) uint8.
            instances: found in it.
        """
        overlay = draw_instances(rgb, instances)
        place = PurePosixPath(name).with_suffix("")
        if place in self.places:  # a.png beside a.jpg
            place = PurePosixPath(name)
        self.places.add(place)
        write_picture(self.folder / "overlays" / f"{place}.jpg", overlay[..., ::-1])
        write_picture(self.folder / "labels" / f"{place}.png", instances.to_label_image())
        image_id = len(self.images) + 1
        if len(self.images) % self.step == 0 and len(self.cells) < SHEET_CELLS:
            self.cells.append(_shrunk(overlay))
            self.titles.append(PurePosixPath(name).name)
        self.images.append({"id": image_id, "file_name": name, "height": instances.height, "width": instances.width})
        self.results += instances.to_coco(image_id)
        self.areas += instances.masks.sum(axis=(1, 2)).tolist()
        if self.for_labelling:
            self.polygons += [polygons_of(mask) for mask in instances.masks]

    def write(self) -> list[Path]:
        """Write the files about all pictures that were added; returns them."""
        annotations = [
            {"id": i + 1, **result, "area": area, "iscrowd": 0}
            for i, (result, area) in enumerate(zip(self.results, self.areas, strict=True))
        ]
        written = [
            self._json("coco.json", {**self._frame(), "annotations": annotations}),
            self._json("results.json", self.results),
        ]
        if self.for_labelling:
            drawn = [
                {**{k: v for k, v in annotation.items() if k != "score"}, "segmentation": polygons}
                for annotation, polygons in zip(annotations, self.polygons, strict=True)
                if polygons
            ]
            written.append(self._json("labelling.json", {**self._frame(), "annotations": drawn}))
        if self.cells:
            sheet = contact_sheet(self.cells, columns=min(4, len(self.cells)), titles=self.titles)
            write_picture(self.folder / "contact_sheet.jpg", sheet[..., ::-1])
            written.append(self.folder / "contact_sheet.jpg")
        return written

    def _frame(self) -> dict[str, Any]:
        # pycocotools before 2.0.11 asks for `info`, labelling tools for `licenses`
        return {"info": {"description": "found by spda-sam predict"}, "licenses": [], "images": self.images,
                "categories": self.categories}  # fmt: skip

    def _json(self, name: str, content: Any) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, json.dumps(content).encode())
        return self.folder / name


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = min(1.0, _SHEET_PX / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small: NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return small
