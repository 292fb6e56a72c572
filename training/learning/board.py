"""What TensorBoard shows of a run: losses, average precision by class, and pictures of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances
from spda_sam_core.spda_sam import SpdaSam
from training.data.dataset import CocoRgbdDataset
from training.measuring.coco_metrics import DRAWN_SCORE

PICTURES = 4
CELL_PX = 480
"""Longest side of a picture in the sheet."""


class Board:
    """Writes `tensorboard/` of a run; use it in a `with` block.

    Args:
        folder: of the run.
        steps_done: step from which the run goes on. What an earlier process wrote beyond it is not shown: those steps
            come again.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def losses(self, values: Mapping[str, float], step: int) -> None:
        """Curves `train/<name>`."""
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Curves `val/<name>` of every average precision, and `val_class/<class>` of each class's mask AP.

        Where several sets were measured, also `val_<set>/<name>` of each.

        Args:
            metrics: what `training.learning.validation.validate` gives.
            step: step after which it was measured.
        """
        for name, value in average_precisions(metrics).items():
            self._writer.add_scalar(f"val/{name}", value, step)
        for of_set, its_metrics in metrics.get("sets", {}).items():
            for name, value in average_precisions(its_metrics).items():
                self._writer.add_scalar(f"val_{of_set}/{name}", value, step)
        for name, of_class in metrics["per_class"].items():
            if of_class["mask_ap"] is not None:
                self._writer.add_scalar(f"val_class/{name}", of_class["mask_ap"], step)

    def predictions(self, model: SpdaSam, sets: Mapping[str, CocoRgbdDataset], step: int) -> None:
        """Sheets `val_<set>/predictions` of the first pictures of each set, `val/` of one alone: `prediction_sheet`."""
        for name, dataset in sets.items():
            tag = "val/predictions" if len(sets) == 1 else f"val_{name}/predictions"
            self._writer.add_image(tag, prediction_sheet(model, dataset), step, dataformats="HWC")

    def flush(self) -> None:
        """Put everything on disk, so that a kill leaves no gap before the step that a resumed run begins at."""
        self._writer.flush()


def average_precisions(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Of what `validate` gives, the average precisions over classes that there are, in per cent."""
    return {name: value for name, value in metrics.items() if "_ap" in name and value is not None}


def prediction_sheet(model: SpdaSam, dataset: CocoRgbdDataset) -> NDArray[np.uint8]:
    """The first pictures of a data set, one a row: the picture, its labels, what the model finds with its depth.

    Returns:
        (H, W, 3) uint8 R, G, B.
    """
    panels, titles = [], []
    for i in range(min(PICTURES, len(dataset))):
        sample = dataset[i]
        (found,) = model.predict_batch(
            [sample.rgb],
            [sample.depth_m],
            relative_inverse_depths=[sample.relative_inverse_depth],
            score_threshold=DRAWN_SCORE,
            estimate_depth=False,
        )
        labels = Instances.of_labels(sample.masks, sample.class_ids, dataset.class_names)
        panels += [sample.rgb, *(draw_instances(sample.rgb, each) for each in (labels, found.instances))]
        titles += [sample.file_name, "labels", f"prediction >= {DRAWN_SCORE}"]
    return contact_sheet(panels, 3, titles, longest_px=CELL_PX)
