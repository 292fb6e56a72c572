"""Precision-recall curves as a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.measuring.coco_metrics import CocoRuns, precision_curves

AGNOSTIC_IOUS = (0.5, 0.75, 0.9)
CLASS_IOU = 0.5
NAMED_CURVES = 12
"""So many lines people can tell apart; of more classes the best and the worst are named."""


def draw_curves(runs: CocoRuns) -> Figure:
    """Interpolated precision of masks over recall: all classes as one in one panel, class by class in the other.

    The AP in the legends is the mean of the curve, in per cent.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no display needed
    left, right = figure.subplots(1, 2)
    recalls = runs.mask.params.recThrs
    agnostic = {f"IoU {iou}": precision_curves(runs.mask_agnostic, iou)[0] for iou in AGNOSTIC_IOUS}
    names = [str(runs.mask.cocoGt.cats[category]["name"]) for category in runs.mask.params.catIds]
    by_class = dict(zip(names, precision_curves(runs.mask, CLASS_IOU), strict=True))
    _draw(left, recalls, agnostic, "masks, all classes as one")
    _draw(right, recalls, by_class, f"masks by class, IoU {CLASS_IOU}")
    found = [curve for curve in by_class.values() if curve is not None]
    if found:
        mean = np.mean(found, axis=0)
        right.plot(recalls, mean, color="black", linewidth=2.5, label=_label("mean of classes", mean))
    for axes in (left, right):
        if axes.lines:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, title="AP in %")
    return figure


def _draw(axes: Axes, recalls: NDArray[np.float64], curves: dict[str, NDArray[np.float64] | None], title: str) -> None:
    """Draw the curves, best first; those without labels have none."""
    axes.set(title=title, xlabel="recall", ylabel="precision (interpolated)", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    drawn = {name: curve for name, curve in curves.items() if curve is not None}
    order = sorted(drawn, key=lambda name: -drawn[name].mean())
    half = NAMED_CURVES // 2
    named = order if len(order) <= NAMED_CURVES else [*order[:half], *order[-half:]]
    for name in order:
        if name not in named:
            axes.plot(recalls, drawn[name], color="0.8", linewidth=0.8)
    for i, name in enumerate(named):
        style = ("-", "--")[i // 10 % 2]
        axes.plot(recalls, drawn[name], color=f"C{i % 10}", linestyle=style, label=_label(name, drawn[name]))
    if not drawn:
        axes.text(0.5, 0.5, "no labels", ha="center", va="center")


def _label(name: str, curve: NDArray[np.float64]) -> str:
    return f"{name}  {100 * curve.mean():.1f}"
