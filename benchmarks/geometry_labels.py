"""Are proposals from estimated depth worth being labels? After GOOD (Huang et al., ICLR 2023, arXiv 2212.11720).

Of a labelled set only some classes are taken as known. A class-agnostic network learns them on pictures of geometry,
which estimated depth gives: what stands out there does so whatever its class is. Its best proposals away from known
things become further labels, and a network that learns colours with them should find more of the classes not known.

python -m benchmarks.geometry_labels                                                # with tiny's own estimate
python -m benchmarks.geometry_labels --depth-estimator depth_anything_v2_vits.pth
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from spda_sam_core.depth.normalisation import normalise_inverse_depth
from spda_sam_core.picture_file import write_picture
from spda_sam_core.settings import changed
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from training.data.coco_file import by_picture, index, to_rle
from training.data.dataset import CocoRgbdDataset, open_split
from training.learning.machine_options import add_machine_options, prepare_machine
from training.learning.train_config import TrainConfig, load_train_config, write_model
from training.learning.trainer import Trainer
from training.measuring.measure import evaluate
from training.measuring.predict import predict
from training.train import train

Document = dict[str, Any]
"""A COCO instance file."""

SAME = 0.5
"""A proposal that shares more than this of its own or of the other's mask with a label or a better one is left out."""
_SMALLEST_PX = 40
_LARGEST_SHARE = 0.5
_FAR_OVER_NEAR = 10.0
_FOCAL_OVER_WIDTH = 0.87
"""Of a camera that sees 60 degrees; what the pictures were taken with is not known."""
_SMOOTH_PX = 1.5


