"""Measure a model on a labelled set: COCO average precision of masks and boxes, by class and by size.

python training/evaluate.py --data config/data/rendered.yaml --split val --checkpoint tiny --json val.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from spda_sam_core.draw import contact_sheet, draw_instances
from spda_sam_core.instances import Instances, boxes_of_masks
from spda_sam_core.spda_sam import SpdaSam
from training.dataset import CocoRgbdDataset, Sample, open_split

DepthMode = Literal["true", "estimated", "none"]

SCORE_THRESHOLD = 0.001
"""Average precision wants the whole curve; below this there is nothing but ballast."""
PICTURE_SCORE_THRESHOLD = 0.3

FREE_CLASS = "object"
"""The one class of the rendered world that is not of LIACI."""


def evaluate(
    model: SpdaSam,
    dataset: CocoRgbdDataset,
    depth_mode: DepthMode = "true",
    *,
    depth_holes: float = 0.0,
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Predict every picture and compare with the labels.

    Args:
        model: the model to measure.
        dataset: the labelled pictures, with the model's classes in the model's order.
        depth_mode: what the network sees: the depth of the data set, metric or relative, or its cached estimate where
            it has none; an estimate; or nothing.
        depth_holes: share of the pixels, chosen at random, whose true depth is made unknown.
        pictures: folder for one JPEG per picture: the picture, its labels, the prediction.

    Returns:
        What `coco_metrics` gives, plus depth, checkpoint_sha256, score_threshold and images_per_second.

    Raises:
        ValueError: classes that differ, a depth mode without its depth, an unknown mode, or holes in no true depth.
    """
    if depth_mode not in get_args(DepthMode):
        raise ValueError(f"depth mode '{depth_mode}': choose one of {', '.join(get_args(DepthMode))}")
    if model.class_names != dataset.class_names:
        raise ValueError(
            f"the model's classes {model.class_names} are not those of the data {dataset.class_names}: "
            "evaluate on data with the same classes, in the same order"
        )
    if depth_mode == "estimated" and model.depth_estimator is None:
        raise ValueError("depth mode 'estimated' needs a depth estimator: load the model with one")
    if not 0 <= depth_holes <= (1 if depth_mode == "true" else 0):
        raise ValueError(f"depth_holes {depth_holes} must lie in 0..1, and need depth mode 'true', not '{depth_mode}'")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)

    results: list[dict[str, Any]] = []
    seconds = 0.0
    for i in tqdm(range(len(dataset)), desc=f"evaluating, depth {depth_mode}", unit="image"):
        sample = dataset[i]
        depth_m, relative = (sample.depth_m, sample.relative_inverse_depth) if depth_mode == "true" else (None, None)
        if depth_mode == "true" and depth_m is None and relative is None:
            raise ValueError(
                f"{sample.file_name} has no depth: choose depth mode 'estimated' or 'none', or estimate it once with "
                "python -m training.estimate_depth"
            )
        if depth_holes > 0:
            unknown = np.random.default_rng(sample.image_id).random(sample.rgb.shape[:2]) < depth_holes
            depth_m, relative = (
                None if depth is None else np.where(unknown, np.float32(np.nan), depth) for depth in (depth_m, relative)
            )
        start = time.perf_counter()
        (prediction,) = model.predict_batch(
            [sample.rgb],
            [depth_m],
            relative_inverse_depths=[relative],
            score_threshold=SCORE_THRESHOLD,
            estimate_depth=depth_mode == "estimated",
        )
        instances = prediction.instances
        seconds += time.perf_counter() - start
        for result in instances.to_coco(sample.image_id):
            results.append({**result, "category_id": dataset.category_ids[result["category_id"] - 1]})
        if pictures is not None:
            _write_picture(pictures / f"{sample.image_id:06d}.jpg", sample, instances)
    return {
        **coco_metrics(dataset.coco, results, dataset.image_ids),
        "depth": depth_mode,
        "depth_holes": depth_holes,
        "checkpoint_sha256": model.checkpoint_sha256,
        "score_threshold": SCORE_THRESHOLD,
        "images_per_second": len(dataset) / seconds,
    }


def coco_metrics(coco: COCO, results: Sequence[dict[str, Any]], image_ids: Sequence[int]) -> dict[str, Any]:
    """COCO average precision in per cent; None where there is no label to find.

    Args:
        coco: the labels.
        results: COCO results with mask (RLE) and box.
        image_ids: the pictures that count.

    Returns:
        n_images; for mask and box: `mask_ap` (mean over IoU 0.5 to 0.95), `mask_ap50`, `mask_ap75`,
        `mask_ap_small`, `mask_ap_medium`, `mask_ap_large`, `mask_ap_agnostic` and `mask_ap_agnostic50` (all
        classes as one), `box_ap` and so on; `mask_ap_liaci` (mean over the classes but `object`); and
        `per_class`: name to mask_ap, mask_ap50, box_ap and n_instances.
    """
    mask, box = (_run(coco, results, image_ids, kind) for kind in ("segm", "bbox"))
    agnostic = {kind: _run(coco, results, image_ids, kind, by_class=False) for kind in ("segm", "bbox")}
    metrics: dict[str, Any] = {"n_images": len(image_ids)}
    for name, run, merged in (("mask", mask, agnostic["segm"]), ("box", box, agnostic["bbox"])):
        metrics |= {
            f"{name}_ap": _mean(run),
            f"{name}_ap50": _mean(run, iou=0.5),
            f"{name}_ap75": _mean(run, iou=0.75),
            f"{name}_ap_small": _mean(run, area="small"),
            f"{name}_ap_medium": _mean(run, area="medium"),
            f"{name}_ap_large": _mean(run, area="large"),
            f"{name}_ap_agnostic": _mean(merged),
            f"{name}_ap_agnostic50": _mean(merged, iou=0.5),
        }
    counts = _count_instances(coco, image_ids)
    per_class = {}
    for k, category in enumerate(mask.params.catIds):
        per_class[str(coco.cats[category]["name"])] = {
            "mask_ap": _mean(mask, category=k),
            "mask_ap50": _mean(mask, category=k, iou=0.5),
            "box_ap": _mean(box, category=k),
            "n_instances": counts.get(category, 0),
        }
    of_liaci = [c["mask_ap"] for name, c in per_class.items() if name != FREE_CLASS]
    found = [ap for ap in of_liaci if ap is not None]
    metrics["mask_ap_liaci"] = float(np.mean(found)) if found else None
    return {**metrics, "per_class": per_class}


