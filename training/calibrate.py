"""Make scores mean what they say: fit their calibration and write it into the checkpoint.

python -m training.calibrate --checkpoint runs/tiny/spda_sam_tiny.safetensors --data config/data/rendered.yaml
python -m training.calibrate --checkpoint runs/sea/spda_sam_sea.safetensors --held-back-of config/train/sea.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import update_metadata
from spda_sam_core.weights.find import find_checkpoint
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.training_data import open_training_data
from training.learning.train_config import TrainConfig, load_train_config
from training.measuring.calibration_error import calibration_error, laece, mean_true_score
from training.measuring.fit_calibration import fit_calibration
from training.measuring.lrp import lrp_by_class
from training.measuring.matching import ANY_OVERLAP, Matches, match, together
from training.measuring.predict import DepthMode, predict
from training.one_line import errors_in_one_line

EPILOG = """\
A score of 0.8 should mean that eight of ten such masks are right (IoU 0.5 with a label of their class). What a network
says is off, and differently so from one training to the next. Two numbers mend it: logit(score) = slope * logit(raw) +
offset, fitted to pictures that were neither learned from nor will be reported on, all depth modes together, since the
robot does not know beforehand whether its depth camera will work. The order of results stays, and with it AP.

What is printed first is honest: fitted on every other picture, measured on the rest, and the other way round. What is
written into the file's header is fitted to all of them: "calibration", which the node and evaluation apply from then
on; "thresholds", for each class the score at which its LRP error is least; and "calibrated_on", the pictures. Weights
keep every byte. Run it after training, before evaluation; run it again after training on."""


class Quality(NamedTuple):
    """How well scores say what they mean; see `training.measuring.calibration_error`."""

    error: float | None
    laece: float | None
    true_score: float | None


class Detections(NamedTuple):
    """The same detections matched at IoU 0.5 and at any overlap, with uncalibrated scores."""

    strict: Matches
    loose: Matches

    def chosen(self, parity: int) -> Detections:
        """Those in pictures with an even (0) or odd (1) place in the split; labels are not divided."""
        return Detections(*(each.chosen(each.image_ids % 2 == parity) for each in self))

    def quality(self, calibration: Calibration) -> Quality:
        """Of the scores once calibrated."""
        strict, loose = (each.rescored(calibration) for each in self)
        return Quality(calibration_error(strict), laece(loose), mean_true_score(strict))


class FitSet(NamedTuple):
    """Pictures to fit to.

    Attributes:
        pictures: with the model's classes.
        modes: what the network sees; each picture counts once for each.
        classes: (C,) bool, the classes that are labelled; only these are looked at. None: all.
    """

    pictures: CocoRgbdDataset
    modes: Sequence[DepthMode]
    classes: Sequence[bool] | None = None


def find_detections(
    model: SpdaSam, dataset: CocoRgbdDataset, mode: DepthMode, classes: Sequence[bool] | None = None
) -> Detections:
    """What the model finds of these classes, with the raw scores of its network."""
    results = predict(model, dataset, mode).results
    if classes is not None:
        shown = {category for category, labelled in zip(dataset.category_ids, classes, strict=True) if labelled}
        results = [result for result in results if result["category_id"] in shown]
    place = {image_id: i for i, image_id in enumerate(dataset.image_ids)}
    matched = (
        match(dataset.coco, results, dataset.image_ids, iou_threshold=threshold) for threshold in (0.5, ANY_OVERLAP)
    )
    return Detections(
        *(
            each._replace(image_ids=np.array([place[image_id] for image_id in each.image_ids.tolist()], np.int64))
            for each in matched
        )
    )


def fit(detections: Sequence[Detections]) -> Calibration:
    """The calibration of all of them together; raises what `fit_calibration` raises."""
    return fit_calibration(together([each.strict for each in detections]))


def held_out(detections: Mapping[str, Detections]) -> dict[str, tuple[Quality, Quality]]:
    """Quality before and after, fitted on each half of the pictures and measured on the other; means of the two."""
    fitted = [fit([each.chosen(parity) for each in detections.values()]) for parity in (0, 1)]

    def mean(each: Detections, calibrations: Sequence[Calibration]) -> Quality:
        halves = (each.chosen(1 - parity).quality(calibrations[parity]) for parity in (0, 1))
        return Quality(*(None if None in both else float(np.mean(both)) for both in zip(*halves, strict=True)))

    return {name: (mean(each, [UNCALIBRATED] * 2), mean(each, fitted)) for name, each in detections.items()}


def calibrate(model: SpdaSam, sets: Mapping[str, FitSet]) -> dict[str, Any]:
    """Fit the calibration of a model.

    Args:
        model: its own calibration is put aside.
        sets: by name, the pictures to fit to, of which nothing else should be reported.

    Returns:
        The entries "calibration", "thresholds" and "calibrated_on" for the header of its checkpoint; the last with
        what `held_out` gives.

    Raises:
        ValueError: as `predict`, other classes than the model's, or too little is found to fit anything.
    """
    for each in sets.values():  # a class without labels or in another's place would spoil the fit
        if model.class_names != each.pictures.class_names:
            raise ValueError(
                f"the model's classes {model.class_names} are not those of the data {each.pictures.class_names}: "
                "calibrate on data with the same classes, in the same order"
            )
    model.calibration = UNCALIBRATED
    detections = {
        f"{name}, depth {mode}": find_detections(model, each.pictures, mode, each.classes)
        for name, each in sets.items()
        for mode in each.modes
    }
    calibration = fit(list(detections.values()))
    lrp = lrp_by_class(together([each.strict.rescored(calibration) for each in detections.values()]))
    return {
        "calibration": calibration.to_dict(),
        "thresholds": {name: None if of_class is None else of_class.threshold for name, of_class in lrp.items()},
        "calibrated_on": {
            "n_images": {name: len(each.pictures) for name, each in sets.items()},
            "held_out": {
                name: {"before": before._asdict(), "after": after._asdict()}
                for name, (before, after) in held_out(detections).items()
            },
        },
    }


def held_back_of(config: TrainConfig, modes: Sequence[DepthMode]) -> dict[str, FitSet]:
    """What the sets of a mixture hold back, with the classes that each labels; not "true" where there is no depth."""
    data = open_training_data(config)
    labelled = {each.name: each.labelled for each in data.train.sets}
    return {
        name: FitSet(
            pictures,
            [mode for mode in modes if mode != "true" or pictures.has_depth(0)],
            labelled.get(name),
        )
        for name, pictures in data.validation.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Calibrate the scores of a checkpoint on pictures with labels, and write the calibration into its header."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True, help="a file, or the preset of a shipped one; it is rewritten")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="YAML such as config/data/rendered.yaml")
    where.add_argument(
        "--held-back-of", type=Path, metavar="CONFIG", help="a training configuration: what its sets hold back"
    )
    parser.add_argument("--split", default="calibration", help="name of a split in that file (default: %(default)s)")
    parser.add_argument(
        "--depth",
        nargs="+",
        choices=get_args(DepthMode),
        default=["true", "none"],
        help="what the network sees, each in turn (default: true none); of data without depth: none",
    )
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    path = find_checkpoint(options.checkpoint)
    model = SpdaSam.from_pretrained(path, device=options.device)
    if options.data is not None:
        name = f"{options.data.stem}_{options.split}"
        sets = {name: FitSet(open_split(options.data, options.split, limit=options.limit), options.depth)}
    else:
        sets = held_back_of(load_train_config(options.held_back_of), options.depth)
    entries = calibrate(model, sets)
    update_metadata(path, entries)
    quality = entries["calibrated_on"]["held_out"]
    width = max(map(len, quality))
    print(f"{'on held-out halves':{width}}          error  LaECE  mean score of true")
    for name, stages in quality.items():
        for stage, of_stage in stages.items():
            values = "  ".join("    -" if value is None else f"{value:5.3f}" for value in of_stage.values())
            print(f"{name:{width}}  {stage:7} {values}")
    print(f"{path}: {entries['calibration']}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
