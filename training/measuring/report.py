"""A report of an evaluation: Markdown, numbers, results for pycocotools, curves, the best and the worst pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances, boxes_of_masks
from spda_sam_core.weights.files import write_whole
from training.data.dataset import CocoRgbdDataset
from training.measuring.coco_metrics import DRAWN_SCORE, picture_quality
from training.measuring.curves import draw_curves, draw_reliability
from training.measuring.measure import Measured
from training.measuring.metrics_table import class_notes, class_table, overall_table, score_table

N_PICTURES = 8
CELL_PX = 512
"""Longest side of a picture in a gallery."""
CURVES_DPI = 110

CHECK = """```python
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

labels = COCO("labels.json")
run = COCOeval(labels, labels.loadRes("results.json"), "segm")  # "bbox" for the boxes of the masks
run.evaluate()
run.accumulate()
run.summarize()
```"""


def write_report(
    folder: Path,
    dataset: CocoRgbdDataset,
    results: Sequence[dict[str, Any]],
    measured: Measured,
    further: Mapping[int, str],
) -> Path:
    """Write report.md, metrics.json, results.json, labels.json, pr_curve.png, reliability.png, best.jpg and worst.jpg.

    Galleries are left out where no picture has anything to find and nothing was found. Each file appears whole or not
    at all, report.md last.

    Args:
        folder: made if missing; files of an older report in it are replaced.
        dataset: the labelled pictures.
        results: COCO results of these pictures with mask (RLE), of each picture best first.
        measured: what `training.measuring.measure.measure_predicted` gave for them, the metrics with checkpoint,
            data, split, device and commit.
        further: names of the classes that results have and the labels have not, by category id.

    Returns:
        The path of report.md.
    """
    metrics = measured.metrics
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    # without the box: where there is one, pycocotools takes its area for that of the mask
    masks = [{key: value for key, value in result.items() if key != "bbox"} for result in results]
    write_whole(folder / "results.json", json.dumps(masks).encode())
    write_whole(folder / "labels.json", json.dumps(_labels(dataset, further)).encode())
    figures = {"pr_curve": draw_curves(measured.runs), "reliability": draw_reliability(measured.matches)}
    for name, figure in figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=CURVES_DPI)
        write_whole(folder / f"{name}.png", png.getvalue())
    quality = picture_quality(measured.runs.mask, DRAWN_SCORE)
    ranked = sorted(((image_id, q) for image_id, q in quality.items() if q is not None), key=lambda item: -item[1])
    galleries = {"best": ranked[:N_PICTURES], "worst": ranked[: -N_PICTURES - 1 : -1]} if ranked else {}
    found: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        found.setdefault(result["image_id"], []).append(result)
    for name, chosen in galleries.items():
        write_whole(folder / f"{name}.jpg", _gallery(dataset, further, found, chosen))
    mean = float(np.mean([q for _, q in ranked])) if ranked else None
    write_whole(folder / "report.md", _markdown(metrics, mean, list(galleries)).encode())
    return folder / "report.md"


def _markdown(metrics: dict[str, Any], mean_quality: float | None, galleries: Sequence[str]) -> str:
    depth = metrics["depth"] + (f", {100 * metrics['depth_holes']:g} % made unknown" if metrics["depth_holes"] else "")
    lines = [
        f"# {metrics['checkpoint']} on {metrics['data']}, split {metrics['split']}",
        "",
        "| | |",
        "|---|---|",
        f"| checkpoint | `{metrics['checkpoint']}` |",
        f"| its SHA-256 | `{metrics['checkpoint_sha256']}` |",
        f"| data, split | `{metrics['data']}`, `{metrics['split']}` |",
        f"| pictures | {metrics['n_images']} |",
        f"| depth | {depth} |",
        f"| pictures per second | {metrics['images_per_second']:.2f} on {metrics['device']}, reading and encoding "
        "included |",
        f"| commit | `{metrics['commit'] or 'none'}` |",
        "",
        "## Average precision",
        "COCO's definition, in per cent; a dash: no label to find. Agnostic: all classes as one. Results are what the "
        "node publishes: one class a mask.",
        "",
        overall_table(metrics),
        "",
        *(f"{note}\n" for note in class_notes(metrics)),
        class_table(metrics),
        "",
        "oLRP: the LRP error of masks (Oksuz et al., 2021) at the score threshold where it is least, in per cent; that "
        "threshold stands beside it.",
        "",
        "![Precision-recall curves](pr_curve.png)",
        "",
        "## Scores",
        score_table(metrics),
        "",
        "oLRP and its parts are means over classes. Calibration error: distance of the score from the share of "
        "detections that is true at mask IoU 0.5, over detections from 0.05 up; LaECE: from the IoU of the mask, class "
        "by class. Doubles: share of the network's candidates from 0.05 up that overlap a better one by a mask IoU "
        "above 0.8.",
        "",
        "![Reliability of the scores](reliability.png)",
        "",
        "## Best and worst pictures",
        f"Instances with a score of at least {DRAWN_SCORE}. The quality of a picture is its F-score, "
        "TP / (TP + (FP + FN) / 2), of masks of the right class, averaged over the IoU thresholds 0.5, 0.55 .. 0.95; "
        + ("nothing to find, nothing found." if mean_quality is None else f"its mean here is {mean_quality:.2f}."),
        "",
        *(f"![The {name} pictures: picture, labels, prediction]({name}.jpg)\n" for name in galleries),
        "## Check it",
        "`results.json` holds every result in COCO's format, `labels.json` the labels it was compared with:",
        "",
        CHECK,
        "Box AP by size can differ from the table: pycocotools goes by the area of the mask here, the table by that of "
        "the box.",
        "",
    ]
    return "\n".join(lines)


def _labels(dataset: CocoRgbdDataset, further: Mapping[int, str]) -> dict[str, Any]:
    """A COCO document of these pictures, the masks as COCOeval has made them: compressed RLE."""
    annotations = []
    coco = dataset.coco
    for image_id in dataset.image_ids:
        for annotation in coco.imgToAnns[image_id]:
            rle = coco.annToRLE(annotation)
            counts = rle["counts"].decode() if isinstance(rle["counts"], bytes) else rle["counts"]
            keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
            annotations.append(
                {**{key: annotation[key] for key in keys}, "segmentation": {"size": rle["size"], "counts": counts}}
            )
    images = [coco.imgs[image_id] for image_id in dataset.image_ids]
    categories = [*coco.dataset["categories"], *({"id": number, "name": name} for number, name in further.items())]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _gallery(
    dataset: CocoRgbdDataset,
    further: Mapping[int, str],
    found: Mapping[int, Sequence[dict[str, Any]]],
    chosen: Sequence[tuple[int, float]],
) -> bytes:
    """A JPEG with a row for each (picture id, quality): the picture, its labels, what was found."""
    cells, titles = [], []
    names = {**dict(zip(dataset.category_ids, dataset.class_names, strict=True)), **further}
    for image_id, quality in chosen:
        sample = dataset[dataset.image_ids.index(image_id)]
        truth = Instances.of_labels(sample.masks, sample.class_ids, dataset.class_names)
        prediction = _instances(found.get(image_id, ()), names, sample.rgb.shape[:2])
        cells += [sample.rgb, *(draw_instances(sample.rgb, each) for each in (truth, prediction))]
        titles += [f"quality {quality:.2f}  {sample.file_name}", f"{len(truth)} labels"]
        titles.append(f"{len(prediction)} found, score >= {DRAWN_SCORE}")
    sheet = contact_sheet(cells, 3, titles, longest_px=CELL_PX)
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(sheet[..., ::-1]))
    return jpeg.tobytes()


def _instances(results: Sequence[dict[str, Any]], names: Mapping[int, str], size_hw: tuple[int, int]) -> Instances:
    """What is drawn of the COCO results of a picture, of classes whose names go by category id."""
    sure = [result for result in results if result["score"] >= DRAWN_SCORE]
    masks = np.zeros((len(sure), *size_hw), np.bool_)
    for mask, result in zip(masks, sure, strict=True):
        mask[:] = coco_mask.decode(result["segmentation"])
    return Instances(
        masks,
        boxes_of_masks(masks),
        np.array([result["score"] for result in sure], np.float32),
        np.array([list(names).index(result["category_id"]) for result in sure], np.int64),
        tuple(names.values()),
    )
