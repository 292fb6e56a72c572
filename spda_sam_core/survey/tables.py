"""What a survey leaves for other programs: `findings.csv` and `coco.json`."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from spda_sam_core.survey.facts import Facts
from spda_sam_core.survey.findings import Finding
from spda_sam_core.survey.journal import Journal, instances_of

FINDING_COLUMNS = (
    "finding", "counted", "class", "score", "mean_score", "first_s", "last_s", "frames", "best_frame", "best_s",
    "tracks", "possibly_same", "largest_px", "area_m2", "largest_m2", "distance_m", "piece", "strip_x",
    "strip_y", "strip_unit",
)  # fmt: skip


def write_findings(path: Path, dives: Sequence[Facts]) -> None:
    """One row for each finding; lists are separated by spaces, what is unknown is empty.

    Of several dives each row begins with the dive that it is of.
    """
    several = len(dives) > 1
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*(["dive"] if several else []), *FINDING_COLUMNS])
        for dive in dives:
            table.writerows([*([dive.source] if several else []), *_row(f, dive)] for f in dive.findings)


def _row(f: Finding, dive: Facts) -> list[object]:
    sizes = ["" if area is None else f"{area:.5f}" for area in (f.area_m2, f.largest_m2)]
    distance = "" if f.best.point_m is None else f"{sum(v * v for v in f.best.point_m) ** 0.5:.3f}"
    times = [f"{view.stamp_ns / 1e9:.3f}" for view in (f.first, f.last, f.best)]
    row = [f.number, "yes" if dive.counts(f) else "no", f.class_name, f"{f.score:.4f}", f"{f.mean_score:.4f}"]
    row += [*times[:2], f.frames, f.best.frame, times[2], " ".join(map(str, f.tracks))]
    row += [" ".join(map(str, f.possibly_same)), f.largest_px, *sizes, distance]
    return [*row, f.best.piece + 1, *(f"{v:.3f}" for v in f.best.place), dive.unit]


def write_coco(path: Path, journal: Journal, threshold: float) -> None:
    """One COCO file of everything that scores at least `threshold`, frame by frame, as `pycocotools` opens it.

    Masks are compressed RLE. It is written line by line, so that a long dive needs no memory.
    """
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(journal.class_names)]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(categories)},\n"images": [')
        for image_id, line in enumerate(journal.frames(), start=1):
            height, width = line["size"]
            image = {"id": image_id, "file_name": line["name"], "height": height, "width": width}
            file.write((",\n" if image_id > 1 else "\n") + json.dumps(image))
        file.write('],\n"annotations": [')
        number = 0
        for image_id, line in enumerate(journal.frames(), start=1):
            found = instances_of(line, journal.class_names).filter(score_threshold=threshold)
            for result, mask in zip(found.to_coco(image_id), found.masks, strict=True):
                number += 1
                file.write(",\n" if number > 1 else "\n")
                file.write(json.dumps({"id": number, **result, "area": int(mask.sum()), "iscrowd": 0}))
        file.write("]}\n")