def _run(
    coco: COCO,
    results: Sequence[dict[str, Any]],
    image_ids: Sequence[int],
    kind: Literal["segm", "bbox"],
    *,
    by_class: bool = True,
) -> COCOeval:
    # with a box present pycocotools would take its area for the area of a mask, and shift the sizes
    other = "bbox" if kind == "segm" else "segmentation"
    own = [{key: value for key, value in result.items() if key != other} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        run = COCOeval(coco, _load_results(coco, own), kind)
        run.params.imgIds = list(image_ids)
        run.params.useCats = int(by_class)
        run.evaluate()
        run.accumulate()
    return run


def _load_results(coco: COCO, results: list[dict[str, Any]]) -> COCO:
    if results:
        return coco.loadRes(results)
    nothing = COCO()  # loadRes fails on an empty list
    nothing.dataset = {**coco.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _mean(run: COCOeval, *, iou: float | None = None, area: str = "all", category: int | None = None) -> float | None:
    """Mean of the interpolated precision, in per cent, over what is not fixed here."""
    # (IoU, recall, category, area, detections per image), -1 where no label counts
    precision = run.eval["precision"][..., run.params.areaRngLbl.index(area), -1]
    if iou is not None:
        precision = precision[np.isclose(run.params.iouThrs, iou)]
    if category is not None:
        precision = precision[:, :, category]
    precision = precision[precision > -1]
    return float(precision.mean() * 100) if precision.size else None


def _count_instances(coco: COCO, image_ids: Sequence[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for image_id in image_ids:
        for annotation in coco.imgToAnns[image_id]:
            if not annotation.get("iscrowd", 0):
                counts[annotation["category_id"]] = counts.get(annotation["category_id"], 0) + 1
    return counts


def _write_picture(path: Path, sample: Sample, instances: Instances) -> None:
    """Write the picture, its labels and what was predicted side by side."""
    truth = Instances(
        sample.masks,
        boxes_of_masks(sample.masks),
        np.ones(len(sample.masks), np.float32),
        sample.class_ids,
        instances.class_names,
    )
    sure = instances.filter(score_threshold=PICTURE_SCORE_THRESHOLD)
    panels = [sample.rgb, draw_instances(sample.rgb, truth), draw_instances(sample.rgb, sure)]
    sheet = contact_sheet(panels, 3, [sample.file_name, "labels", f"prediction >= {PICTURE_SCORE_THRESHOLD}"])
    cv2.imwrite(str(path), sheet[..., ::-1])


def format_table(metrics: dict[str, Any]) -> str:
    """What `evaluate` gives, as lines of text for a terminal."""

    def cell(value: float | None) -> str:
        return f"{'-' if value is None else f'{value:.1f}':>8}"

    columns = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ap_agnostic", "ap_agnostic50")
    lines = [" " * 18 + "".join(f"{name.removeprefix('ap_')[:7]:>8}" for name in columns)]
    for kind in ("mask", "box"):
        lines.append(f"{kind:<18}" + "".join(cell(metrics[f"{kind}_{name}"]) for name in columns))
    lines.append("")
    lines.append(f"{'class':<18}{'mask':>8}{'mask50':>8}{'box':>8}{'labels':>8}")
    for name, c in metrics["per_class"].items():
        row = "".join(cell(c[key]) for key in ("mask_ap", "mask_ap50", "box_ap"))
        lines.append(f"{name:<18}{row}{c['n_instances']:>8}")
    lines.append(f"{'mean but ' + FREE_CLASS:<18}{cell(metrics['mask_ap_liaci'])}")
    lines.append("")
    lines.append(
        f"{metrics['n_images']} images, depth {metrics['depth']}, {metrics['images_per_second']:.2f} per "
        f"second, checkpoint {metrics['checkpoint_sha256'][:12] or 'none'}"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure a checkpoint on a split of a data set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/rendered.yaml")
    parser.add_argument("--split", default="val", help="name of a split in that file (default: val)")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one")
    parser.add_argument("--depth", choices=get_args(DepthMode), default="true", help="what the network sees")
    parser.add_argument("--depth-holes", type=float, default=0.0, help="share of true depth to make unknown, 0..1")
    parser.add_argument("--depth-estimator", default="tiny", help="file or name: its estimates, cached or new")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the metrics here")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each result")
    options = parser.parse_args(arguments)
    model = SpdaSam.from_pretrained(
        options.checkpoint,
        device=options.device,
        depth_estimator=options.depth_estimator if options.depth == "estimated" else None,
    )
    dataset = open_split(options.data, options.split, limit=options.limit, depth_estimator=options.depth_estimator)
    metrics = evaluate(model, dataset, options.depth, depth_holes=options.depth_holes, pictures=options.pictures)
    print(format_table(metrics))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