def geometry_picture(inverse_depth: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """What estimated depth says of the surfaces, as a picture.

    Args:
        inverse_depth: (h, w) float32, relative, larger is nearer.
        size_hw: height and width of the picture.

    Returns:
        (H, W, 3) uint8: nearness; and x and y of the unit normal against the ray to the pixel, -1..1 as 0..255.
    """
    near = cv2.resize(inverse_depth, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    near = normalise_inverse_depth(cv2.GaussianBlur(near, (0, 0), _SMOOTH_PX)).inverse_depth
    depth = 1 / (1 / _FAR_OVER_NEAR + (1 - 1 / _FAR_OVER_NEAR) * near)
    slope_y, slope_x = np.gradient(depth)
    focal_px = _FOCAL_OVER_WIDTH * size_hw[1]
    normal = np.stack([-slope_x * focal_px / depth, -slope_y * focal_px / depth, np.ones_like(depth)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    picture = np.stack([near, (normal[..., 0] + 1) / 2, (normal[..., 1] + 1) / 2], axis=-1)
    return (picture * 255).astype(np.uint8)


def of_classes(document: Document, names: Collection[str]) -> Document:
    """The things of some classes as things of one, "object", and the pictures that show any."""
    categories = {category["id"] for category in document["categories"] if category["name"] in names}
    annotations = [{**a, "category_id": 1} for a in document["annotations"] if a["category_id"] in categories]
    shown = {annotation["image_id"] for annotation in annotations}
    return {
        "images": [image for image in document["images"] if image["id"] in shown],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def with_proposals(document: Document, results: Sequence[Mapping[str, Any]], top: int) -> Document:
    """The labels, and in each picture the best `top` results that are on nothing labelled.

    Args:
        document: the labels; all of one class.
        results: COCO results with masks (RLE), of the same pictures.
        top: how many at most in a picture.

    Returns:
        The document with further annotations behind its own.
    """
    labels, proposals = by_picture(document["annotations"]), by_picture(results)
    last_id = max(annotation["id"] for annotation in document["annotations"])
    added: list[dict[str, Any]] = []
    for image in document["images"]:
        size_hw = image["height"], image["width"]
        largest_px = _LARGEST_SHARE * size_hw[0] * size_hw[1]
        there = [to_rle(label["segmentation"], size_hw) for label in labels[image["id"]]]
        last = len(there) + top
        for result in sorted(proposals[image["id"]], key=lambda result: -result["score"]):
            rle = result["segmentation"]
            if len(there) == last or not _SMALLEST_PX <= coco_mask.area(rle) <= largest_px:
                continue
            if there:
                # with "crowd" pycocotools gives the share of the first one's area
                shares = [coco_mask.iou([rle], there, [1] * len(there)).T, coco_mask.iou(there, [rle], [1])]
                if float(np.max(shares)) > SAME:
                    continue
            there.append(rle)
            added.append({**result, "id": last_id + len(added) + 1, "category_id": 1})
    return {**document, "annotations": [*document["annotations"], *added]}


def things_met(hidden: Document, added: Sequence[Mapping[str, Any]]) -> int:
    """How many things of a document one of the added labels meets, at mask IoU 0.5."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in hidden["images"]}
    things, met = by_picture(hidden["annotations"]), 0
    for image_id, labels in by_picture(added).items():
        true = [to_rle(thing["segmentation"], sizes[image_id]) for thing in things[image_id]]
        if true:
            overlaps = coco_mask.iou([label["segmentation"] for label in labels], true, [0] * len(true))
            met += int((overlaps.max(axis=0) >= 0.5).sum())
    return met


def begin_or_go_on(file: Path, asked: Mapping[str, Any]) -> None:
    """Keep the options of the first call in a folder.

    Raises:
        ValueError: a later call has others: what is there was not made with them.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(asked, indent=2) + "\n").encode())
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    differing = [f"{key} {kept[key]!r}, not {value!r}" for key, value in asked.items() if kept[key] != value]
    if differing:
        raise ValueError(f"{file.parent} was begun with {'; '.join(differing)}: give another --output")


def draw_geometry(pictures: CocoRgbdDataset, estimator: SpdaSam, folder: Path) -> CocoRgbdDataset:
    """The geometry of all pictures, in a folder, with the same labels; what is there is not drawn again."""
    document = pictures.coco.dataset
    images = [{**image, "file_name": f"{image['file_name']}.png"} for image in document["images"]]
    for i in tqdm(range(len(pictures)), desc="drawing geometry", unit="image"):
        file = folder / f"{pictures.file_name(i)}.png"
        if not file.exists():
            seen = estimator.predict_batch([pictures.rgb(i)])[0].seen_depth
            assert seen is not None
            write_picture(file, geometry_picture(seen.inverse_depth, pictures.size_hw(i))[..., ::-1])
    return CocoRgbdDataset(folder.parent, index({**document, "images": images}), images=folder.name, depth=None)


def learn(config: TrainConfig, name: str, pictures: CocoRgbdDataset, device: str, workers: int) -> SpdaSam:
    """Train a network without depth on pictures; what is done of it is not done again."""
    folder = Path(config.output) / name
    file = folder / "model.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    write_model(file, config.model, {"use_depth": False})
    own = dataclasses.replace(config, output=str(folder), model=str(file))
    # validation is no part of training, and nothing is chosen by it
    trainer = Trainer(own, pictures, pictures.part([0]), torch.device(device))
    if trainer.resume_path.exists():
        trainer.resume()
    return SpdaSam.from_pretrained(train(trainer, workers=workers), device=device)


def main(arguments: list[str] | None = None) -> None:
    """Measure recall of classes not known, learned with and without proposals from depth; print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Stop it at any time: the same command goes on where it was."
    )
    parser.add_argument("--config", type=Path, default=Path("config/train/geometry_labels.yaml"))
    parser.add_argument("--split", default="train_without_held_clips", help="to learn from (default: %(default)s)")
    parser.add_argument("--test", default="held_clips", help="to measure on (default: %(default)s)")
    parser.add_argument(
        "--known", default="trash_", help="what the names of known classes begin with (default: trash_)"
    )
    parser.add_argument("--top", type=int, default=1, help="further labels in a picture, at most (default: 1)")
    parser.add_argument("--output", help="folder of the runs, in place of the configuration's")
    parser.add_argument("--depth-estimator", help="Depth Anything V2, .pth file or folder (default: tiny's own)")
    add_machine_options(parser)
    options = parser.parse_args(arguments)
    prepare_machine(options)
    given = {} if options.output is None else {"output": options.output}
    config = changed(load_train_config(options.config), given, str(options.config))
    output = Path(config.output)
    asked = {key: getattr(options, key) for key in ("split", "test", "known", "top", "depth_estimator")}
    begin_or_go_on(output / "options.json", asked)
    source, target = (open_split(config.data_set, split) for split in (options.split, options.test))
    known = {name for name in source.class_names if name.startswith(options.known)}

    def pictures(document: Document) -> CocoRgbdDataset:
        return CocoRgbdDataset(source.root, index(document), images=source.images.relative_to(source.root), depth=None)

    labels = of_classes(source.coco.dataset, known)
    shown = {image["id"] for image in labels["images"]}
    in_shown = [a for a in source.coco.dataset["annotations"] if a["image_id"] in shown]
    hidden = of_classes({**source.coco.dataset, "annotations": in_shown}, {*source.class_names} - known)
    wanted = of_classes(target.coco.dataset, {*target.class_names} - known)
    if not shown or not wanted["images"]:
        names = ", ".join(source.class_names)
        parser.error(f"--known {options.known}: needs some of the classes, not all, to begin so: {names}")
    unknown = pictures(wanted)
    file = output / "more.json"
    if not file.exists():
        estimator = SpdaSam.from_pretrained(depth_estimator=options.depth_estimator, device=options.device)
        geometry = draw_geometry(pictures(labels), estimator, output / "geometry_pictures")
        plain = dataclasses.replace(config, augment=dataclasses.replace(config.augment, colour=0.0))
        proposer = learn(plain, "geometry", geometry, options.device, options.workers)
        more = with_proposals(labels, predict(proposer, geometry, "none").results, options.top)
        write_whole(file, json.dumps(more).encode())
    more = json.loads(file.read_text(encoding="utf-8"))
    added = more["annotations"][len(labels["annotations"]) :]
    print(f"{len(added)} labels added to {len(shown)} pictures")
    print(f"they are on {things_met(hidden, added)} of {len(hidden['annotations'])} things of classes not known")
    print("| learned with | masks, AR@10 / AR@100 | boxes, AR@10 / AR@100 |\n|---|---|---|")
    for name, document in {"known things": labels, "and proposals": more}.items():
        model = learn(config, name.replace(" ", "_"), pictures(document), options.device, options.workers)
        metrics = evaluate(model, unknown, "none")
        cells = (" / ".join(f"{metrics[f'{kind}_ar{n}_agnostic']:.1f}" for n in (10, 100)) for kind in ("mask", "box"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
