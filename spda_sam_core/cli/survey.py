"""`spda-sam survey`: one dive, one page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tqdm import tqdm

from spda_sam_core.bags import is_bag
from spda_sam_core.cli.predict import SKIPPED
from spda_sam_core.cli.sources import Pictures, Video, add_topic_options, open_source
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.runtimes.backends import BACKENDS
from spda_sam_core.settings import load_settings
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.survey.dive import survey_dive
from spda_sam_core.survey.journal import Frame, Journal
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.overlay_video import OverlayVideo
from spda_sam_core.survey.report import LEAST_FRAMES, Origin, write_report
from spda_sam_core.survey.tables import write_coco, write_findings

if TYPE_CHECKING:
    from spda_sam_core.bags.bag import Bag

_EPILOG = """\
examples:
  spda-sam survey dive.mp4 --rate 2 --out dive/                     two frames a second of a video
  spda-sam survey frames/ --rate 2 --out dive/                      pictures that were taken twice a second
  spda-sam survey frames/ --depth depth/ --camera 900 900 640 360 --out dive/     sizes in m², the way in metres
  spda-sam survey my_bag/ --rate 2 --out dive/                      a bag of ROS 2, with its depth and calibration
  spda-sam survey dive.mp4 --rate 2 --out dive/ --resume            go on after a kill: nothing is looked at twice

written into the folder of --out:
  report.html     one page by itself: totals, timeline, what was seen, each finding once; a browser prints it
  findings.csv    one row for each finding
  instances.csv   one row for each thing in each frame
  coco.json       masks of all frames (RLE)
  labels/         for each frame a 16-bit PNG: 0 is none, k is the row of instances.csv with label k
  overlay.mp4     every frame that was looked at, with what is reported of it
  stills/         of each finding the picture that shows it best
  bag/            of a bag: /spda_sam/instances, /spda_sam/detections and /spda_sam/label_info of what is reported,
                  as the node would have published them (sqlite3, zstd, metadata version 8: for Humble and later)
  journal.jsonl   what the network said, for --resume

occasion.yaml (--occasion), all of it optional:
  ship: Example     imo_number: 9074729     area: port side     place: Bergen     date: 2026-11-20     draught: 7.2 m
  operator: A. Diver     equipment: BlueROV2     visibility: 4 m     notes: after cleaning
a bag (sqlite3 or MCAP, its folder or one file; pip install rosbags): images raw or compressed; depth is paired by stamp
(16UC1, 32FC1, compressedDepth); camera_info gives metres. Where several topics would do, the error lists them.
What cannot be read is listed in the report and skipped (exit status 3)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Survey one dive: each finding once, with size, cover, and what was not seen, on one page."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder of pictures in the order of their names, a video, or a bag")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the report")
    parser.add_argument("--resume", action="store_true", help="go on with the survey that is in --out")
    parser.add_argument("--rate", type=float, default=2.0, metavar="HZ", help="frames a second (default: 2)")
    parser.add_argument("--depth", type=Path, help="folder of depth images named as the pictures: 16-bit mm or float m")
    parser.add_argument(
        "--camera",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="pinhole intrinsics in pixels; see --depth",
    )
    parser.add_argument("--occasion", type=Path, help="YAML: ship, place, date, who; see below")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score of a new thing (default: 0.3)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="report only these (default: all but ship_hull)")
    parser.add_argument("--backend", default="auto", choices=("auto", *BACKENDS), help="see predict (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)")
    add_topic_options(parser)
    options = parser.parse_args(arguments)
    if not 0 < options.threshold <= 1:
        parser.error(f"--threshold {options.threshold}: must lie above 0 and be at most 1")
    if not 0.01 <= options.rate <= 1000:
        parser.error(f"--rate {options.rate}: must lie in 0.01 to 1000 frames a second")
    if (options.camera is None) != (options.depth is None) and not is_bag(options.source):
        parser.error("--depth and --camera: metres need both, give neither or both")
    occasion = load_settings(Occasion, options.occasion, "occasion file") if options.occasion else Occasion()
    source = open_source(options.source, options, rate=options.rate)
    if isinstance(source, Video):
        source.every = max(1, round(source.frames_per_second / options.rate))
    model = SpdaSam.from_pretrained(options.checkpoint, backend=options.backend, device=options.device)
    if options.classes and (unknown := sorted(set(options.classes) - set(model.class_names))):
        parser.error(f"--classes {' '.join(unknown)}: choose from {', '.join(model.class_names)}")
    made_by = {
        "source": str(options.source.resolve()), "rate": options.rate, "threshold": options.threshold,
        "checkpoint_sha256": model.checkpoint_sha256, "depth": str(options.depth or ""),
    }  # fmt: skip
    camera, bag = Pinhole(*options.camera) if options.camera else None, None
    if not isinstance(source, (Pictures, Video)):
        made_by["topics"] = [source.topics.image, source.topics.depth]
        camera = camera or source.camera
        if source.topics.depth is None:
            camera = None  # no lengths without depth
        from spda_sam_core.bags.result_bag import ResultBag

        bag = ResultBag(options.out / "bag", model.class_names, options.threshold, camera)
    journal = Journal(options.out / "journal.jsonl", made_by, model.class_names, resume=options.resume)
    interval_s = _interval_s(source, options.rate)
    video = OverlayVideo(options.out / "overlay.mp4", 1 / interval_s)
    try:
        with tqdm(total=len(source) or None, desc="looking", unit="frame") as bar:
            dive = survey_dive(
                _frames(source, interval_s, bar),
                model,
                journal,
                options.out,
                interval_s=interval_s,
                threshold=options.threshold,
                camera=camera,
                classes=options.classes,
                video=video,
                bag=bag,
            )
    except KeyboardInterrupt:
        print(f"interrupted: what was looked at is kept, --resume goes on from there: {options.out}")
        raise
    finally:
        journal.close()
    dive.problems += [*source.noticed, *filter(None, [video.problem])]
    origin = Origin(
        options.source.name, options.checkpoint, model.checkpoint_sha256, model.terms, options.threshold,
        model.class_names, _link_of(source, options.out),
    )  # fmt: skip
    write_findings(options.out / "findings.csv", dive)
    write_coco(options.out / "coco.json", journal, options.threshold)
    write_report(options.out / "report.html", dive, occasion, origin)
    counted = sum(f.frames >= LEAST_FRAMES for f in dive.findings)
    print(f"{counted} findings in {len(dive.moments)} frames: {options.out / 'report.html'}")
    for problem in dive.problems:
        print(problem)
    return SKIPPED if any(m.sight == "lost" for m in dive.moments) else 0


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
