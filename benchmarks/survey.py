"""How near a survey comes to what is there, on rendered hulls with true numbers of things, and what it costs.

python -m benchmarks.survey --checkpoint tiny --dives 20 --frames 160
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.tracking import FRAMES_PER_SECOND, true_instances
from spda_sam_core.results.area import surface_area_m2
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.survey.cover import sections_of
from spda_sam_core.survey.dive import survey_dive
from spda_sam_core.survey.facts import LEAST_FRAMES, facts_of
from spda_sam_core.survey.journal import Frame, Journal
from spda_sam_core.survey.overlay_video import OverlayVideo
from training.world.frame import RenderedFrame, Survey
from training.world.scene import CLASS_NAMES
from training.world.sequence import STEP_M
from training.world.shade import pixel_rays

FIRST_SEED = 700
"""Of the dives; no data set has them."""
SAME = 0.5
"""Least IoU of a mask with what it shows."""
CELL_M = 0.01
"""Side of what the plate in view is counted in; a pixel shows 4 mm."""


class Numbers(NamedTuple):
    """Of one dive.

    Attributes:
        true: things that are seen in `LEAST_FRAMES` frames.
        reported: findings that are counted.
        right: things that some finding shows.
        area_errors: relative, of findings that show a thing.
        cover: share of each section, by piece and number.
        pieces: of the strip.
        way: length of the strip over that of the camera's way along the hull.
        seen: area of the strip over that of the hull that was in view; None where the strip has several pieces, which
            may overlap.
        network_share: of the time, that of the network.
    """

    true: int
    reported: int
    right: int
    area_errors: list[float]
    cover: dict[tuple[int, int], float]
    pieces: int
    way: float
    seen: float | None
    network_share: float


class Timed:
    """A model that counts its seconds; without a network it says what is there."""

    def __init__(self, model: SpdaSam | None, frames: Sequence[RenderedFrame]) -> None:
        self.model, self.seconds = model, 0.0
        self.class_names = CLASS_NAMES if model is None else model.class_names
        self._frames = iter(frames)

    def predict(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None = None, *, score_threshold: float = 0.3
    ) -> Instances:
        """See `SpdaSam.predict`."""
        if self.model is None:
            return true_instances(next(self._frames))[0]
        start = time.perf_counter()
        found = self.model.predict(rgb, depth_m, score_threshold=score_threshold)
        self.seconds += time.perf_counter() - start
        return found


def measure(
    frames: Sequence[RenderedFrame], model: SpdaSam | None, interval_s: float, step_m: float, hull_m2: float
) -> Numbers:
    """Survey a dive and compare; `hull_m2` of hull were in view."""
    matrix = frames[0].camera_matrix
    camera = Pinhole(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    timed = Timed(model, frames)
    given = [Frame(f"{i:05d}.png", round(i * interval_s * 1e9), f.rgb, f.depth_m) for i, f in enumerate(frames)]
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl", {}, timed.class_names, resume=False)
        start = time.perf_counter()
        video = OverlayVideo(Path(folder) / "overlay.mp4", 1 / interval_s)
        dive = survey_dive(given, timed, journal, Path(folder), interval_s=interval_s, camera=camera, video=video)
        seconds = time.perf_counter() - start
        journal.close()
        votes = _votes(Path(folder), frames)
    areas, seen = _true_areas(frames, camera)
    things = {number for number, count in seen.items() if count >= LEAST_FRAMES}
    facts = facts_of(dive, "dive", lambda *_: "")
    shown: dict[int, float | None] = {}
    for finding in sorted(facts.counted, key=lambda f: -f.frames):
        best = votes[finding.number].most_common(1)
        if best and best[0][1] * 2 > finding.frames and best[0][0] in things:
            shown.setdefault(best[0][0], finding.area_m2)
    errors = [area / areas[k] - 1 for k, area in shown.items() if area is not None and areas.get(k)]
    number: Counter[int] = Counter()
    cover = {}
    for section in sections_of(dive.strip):
        cover[section.piece, number[section.piece]] = section.covered
        number[section.piece] += 1
    way = facts.way / (step_m * (len(frames) - facts.pieces))
    of_hull = facts.seen / hull_m2 if facts.pieces == 1 else None
    share = timed.seconds / seconds
    return Numbers(len(things), len(facts.counted), len(shown), errors, cover, facts.pieces, way, of_hull, share)


def hull_cells(survey: Survey, index: int, frame: RenderedFrame) -> NDArray[np.int64]:
    """(N, 2) int64 cells of `CELL_M` of the plate's (u, v) that a frame shows."""
    pose, depth_m = survey.pose(index), frame.depth_m.reshape(-1, 1)
    points = pose.position + depth_m * pixel_rays(pose, frame.camera_matrix, frame.label.shape)
    points = points[np.isfinite(depth_m[:, 0])]
    cells: NDArray[np.int64] = np.unique(np.floor(points[:, :2] / CELL_M).astype(np.int64), axis=0)
    return cells


