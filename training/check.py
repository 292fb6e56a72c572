"""Examine a data set before training on it: every picture, every annotation, every depth image.

python training/check.py config/data/usis10k.yaml --json report.json

Exit status 1 where training would fail, else 0, with warnings for what training skips. Look at the sheet of samples:
masks must lie on what they name, and in depth red must be near.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.picture_file import write_picture
from spda_sam_core.results.draw import colourise_depth, contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances
from training.data.check_split import SplitReport, check_split, network_depth
from training.data.coco_problems import Problem
from training.data.data_config import LabelData, load_data_config, read_data, split_files, split_names
from training.data.dataset import CocoRgbdDataset

SAMPLES_PER_SPLIT = 8
CELL_WIDTH_PX = 480
SHOWN_PER_KIND = 5
"""Problems of one kind that are printed; the JSON file has them all."""


def check(data: Path, *, workers: int) -> dict[str, SplitReport]:
    """Examine every split of a data set. Nothing is rendered; instance images are made a COCO file, as in training.

    Args:
        data: its YAML.
        workers: number of threads.

    Raises:
        FileNotFoundError: no such YAML.
        ValueError: the YAML cannot be used.
    """
    kind, _ = read_data(data)
    reports = {}
    for split in split_names(data):
        try:
            if kind != "rendered" and isinstance(config := load_data_config(data), LabelData):
                # here, because only these need it
                from training.data.instance_images import convert_split

                convert_split(config, split, workers=workers)
            files = split_files(data, split)
        except (FileNotFoundError, ValueError) as error:
            problem = Problem("error", "cannot be opened", f"{data}, {split}", str(error))
            reports[split] = SplitReport(problems=[problem])
            continue
        if kind == "rendered" and not files.annotations.exists():
            text = "not rendered yet: training does it, or python -m training.render"
            reports[split] = SplitReport(problems=[Problem("warning", "nothing there", f"{data}, {split}", text)])
            continue
        reports[split] = check_split(files, workers=workers, title=split)
    _compare(reports, data)
    _find_shared(reports, data)
    return reports


def _compare(reports: dict[str, SplitReport], data: Path) -> None:
    """Add what training refuses about the two splits that it needs."""
    for split in {"train", "val"} & set(reports):
        report = reports[split]
        if report.n_images and not report.n_instances:
            text = f"{report.n_images} pictures without a single mask that training could learn from or be measured by"
            report.problems.append(Problem("error", "no instance", f"{data}, {split}", text))
    if "val" not in reports:
        return
    val, train = reports["val"], reports.get("train", SplitReport())
    if train.n_images and val.n_images and list(train.instances) != list(val.instances):
        text = f"'val' has {list(val.instances)}, 'train' has {list(train.instances)}: give both the same"
        val.problems.append(Problem("error", "other classes", f"{data}, val", text))
    with_depth = val.n_with_depth + val.n_estimated
    if 0 < with_depth < val.n_images:
        text = f"{with_depth} of {val.n_images} pictures: python -m training.estimate_depth --data {data} --split val"
        val.problems.append(Problem("error", "depth of some pictures only", f"{data}, val", text))


def _find_shared(reports: dict[str, SplitReport], data: Path) -> None:
    """Add which pictures are in several splits: what is learnt and measured alike says nothing."""
    for (earlier, first), (later, second) in combinations(reports.items(), 2):
        of_first = {pixels: number for number, pixels in enumerate(first.pixels) if pixels}
        shared = [(of_first[key], number) for number, key in enumerate(second.pixels) if key in of_first]
        if not shared or first.dataset is None or second.dataset is None:
            continue
        names = (
            f"{second.dataset.rgb_file(b).relative_to(second.dataset.images)} is "
            f"{first.dataset.rgb_file(a).relative_to(first.dataset.images)}"
            for a, b in shared[:SHOWN_PER_KIND]
        )
        more = ", ..." if len(shared) > SHOWN_PER_KIND else ""
        text = (
            f"{len(shared)} of {second.n_images} pictures are in '{earlier}' too, pixel for pixel ({', '.join(names)}"
            f"{more}): put each into one split"
        )
        second.problems.append(Problem("warning", "shared pictures", f"{data}, {later}", text))


def draw_sheet(reports: dict[str, SplitReport]) -> NDArray[np.uint8] | None:
    """Samples of every split with their masks, beside their depth; None where no picture is without problems."""
    panels, titles = [], []
    for split, report in reports.items():
        step = max(1, len(report.good) // SAMPLES_PER_SPLIT)
        for number in report.good[::step][:SAMPLES_PER_SPLIT]:
            assert report.dataset is not None
            panels.append(_draw(report.dataset, number))
            titles.append(f"{split}: {report.dataset.rgb_file(number).relative_to(report.dataset.images)}")
    return contact_sheet(panels, 4, titles) if panels else None


def _draw(dataset: CocoRgbdDataset, number: int) -> NDArray[np.uint8]:
    """A picture with its masks, and its depth to the right where it has any."""
    panels = [draw_instances(dataset.rgb(number), Instances.of_labels(*dataset.instances(number), dataset.class_names))]
    depth = network_depth(dataset, number)
    if depth is not None:
        panels.append(colourise_depth(depth))
    height, width = dataset.size_hw(number)
    size = (CELL_WIDTH_PX, max(1, round(CELL_WIDTH_PX * height / width)))
    return np.concatenate([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in panels], axis=1)


def format_report(reports: dict[str, SplitReport]) -> str:
    """The reports as text for a terminal."""
    lines = []
    for split, report in reports.items():
        lines.append(
            f"{split}: {report.n_images} pictures, {report.n_instances} instances, {report.n_crowd} crowd regions"
        )
        known = "" if report.known_depth is None else f" ({100 * report.known_depth:.0f} % of their pixels known)"
        lines.append(f"  depth: {report.n_with_depth} depth images{known}, {report.n_estimated} estimates")
        for name, count in sorted(report.instances.items(), key=lambda item: -item[1]):
            share = 100 * count / max(report.n_instances, 1)
            lines.append(f"  {name:<24}{count:>9} instances {share:5.1f} %  in {report.pictures[name]} pictures")
        told: Counter[tuple[str, str]] = Counter()
        for problem in sorted(report.problems, key=lambda p: (p.level, p.kind)):
            told[problem.level, problem.kind] += 1
            if told[problem.level, problem.kind] <= SHOWN_PER_KIND:
                lines.append(f"  {problem}")
        for (level, kind), count in told.items():
            if count > SHOWN_PER_KIND:
                lines.append(f"  {level}: {kind}: {count - SHOWN_PER_KIND} more")
    errors, warnings = (count_problems(reports, level) for level in ("error", "warning"))
    lines.append(f"{errors} errors, {warnings} warnings: training {'would fail' if errors else 'can begin'}")
    return "\n".join(lines)


def count_problems(reports: dict[str, SplitReport], level: str) -> int:
    """Number of problems of this level."""
    return sum(problem.level == level for report in reports.values() for problem in report.problems)


def as_json(reports: dict[str, SplitReport]) -> dict[str, Any]:
    """The reports for `json.dump`: `errors`, `warnings`, and for each split what `SplitReport` tells."""
    splits = {}
    for split, report in reports.items():
        told = [f.name for f in dataclasses.fields(report) if f.name not in ("dataset", "good", "pixels")]
        fields = {name: getattr(report, name) for name in told}
        splits[split] = {**fields, "problems": [dataclasses.asdict(problem) for problem in report.problems]}
    counts = {f"{level}s": count_problems(reports, level) for level in ("error", "warning")}
    return {**counts, "splits": splits}


def main(arguments: list[str] | None = None) -> int:
    """Examine a data set; exit status 1 where training on it would fail."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path, help="YAML such as config/data/usis10k.yaml")
    parser.add_argument("--sheet", type=Path, help="JPEG of samples with masks (default: <name of the YAML>_check.jpg)")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        reports = check(options.data, workers=options.workers)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}")
        return 1
    print(format_report(reports))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(reports), indent=2) + "\n", encoding="utf-8")
    sheet = draw_sheet(reports)
    if sheet is not None:
        path = options.sheet or Path(f"{options.data.stem}_check.jpg")
        try:
            write_picture(path, sheet[..., ::-1])
        except OSError as error:
            print(f"error: the sheet {path} cannot be written: {error}")
            return 1
        print(path)
    return 1 if count_problems(reports, "error") else 0


if __name__ == "__main__":
    sys.exit(main())
