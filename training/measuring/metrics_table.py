"""What `training.measuring.measure` gives as Markdown tables, aligned so that a terminal shows them too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.measuring.coco_metrics import FREE_CLASS, MAX_RESULTS, RESULT_LIMITS, SIZES

_SIZED = {f"AP {size}": (f"ap_{size}", f"ap_agnostic_{size}") for size in SIZES}
_LIMITED = {f"AR{limit}": (f"ar{limit}", f"ar{limit}_agnostic") for limit in RESULT_LIMITS}
_RECALLED = {
    f"AR{MAX_RESULTS} {size}": (f"ar{MAX_RESULTS}_{size}", f"ar{MAX_RESULTS}_{size}_agnostic") for size in SIZES
}
FIGURES = {
    "AP": ("ap", "ap_agnostic"),
    "AP50": ("ap50", "ap_agnostic50"),
    "AP75": ("ap75", "ap_agnostic75"),
    **_SIZED,
    **_LIMITED,
    **_RECALLED,
}
"""Keys of the mean over classes, and with all classes as one, after "mask_" or "box_"."""


def overall_table(metrics: dict[str, Any]) -> str:
    """Masks and boxes, class by class and with all classes as one; a dash where there is no label to find."""
    rows = [["", "masks", "masks, agnostic", "boxes", "boxes, agnostic"]]
    for title, keys in FIGURES.items():
        rows.append([title, *(_cell(metrics[f"{kind}_{key}"]) for kind in ("mask", "box") for key in keys)])
    return _aligned(rows)


def class_notes(metrics: dict[str, Any]) -> list[str]:
    """A sentence each about the classes that the model lacks, and those that the data lack, where there are any."""
    notes = []
    if metrics["model_lacks"]:
        counted = ", ".join(f"{name} ({count})" for name, count in metrics["model_lacks"].items())
        notes.append(f"The model lacks these classes of the data, which count as 0 AP (labels): {counted}.")
    if metrics["data_lack"]:
        counted = ", ".join(f"{name} ({count})" for name, count in metrics["data_lack"].items())
        notes.append(
            "The data lack these classes of the model, whose detections count in agnostic figures only (detections): "
            f"{counted}."
        )
    return notes


LRP = {
    "oLRP, %": "mask_olrp",
    "localisation, %": "mask_olrp_localisation",
    "FP, %": "mask_olrp_false_positive",
    "FN, %": "mask_olrp_false_negative",
}
SHARES = {
    "calibration error": "calibration_error",
    "LaECE": "laece",
    "mean score of true": "true_score",
    "doubles": "doubles",
}


def score_table(metrics: dict[str, Any]) -> str:
    """LRP errors of masks in per cent, calibration errors and the share of doubles in 0..1, a line each."""
    rows = [["what scores are worth", "masks"]]
    rows += [[title, _cell(metrics[key])] for title, key in LRP.items()]
    rows += [[title, _cell(metrics[key], digits=3)] for title, key in SHARES.items()]
    return _aligned(rows)


def class_table(metrics: dict[str, Any]) -> str:
    """A line for each class; a dash where there is no label to find."""
    rows = [["class", "labels", "mask AP", "mask AP50", "box AP", "oLRP", "threshold"]]
    for name, of_class in metrics["per_class"].items():
        values = (_cell(of_class[key]) for key in ("mask_ap", "mask_ap50", "box_ap", "mask_olrp"))
        threshold = _cell(of_class["lrp_optimal_threshold"], digits=2)
        rows.append([name, str(of_class["n_instances"]), *values, threshold])
    if FREE_CLASS in metrics["per_class"] and len(metrics["per_class"]) > 1:
        rows.append([f"mean without {FREE_CLASS}", "", _cell(metrics["mask_ap_liaci"]), "", "", "", ""])
    return _aligned(rows)


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Markdown: the first row is the head, the first column names the others."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        name, *values = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        lines.append(" | ".join(["| " + name.strip().ljust(widths[0]), *values]) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])
