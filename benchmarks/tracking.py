"""How well numbers stay with things along a rendered hull: HOTA, switches of identity, and the tracker's time.

python -m benchmarks.tracking --checkpoint tiny --surveys 4 --frames 40
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spda_sam_core.results.instances import Instances
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.tracking.tracker import Tracker, TrackerSettings
from training.measuring.tracking_metrics import NumberedFrame, tracking_score
from training.world.frame import RenderedFrame, Survey
from training.world.scene import CLASS_NAMES, HULL

Finds = Callable[[RenderedFrame], Instances]
FRAMES_PER_SECOND = 5
MANY = 20
"""As many as the shipped checkpoints draw."""
FIRST_SEED = 900
"""Of the surveys; no data set has them."""


def true_instances(frame: RenderedFrame) -> tuple[Instances, NDArray[np.int64]]:
    """What is there, but the hull, and which thing of the scene each is."""
    kept = [k for k, name in enumerate(frame.class_ids) if name != HULL]
    masks = frame.label[None] == np.array([k + 1 for k in kept], np.uint16).reshape(-1, 1, 1)
    ids = np.array([frame.instance_ids[k] for k in kept], np.int64)
    classes = np.array([frame.class_ids[k] for k in kept], np.int64)
    return Instances.of_labels(masks, classes, CLASS_NAMES), ids


def without_hull(instances: Instances) -> Instances:
    """All but the hull, which is everywhere and does not leave."""
    hull = instances.class_names.index(CLASS_NAMES[HULL])
    return instances.pick(np.flatnonzero(instances.class_ids != hull).tolist())


def follow(frames: Sequence[RenderedFrame], find: Finds) -> tuple[list[NumberedFrame], list[float]]:
    """What the tracker makes of what is found in frames, and its milliseconds for each."""
    tracker = Tracker()
    numbered, milliseconds = [], []
    for i, frame in enumerate(frames):
        found = find(frame)
        start = time.perf_counter()
        tracked = tracker.update(found, frame.rgb, round(i * 1e9 / FRAMES_PER_SECOND))
        milliseconds.append((time.perf_counter() - start) * 1e3)
        numbered.append(NumberedFrame(tracked.instances.masks, tracked.ids))
    return numbered, milliseconds


def made_things(count: int, size_hw: tuple[int, int], shift_px: int) -> Instances:
    """So many boxes of a tenth of the picture's width about, all moved to the left."""
    height, width = size_hw
    rng = np.random.default_rng(0)
    masks = np.zeros((count, height, width), np.bool_)
    for mask in masks:
        w, h = (rng.uniform(0.05, 0.15, 2) * width).astype(int)
        x, y = int(rng.uniform(0.1, 0.85) * width) - shift_px, int(rng.uniform(0, 0.8) * height)
        mask[y : y + h, max(0, x) : x + w] = True
    return Instances.of_labels(masks, np.zeros(count, np.int64), CLASS_NAMES)


def milliseconds_of_many(frames: Sequence[RenderedFrame], count: int) -> float:
    """Median time of the tracker where it follows so many things."""
    size_hw = frames[0].label.shape
    moved = iter(range(len(frames)))
    _, times = follow(frames, lambda frame: made_things(count, size_hw, 4 * next(moved)))
    return statistics.median(times[1:])


def main(arguments: list[str] | None = None) -> None:
    """Follow true masks and those of a checkpoint along rendered hulls, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--surveys", type=int, default=4, help="hulls (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=40, help="of each, at stride 1 (default: %(default)s)")
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 2, 3, 4], help="default: 1 2 3 4")
    parser.add_argument("--size", type=int, nargs=2, default=[720, 1280], metavar=("H", "W"), help="default: 720 1280")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    model = SpdaSam.from_pretrained(options.checkpoint)

    def of_network(frame: RenderedFrame) -> Instances:
        lowest = TrackerSettings().keep_score
        return without_hull(model.predict(frame.rgb, frame.depth_m, score_threshold=lowest))

    surveys = []
    for seed in range(FIRST_SEED, FIRST_SEED + options.surveys):
        survey = Survey(seed, tuple(options.size))
        surveys.append([survey.frame(i) for i in tqdm(range(options.frames), desc=f"rendering {seed}", unit="frame")])
    finders: dict[str, Finds] = {
        "true": lambda frame: true_instances(frame)[0],
        options.checkpoint: of_network,
    }
    print("| masks | stride | HOTA | DetA | AssA | switches | things a frame | ms, median |")
    print("|---|---|---|---|---|---|---|---|")
    for name, find in finders.items():
        for stride in options.strides:
            scores, milliseconds, counts = [], [], []
            for frames in surveys:
                chosen = frames[::stride]
                truth = [NumberedFrame(i.masks, ids) for i, ids in map(true_instances, chosen)]
                found, times = follow(chosen, find)
                scores.append(tracking_score(truth, found))
                milliseconds += times[1:]
                counts += [len(frame.ids) for frame in found]
            means = [statistics.mean(getattr(score, key) for score in scores) for key in ("hota", "det_a", "ass_a")]
            cells = [f"{value:.1f}" for value in means]
            cells += [str(sum(score.switches for score in scores)), f"{statistics.mean(counts):.1f}"]
            print(f"| {name} | {stride} | {' | '.join(cells)} | {statistics.median(milliseconds):.1f} |", flush=True)
    height, width = options.size
    ms = milliseconds_of_many(surveys[0], MANY)
    print(f"\n{MANY} things in frames of {width} x {height}: {ms:.1f} ms, median")


if __name__ == "__main__":
    main()
