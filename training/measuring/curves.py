"""Precision over recall, and truth over score, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray

from spda_sam_core.results.text import font_file
from training.measuring.calibration_error import LOWEST_SCORE, reliability
from training.measuring.coco_metrics import CocoRuns, precision_curves
from training.measuring.matching import Matches

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
    names, fonts = _named([str(runs.mask.cocoGt.cats[category]["name"]) for category in runs.mask.params.catIds])
    by_class = dict(zip(names, precision_curves(runs.mask, CLASS_IOU), strict=True))
    _draw(left, recalls, agnostic, "masks, all classes as one")
    _draw(right, recalls, by_class, f"masks by class, IoU {CLASS_IOU}")
    found = [curve for curve in by_class.values() if curve is not None]
    if found:
        mean = np.mean(found, axis=0)
        right.plot(recalls, mean, color="black", linewidth=2.5, label=_label("mean of classes", mean))
    for axes in (left, right):
        if axes.lines:
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
            axes.legend(**place, frameon=False, title="AP in %", prop={"family": fonts})
    return figure


def _named(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of classes as a font can write them, "class 3" for others, and the names of the fonts that it takes."""
    own = FT2Font(fontManager.findfont(FontProperties())).get_charmap()
    shown, fonts = [], list(rcParams["font.family"])
    for number, name in enumerate(names):
        if all(ord(letter) in own for letter in name):
            shown.append(name)
        elif (path := font_file(name)) is not None:
            fontManager.addfont(path)
            fonts.append(FontProperties(fname=path).get_name())
            shown.append(name)
        else:
            shown.append(f"class {number}")
    return shown, fonts


def draw_reliability(matches: Matches) -> Figure:
    """The share of detections that is true over their score, and below it how many there are; a point is a bin.

    Args:
        matches: at mask IoU 0.5; detections from score 0.05 up are shown.
    """
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    seen = matches.chosen(matches.scores >= LOWEST_SCORE)
    bins = reliability(seen.scores, seen.true.astype(np.float64))
    top.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="scores that say what they mean")
    error = "none scores so much" if bins.error is None else f"calibration error {bins.error:.3f}"
    top.plot(bins.score, bins.target, marker="o", label=error)
    top.set(title=f"masks from score {LOWEST_SCORE} up", ylabel="share true at IoU 0.5", xlim=(0, 1), ylim=(0, 1.02))
    top.legend(loc="upper left")
    width = 1 / len(bins.counts)
    bottom.bar(np.arange(len(bins.counts)) * width, bins.counts, width=width, align="edge", edgecolor="white")
    bottom.set(xlabel="score", ylabel="detections")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
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