def hull_area_m2(survey: Survey, cells: Sequence[NDArray[np.int64]]) -> float:
    """Area of the plate in all these cells together."""
    u, v = (np.unique(np.concatenate(cells), axis=0).T + 0.5) * CELL_M
    normals = survey.hull.normals(u, v)
    return float((CELL_M**2 / np.abs(normals[:, 2])).sum())


def _votes(folder: Path, frames: Sequence[RenderedFrame]) -> dict[int, Counter[int]]:
    """By finding, how often a mask of it shows which thing of the scene."""
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    with (folder / "instances.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            frame = frames[int(row["frame"][:5])]
            mask = cv2.imread(str(folder / "labels" / row["frame"]), cv2.IMREAD_UNCHANGED) == int(row["label"])
            inside = np.bincount(frame.label[mask], minlength=len(frame.instance_ids) + 1)
            sizes = np.bincount(frame.label.ravel(), minlength=len(inside))
            overlap = inside / np.maximum(sizes + np.count_nonzero(mask) - inside, 1)
            k = int(overlap[1:].argmax()) if len(overlap) > 1 else 0
            if len(overlap) > 1 and overlap[k + 1] >= SAME:
                votes[int(row["finding"])][frame.instance_ids[k]] += 1
    return votes


def _true_areas(frames: Sequence[RenderedFrame], camera: Pinhole) -> tuple[dict[int, float], Counter[int]]:
    """Of each thing the median area of true masks that show it whole, and in how many frames it is."""
    seen: Counter[int] = Counter()
    sizes: dict[int, list[tuple[bool, float]]] = defaultdict(list)
    for frame in frames:
        instances, numbers = true_instances(frame)
        height, width = frame.label.shape
        for mask, box, number in zip(instances.masks, instances.boxes_xyxy, numbers.tolist(), strict=True):
            seen[number] += 1
            area = surface_area_m2(camera, mask, box, frame.depth_m)
            whole = box[0] > 1 and box[1] > 1 and box[2] < width - 1 and box[3] < height - 1
            if area is not None:
                sizes[number].append((bool(whole), area))
    medians = {k: statistics.median([a for w, a in v if w] or [a for _, a in v]) for k, v in sizes.items()}
    return medians, seen


def main(arguments: list[str] | None = None) -> None:
    """Survey rendered hulls with true masks and with those of a checkpoint, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--dives", type=int, default=20, help="hulls (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=160, help="of each, at stride 1 (default: %(default)s)")
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 2, 3, 4], help="default: 1 2 3 4")
    parser.add_argument("--size", type=int, nargs=2, default=[360, 640], metavar=("H", "W"), help="default: 360 640")
    options = parser.parse_args(arguments)
    model = SpdaSam.from_pretrained(options.checkpoint)
    kinds: dict[str, SpdaSam | None] = {"true": None, options.checkpoint: model}
    results: dict[tuple[str, int], list[Numbers]] = defaultdict(list)
    for seed in range(FIRST_SEED, FIRST_SEED + options.dives):
        survey = Survey(seed, tuple(options.size))
        frames = [survey.frame(i) for i in tqdm(range(options.frames), desc=f"rendering {seed}", unit="frame")]
        cells = [hull_cells(survey, i, frame) for i, frame in enumerate(frames)]
        for name, chosen in kinds.items():
            for stride in options.strides:
                interval_s = stride / FRAMES_PER_SECOND
                hull_m2 = hull_area_m2(survey, cells[::stride])
                results[name, stride].append(measure(frames[::stride], chosen, interval_s, STEP_M * stride, hull_m2))
    titles = ("masks", "stride", "reported / true", "precision", "recall", "area off, median", "pieces", "way")
    print(f"| {' | '.join((*titles, 'hull seen (dives of one piece)', 'share of the network'))} |")
    print("|---" * (len(titles) + 2) + "|")
    for (name, stride), dives in sorted(results.items(), key=lambda item: (item[0][0] != "true", item[0][1])):
        true, reported, right = (sum(getattr(d, key) for d in dives) for key in ("true", "reported", "right"))
        errors = [abs(e) for d in dives for e in d.area_errors]
        row = [f"{reported / true:.2f} ({reported}/{true})", f"{right / reported:.2f}", f"{right / true:.2f}"]
        row += [f"{statistics.median(errors):.1%}", f"{statistics.mean(d.pieces for d in dives):.1f}"]
        seen = [d.seen for d in dives if d.seen is not None]
        spread = f"{statistics.mean(seen):.2f}, {min(seen):.2f} to {max(seen):.2f} ({len(seen)})" if seen else "none"
        row += [f"{statistics.mean(d.way for d in dives):.2f}", spread]
        row.append(f"{statistics.mean(d.network_share for d in dives):.2f}")
        print(f"| {name} | {stride} | {' | '.join(row)} |", flush=True)
    for stride in options.strides:
        pairs = zip(results["true", stride], results[options.checkpoint, stride], strict=True)
        off = [abs(b.cover[k] - a.cover[k]) for a, b in pairs for k in a.cover if k in b.cover]
        print(
            f"cover of a section, stride {stride}: {100 * statistics.mean(off):.2f} points off in the mean, "
            f"at most {100 * max(off):.1f}"
        )


if __name__ == "__main__":
    main()
