"""Measure a model on a labelled set: average precision, LRP error and calibration of its masks and boxes.

python training/evaluate.py --data config/data/rendered.yaml --split val --checkpoint tiny --report report/
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import torch

from spda_sam_core.runtimes.backends import BACKENDS
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from training.data.dataset import open_split
from training.data.vocabulary import load_vocabulary
from training.learning.run_files import current_commit
from training.measuring.measure import measure_predicted
from training.measuring.metrics_table import class_notes, class_table, overall_table, score_table
from training.measuring.predict import GPU_BATCH_SIZE, WORKERS, DepthMode, predict
from training.one_line import errors_in_one_line

EPILOG = """\
what the tables say:
  AP, AP50, AP75     COCO's average precision of masks and boxes, in per cent; 50: at IoU 0.5 alone
  AR1 .. AR100       average recall with the best 1, 10, 100 results of a picture and a class
  small .. large     of instances below 32 x 32, up to 96 x 96, and larger
  agnostic           all classes as one: finding counts, naming does not; results are counted by picture
  oLRP               LRP error at the best score threshold, in per cent, lower is better; its parts are what is lost
                     by loose masks (localisation), false alarms (FP) and misses (FN)
  threshold          the score at which a class has that error: what to filter its instances by
  calibration error  how far scores are from the share of detections that is true at mask IoU 0.5, 0 to 1, over
                     detections scoring at least 0.05; high: fit scores with python -m training.calibrate
  LaECE              the same against the IoU of the mask, class by class
  doubles            share of what the network decoded that repeats a better candidate (mask IoU above 0.8)

Results are what the node publishes: one class a mask, at most one mask an instance, from score 0 up.
Classes of model and data are told by their names, in any order. A class that the model lacks counts as 0 AP; detections
of a class that the data lack count in agnostic figures only; both are named.

examples:
  what is depth worth?     --depth true, then --depth none
  a robust sensor?         --depth-holes 0.3
  a quick look             --limit 50
  a report to look at      --report runs/report: tables, curves, reliability, the best and the worst pictures, and
                           results.json and labels.json, with the lines that give pycocotools' own figures
"""


def main(arguments: list[str] | None = None) -> None:
    """Measure a checkpoint on a split of a data set: print average precision, LRP and calibration, write a report."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/rendered.yaml")
    parser.add_argument("--split", default="val", help="name of a split in that file (default: val)")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument(
        "--depth",
        choices=get_args(DepthMode),
        default="true",
        help="what the network sees: the depth of the data, an estimate, or none (default: true)",
    )
    parser.add_argument("--depth-holes", type=float, default=0.0, help="share of true depth to make unknown, 0..1")
    parser.add_argument("--depth-estimator", help="Depth Anything V2, .pth file or folder")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--batch-size",
        type=int,
        help="pictures that go through the network together, fewer where memory runs out (default: 1 on the CPU, else "
        f"{GPU_BATCH_SIZE})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=WORKERS,
        help="threads that read and encode while the network runs (default: %(default)s)",
    )
    parser.add_argument(
        "--backend", default="torch", choices=("auto", *BACKENDS), help="what runs the network (default: torch)"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="YAML",
        help="vocabulary that the model learned with, such as config/classes/sea.yaml: what it calls fish may be "
        "animal_fish in the data",
    )
    parser.add_argument("--report", type=Path, help="folder for the report, metrics.json included")
    parser.add_argument("--json", type=Path, help="write the numbers alone to this file")
    options = parser.parse_args(arguments)
    dataset = open_split(options.data, options.split, limit=options.limit)
    model = SpdaSam.from_pretrained(
        options.checkpoint,
        backend=options.backend,
        device=options.device,
        depth_estimator=options.depth_estimator if options.depth == "estimated" else None,
    )
    predicted = predict(
        model,
        dataset,
        options.depth,
        depth_holes=options.depth_holes,
        batch_size=options.batch_size,
        workers=options.workers,
        other_names=None if options.classes is None else load_vocabulary(options.classes).names,
    )
    measured = measure_predicted(dataset, predicted)
    metrics = {
        **measured.metrics,
        "checkpoint": options.checkpoint,
        "data": str(options.data),
        "split": options.split,
        "backend": model.runtime.facts()["backend"],
        "device": options.device,
        "commit": current_commit(),
    }
    measured = measured._replace(metrics=metrics)
    print(overall_table(metrics), score_table(metrics), class_table(metrics), sep="\n\n")
    for note in class_notes(metrics):
        print(f"\n{note}")
    print(f"\n{metrics['n_images']} pictures, {metrics['images_per_second']:.2f} per second")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.json, (json.dumps(metrics, indent=2) + "\n").encode())
    if options.report is not None:
        # here, because it draws with matplotlib, which training does without
        from training.measuring.report import write_report

        print(write_report(options.report, dataset, predicted.results, measured, predicted.classes.further))


if __name__ == "__main__":
    with errors_in_one_line():
        main()
