"""Of the regions that people have labelled in real pictures, how many has a mask among the ten best?

python -m benchmarks.real_pictures FOLDER --checkpoint tiny --overlays overlays/

Read below FOLDER:
    NAME.jpg, NAME_classes.png                        SUIM (Islam et al., IROS 2020): colours of classes; each connected
                                                      region of diver, wreck, robot or fish counts as an instance
    NAME_rgb.png, NAME_instances.png, NAME_depth_mm.png   16-bit labels of instances and millimetres, 0 is unknown
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from spda_sam_core.picture_file import read_picture, read_pixels, write_picture
from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances
from spda_sam_core.spda_sam import SpdaSam
from training.data.pictures import MILLIMETRES, read_depth_m

SUIM_COLOURS = {"diver": (0, 0, 255), "wreck": (0, 255, 255), "robot": (255, 0, 0), "fish": (255, 255, 0)}
"""R, G, B of the classes whose regions stand for instances."""
LEAST_PIXELS = 400
"""Smaller regions are left out: the labels are drawn by hand, and not that finely."""
BEST = 10
HIT_IOU = 0.5


@dataclass(frozen=True)
class LabelledPicture:
    """One picture.

    Attributes:
        name: for the table.
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, NaN unknown; None: there is none.
        regions: name and mask (H, W) bool of each.
    """

    name: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    regions: list[tuple[str, NDArray[np.bool_]]]


def read_folder(folder: Path) -> Iterator[LabelledPicture]:
    """The labelled pictures below a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    paths = sorted([*folder.rglob("*_classes.png"), *folder.rglob("*_instances.png")])
    if not paths:
        raise FileNotFoundError(f"{folder}: no *_classes.png and no *_instances.png: see --help for the layout")
    for path in paths:
        name = path.stem.rsplit("_", 1)[0]
        if path.stem.endswith("_classes"):
            rgb = read_picture(path.with_name(f"{name}.jpg")).rgb
            yield LabelledPicture(name, rgb, None, suim_regions(read_picture(path).rgb))
        else:
            rgb = read_picture(path.with_name(f"{name}_rgb.png")).rgb
            labels = read_pixels(path)
            depth_m = read_depth_m(path.with_name(f"{name}_depth_mm.png"), labels.shape, MILLIMETRES)
            regions = [(f"object {k}", labels == k) for k in np.unique(labels) if k]
            yield LabelledPicture(name, rgb, depth_m, regions)


def suim_regions(rgb: NDArray[np.generic]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Connected regions of the classes of things in a SUIM label picture (H, W, 3), of at least `LEAST_PIXELS`."""
    bright = rgb > 127  # JPEG-like dirt in some of its label pictures
    regions = []
    for name, colour in SUIM_COLOURS.items():
        of_class = (bright == (np.array(colour) > 127)).all(axis=2).astype(np.uint8)
        count, label = cv2.connectedComponents(of_class)
        masks = [label == k for k in range(1, count)]
        regions += [(name, mask) for mask in masks if mask.sum() >= LEAST_PIXELS]
    return regions


def best_ious(regions: list[tuple[str, NDArray[np.bool_]]], masks: NDArray[np.bool_]) -> list[float]:
    """The IoU of each region with the mask (N, H, W) that meets it best; 0 without any mask."""
    if not len(masks):
        return [0.0] * len(regions)
    drawn, true = (
        rle.encode(np.asfortranarray(np.stack(each, axis=-1).astype(np.uint8)))
        for each in (list(masks), [mask for _, mask in regions])
    )
    return [float(x) for x in np.asarray(rle.iou(drawn, true, [0] * len(true))).max(axis=0)]


def best_instances(
    model: SpdaSam, picture: LabelledPicture, depth: NDArray[np.float32] | None, *, estimate: bool
) -> Instances:
    """The ten of highest score, whatever the score."""
    found = model.predict(picture.rgb, depth_m=depth, score_threshold=0.0, estimate_depth=estimate)
    best = (values[:BEST] for values in (found.masks, found.boxes_xyxy, found.scores, found.class_ids))
    return Instances(*best, found.class_names)


def main(arguments: list[str] | None = None) -> None:
    """Count labelled regions of real pictures with a mask of IoU >= 0.5 among the ten best, classes aside."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one")
    parser.add_argument("--overlays", type=Path, help="folder for picture, regions and the ten best, side by side")
    parser.add_argument("--sheet", type=Path, help="file for the regions and the ten best masks of all, without photos")
    options = parser.parse_args(arguments)
    model = SpdaSam.from_pretrained(options.checkpoint)
    if options.overlays is not None:
        options.overlays.mkdir(parents=True, exist_ok=True)
    print("| picture | depth | regions | hit | IoU of each | best scores |\n|---|---|---|---|---|---|")
    totals: dict[str, list[int]] = {}
    panels, titles = [], []
    for picture in read_folder(options.folder):
        modes = ["none", "estimated"] + (["sensor"] if picture.depth_m is not None else [])
        for mode in modes:
            depth = picture.depth_m if mode == "sensor" else None
            found = best_instances(model, picture, depth, estimate=mode == "estimated")
            ious = best_ious(picture.regions, found.masks)
            hits = sum(iou >= HIT_IOU for iou in ious)
            named = ", ".join(f"{name} {iou:.2f}" for (name, _), iou in zip(picture.regions, ious, strict=True))
            scores = " ".join(f"{score:.2f}" for score in found.scores[:3])
            print(f"| {picture.name} | {mode} | {len(ious)} | {hits} | {named} | {scores} |")
            total = totals.setdefault(mode, [0, 0])
            total[0], total[1] = total[0] + hits, total[1] + len(ious)
            labelled = _as_instances(picture.regions)
            if options.overlays is not None:
                drawn = [draw_instances(picture.rgb, each) for each in (labelled, found)]
                sheet = contact_sheet([picture.rgb, *drawn], 3, [picture.name, "labelled", f"ten best, {hits} hit"])
                write_picture(options.overlays / f"{picture.name}_{mode}.jpg", sheet[..., ::-1])
            if options.sheet is not None:
                panels += [draw_instances(np.full_like(picture.rgb, 40), each) for each in (labelled, found)]
                titles += [f"{picture.name}: labelled", f"ten best, depth {mode}: {hits} of {len(ious)}"]
    for mode, (hits, count) in totals.items():
        print(f"depth {mode}: {hits} of {count} regions hit")
    if options.sheet is not None:
        write_picture(options.sheet, contact_sheet(panels, 4, titles)[..., ::-1])


def _as_instances(regions: list[tuple[str, NDArray[np.bool_]]]) -> Instances:
    names = tuple(name for name, _ in regions)
    return Instances.of_labels(np.stack([mask for _, mask in regions]), np.arange(len(regions)), names)


if __name__ == "__main__":
    main()
