"""The loop of a survey: frames in, findings, strip and files out. Reading, looking and writing overlap."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.picture_file import write_picture
from spda_sam_core.results.area import surface_area_m2
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.findings import Finding, Findings, View
from spda_sam_core.survey.journal import Frame, Journal
from spda_sam_core.survey.overlapped import Writing, ahead, still_of
from spda_sam_core.survey.overlay_video import OverlayVideo
from spda_sam_core.survey.sight import Sight, sight_of
from spda_sam_core.survey.strip import Strip
from spda_sam_core.tracking.tracker import Tracked, Tracker, TrackerSettings

if TYPE_CHECKING:
    from spda_sam_core.bags.result_bag import ResultBag

GROWTH = ("marine_growth",)
"""Classes that count as macrofouling."""
HULL = "ship_hull"
"""Is everywhere and no finding."""
INSTANCE_COLUMNS = (
    "frame", "time_s", "label", "class", "score", "track", "finding", "area_px", "area_m2", "x_m", "y_m", "z_m",
    "distance_m",
)  # fmt: skip
_AHEAD = 4
_LOST_S, _LOST_FRAMES = 2.0, 3
"""A thing that is not found is remembered for so long, and for so many frames at least."""
_LONG_PAUSE_S, _LONG_PAUSE_FRAMES = 5.0, 4
"""Between two frames: what lies between was not seen."""


class FindsInstances(Protocol):
    """What a survey needs of `SpdaSam`."""

    def predict(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None = None, *, score_threshold: float = 0.3
    ) -> Instances:
        """See `SpdaSam.predict`."""


@dataclass
class Moment:
    """One frame, as the timeline shows it."""

    name: str
    stamp_ns: int
    sight: Sight
    things: int


@dataclass
class Dive:
    """What a survey has found.

    Attributes:
        findings: each thing once.
        strip: where the camera was and what it saw.
        moments: one for each frame, also of those that could not be read.
        problems: what was skipped, and what was noticed.
    """

    findings: list[Finding]
    strip: Strip
    moments: list[Moment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def survey_dive(
    frames: Iterable[Frame],
    model: FindsInstances,
    journal: Journal,
    folder: Path,
    *,
    interval_s: float,
    threshold: float = 0.3,
    camera: Pinhole | None = None,
    classes: Iterable[str] | None = None,
    video: OverlayVideo | None = None,
    bag: ResultBag | None = None,
) -> Dive:
    """Look at a dive, and write `labels/`, `stills/` and `instances.csv` while at it.

    Args:
        frames: in the order of time.
        model: finds the instances of a frame that is not in the journal.
        journal: what was found in a run before, and where what is found now is written down.
        folder: for the files.
        interval_s: seconds from one frame to the next, as a rule.
        threshold: the lowest score of a thing that is new, 0..1; what is followed already may score half of that.
        camera: intrinsics of rectified pictures; with depth, lengths are metres and areas m².
        classes: names of those to report; None: all.
        video: gets every frame, with what is reported of it.
        bag: gets what is reported of each frame that has a header.

    Raises:
        OSError: a file that cannot be written.
        ValueError: frames that are not those of the journal.
    """
    lost_s = max(_LOST_S, _LOST_FRAMES * interval_s)
    pause_s = max(_LONG_PAUSE_S, _LONG_PAUSE_FRAMES * interval_s)
    tracker = Tracker(TrackerSettings.beginning_at(threshold, lost_s=lost_s))
    findings, wanted = Findings(lost_s), set(classes) if classes is not None else None
    dive = Dive(findings.all, Strip(camera))
    last: Frame | None = None
    way, followed = 0.0, False
    for name in ("labels", "stills"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    closing = [output.close for output in (video, bag) if output is not None]
    with (folder / "instances.csv").open("w", newline="", encoding="utf-8") as file, Writing(closing) as writing:
        table = csv.writer(file)
        table.writerow(INSTANCE_COLUMNS)
        for frame in ahead(frames, _AHEAD):
            number = len(dive.moments)
            if frame.rgb is None:
                dive.problems.append(frame.problem)
                dive.moments.append(Moment(frame.name, frame.stamp_ns, "lost", 0))
                followed = False
                if video is not None:
                    writing.soon(video.lost, clock(frame.stamp_ns))
                continue
            if last is not None and last.rgb is not None:
                _notice_changes(dive, last, frame, pause_s)
                followed = followed and frame.stamp_ns - last.stamp_ns <= pause_s * 1e9
            found = journal.recall(frame)
            if found is None:
                found = model.predict(frame.rgb, frame.depth_m, score_threshold=tracker.settings.keep_score)
                journal.add(frame, found)
            tracked = tracker.update(found, frame.rgb, frame.stamp_ns)
            dive.strip.move(tracked, frame.depth_m, number, follows=followed)
            path = dive.strip.pieces[-1].path
            way += math.dist(path[-2], path[-1]) if len(path) > 1 else 0.0
            sight = sight_of(frame.rgb)
            if sight == "clear":
                dive.strip.paint(frame.rgb, _covered(tracked.instances))
            shown = tracked.of_classes(wanted, but=HULL)
            views = [_view(shown, k, frame, dive.strip, way) for k in range(len(shown.ids))]
            for k, (view, finding, best) in enumerate(findings.frame(views, frame.rgb)):
                table.writerow(_row(frame, k + 1, view, finding))
                if best:
                    still = still_of(frame.rgb, shown.instances.pick([k]))
                    writing.soon(write_picture, folder / "stills" / f"{finding.number:05d}.jpg", still[..., ::-1])
            label = shown.instances.to_label_image()
            writing.soon(write_picture, folder / "labels" / f"{Path(frame.name).with_suffix('')}.png", label)
            if video is not None:
                writing.soon(video.add, frame.rgb, shown.instances, clock(frame.stamp_ns))
            if bag is not None and frame.header is not None:
                ids = shown.ids.tolist()
                writing.soon(bag.add, frame.header, frame.logged_ns, shown.instances, ids, frame.depth_m)
            dive.moments.append(Moment(frame.name, frame.stamp_ns, sight, len(views)))
            last, followed = frame, True
    return dive


def _notice_changes(dive: Dive, last: Frame, frame: Frame, longest_s: float) -> None:
    assert last.rgb is not None
    assert frame.rgb is not None
    before, now = last.rgb.shape[:2], frame.rgb.shape[:2]
    if before != now:
        dive.problems.append(
            f"{frame.name}: the picture's size changes from {before[1]} x {before[0]} to {now[1]} x {now[0]}; "
            "things are not followed across"
        )
    pause_s = (frame.stamp_ns - last.stamp_ns) / 1e9
    if pause_s > longest_s:
        dive.problems.append(f"{frame.name}: no frame for {pause_s:.1f} s before it; what lies between was not seen")


def _covered(instances: Instances) -> NDArray[np.bool_]:
    growth = [k for k, c in enumerate(instances.class_ids.tolist()) if instances.class_names[c] in GROWTH]
    covered: NDArray[np.bool_] = np.logical_or.reduce(instances.masks[growth], axis=0)
    return covered


def _view(tracked: Tracked, k: int, frame: Frame, strip: Strip, way: float) -> View:
    found = tracked.instances
    mask, box = found.masks[k], found.boxes_xyxy[k]
    x0, y0, x1, y1 = box.tolist()
    area_px = int(np.count_nonzero(mask))
    area_m2, point_m = None, None
    if strip.camera is not None and frame.depth_m is not None:
        area_m2 = surface_area_m2(strip.camera, mask, box, frame.depth_m)
        point_m = strip.camera.centroid(mask, box, frame.depth_m)
    return View(
        frame=frame.name,
        stamp_ns=frame.stamp_ns,
        track=int(tracked.ids[k]),
        class_name=found.class_names[int(found.class_ids[k])],
        score=float(found.scores[k]),
        box_xyxy=(x0, y0, x1, y1),
        area_px=area_px,
        area_m2=area_m2,
        point_m=point_m,
        whole=x0 > 1 and y0 > 1 and x1 < found.width - 1 and y1 < found.height - 1,
        piece=len(strip.pieces) - 1,
        place=strip.at((x0 + x1) / 2, (y0 + y1) / 2),
        extent=math.sqrt(area_px) * strip.per_px,
        way=way,
    )


def _row(frame: Frame, label: int, view: View, finding: Finding) -> list[Any]:
    row: list[Any] = [
        frame.name,
        f"{frame.stamp_ns / 1e9:.3f}",
        label,
        view.class_name,
        f"{view.score:.4f}",
        view.track,
    ]
    row += [finding.number, view.area_px, "" if view.area_m2 is None else f"{view.area_m2:.5f}"]
    if view.point_m is None:
        return [*row, "", "", "", ""]
    return row + [f"{v:.3f}" for v in (*view.point_m, math.hypot(*view.point_m))]
