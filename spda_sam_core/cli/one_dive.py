"""One dive of `spda-sam survey`, from its input to the files in its folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tqdm import tqdm

from spda_sam_core.cli.sources import Pictures, Video, open_source
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.settings import load_settings
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.survey.dive import survey_dive
from spda_sam_core.survey.facts import Facts, facts_of
from spda_sam_core.survey.journal import Frame, Journal
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.overlay_video import OverlayVideo
from spda_sam_core.survey.report import Origin, write_report
from spda_sam_core.survey.tables import write_coco, write_findings

if TYPE_CHECKING:
    from spda_sam_core.bags.bag import Bag

JOURNAL = "journal.jsonl"


def survey_one(
    path: Path, out: Path, model: SpdaSam, options: argparse.Namespace, *, resume: bool, quiet: bool = False
) -> Facts:
    """Survey one dive, and write its page, its tables and its pictures.

    Args:
        path: a folder of pictures, a video or a bag.
        out: folder for the files.
        model: finds the instances.
        options: those of `spda-sam survey`.
        resume: go on with what is in `out`.
        quiet: no progress bar.

    Raises:
        FileExistsError: there is a survey in `out`, and `resume` was not asked for.
        FileNotFoundError: nothing to look at.
        OSError: a file that cannot be written.
        ValueError: input that cannot be read, or another one than before.
    """
    source = open_source(path, options, rate=options.rate)
    if isinstance(source, Video):
        source.every = max(1, round(source.frames_per_second / options.rate))
    made_by: dict[str, Any] = {
        "source": str(path.resolve()), "rate": options.rate, "threshold": options.threshold,
        "checkpoint_sha256": model.checkpoint_sha256, "depth": str(options.depth or ""),
    }  # fmt: skip
    camera, bag = Pinhole(*options.camera) if options.camera else None, None
    if not isinstance(source, (Pictures, Video)):
        made_by["topics"] = [source.topics.image, source.topics.depth]
        camera = _camera_of(source, camera)
        from spda_sam_core.bags.result_bag import ResultBag

        bag = ResultBag(out / "bag", model.class_names, options.threshold, camera)
    interval_s = _interval_s(source, options.rate)
    video = OverlayVideo(out / "overlay.mp4", 1 / interval_s)
    journal = Journal(out / JOURNAL, made_by, model.class_names, resume=resume)
    try:
        with tqdm(total=len(source) or None, desc=f"looking at {path.name}", unit="frame", disable=quiet) as bar:
            dive = survey_dive(
                _frames(source, interval_s, bar),
                model,
                journal,
                out,
                interval_s=interval_s,
                threshold=options.threshold,
                camera=camera,
                classes=options.classes,
                video=video,
                bag=bag,
            )
    finally:
        journal.close()
    dive.problems += [*source.noticed, *filter(None, [video.problem])]
    facts = facts_of(dive, path.name, _link_of(source, out), count_from=options.count_from)
    write_findings(out / "findings.csv", [facts])
    write_coco(out / "coco.json", journal, options.threshold)
    write_report(out / "report.html", dive, facts, occasion_of(options), origin_of(model, options))
    return facts


def occasion_of(options: argparse.Namespace) -> Occasion:
    """What the file of --occasion says; blank without one."""
    return load_settings(Occasion, options.occasion, "occasion file") if options.occasion else Occasion()


def origin_of(model: SpdaSam, options: argparse.Namespace) -> Origin:
    """What makes the report."""
    limits = (options.threshold, options.count_from)
    return Origin(options.checkpoint, model.checkpoint_sha256, model.terms, *limits, model.class_names)


def _camera_of(bag: Bag, given: Pinhole | None) -> Pinhole | None:
    """The camera, where there is depth as well, without which nothing has a length."""
    if bag.topics.depth is None:
        if given is not None:
            raise ValueError(f"--camera: {bag.source} has no depth, and metres need both: leave it out")
        return None
    if given is None and bag.topics.camera_info is None:
        bag.noticed.append(
            f"{bag.source}: depth without camera_info: sizes are in pixels; --camera gives what is missing"
        )
    return given or bag.camera


def _interval_s(source: Pictures | Video | Bag, rate: float) -> float:
    """From one frame to the next."""
    if isinstance(source, Pictures):
        return 1 / rate
    return source.every / source.frames_per_second if isinstance(source, Video) else source.interval_s


def _frames(source: Pictures | Video | Bag, interval_s: float, bar: tqdm[None]) -> Iterator[Frame]:
    number = -1
    for number, look in enumerate(source):
        bar.update()
        even_ns = round(number * interval_s * 1e9)
        stamp_ns = even_ns if look.stamp_ns is None else look.stamp_ns
        yield Frame(look.name, stamp_ns, look.rgb, look.depth_m, look.problem, look.header, look.logged_ns)
    if isinstance(source, Video) and number + 1 < 0.98 * len(source):
        # one entry for all that is missing: where a stream ends, nothing says how many frames there were
        problem = f"{source.source}: ends after {number + 1} frames, its header says {len(source)}"
        yield Frame("end", round((number + 1) * interval_s * 1e9), None, None, problem)


def _link_of(source: Pictures | Video | Bag, folder: Path) -> Callable[[str, float], str]:
    if isinstance(source, Video):
        video = quote(os.path.relpath(source.source, folder))
        return lambda _, seconds: f"{video}#t={seconds:.2f}"
    if not isinstance(source, Pictures):
        return lambda *_: ""
    root = os.path.relpath(source.root, folder)
    return lambda name, _: quote(f"{root}/{name}")
