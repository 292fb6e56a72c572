"""`spda-sam survey`: one dive, one page; many dives, one page over them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spda_sam_core.bags import is_bag
from spda_sam_core.cli.many_dives import survey_many
from spda_sam_core.cli.one_dive import occasion_of, origin_of, survey_one
from spda_sam_core.cli.predict import SKIPPED
from spda_sam_core.cli.sources import add_topic_options
from spda_sam_core.runtimes.backends import BACKENDS
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.survey.facts import COUNT_FROM
from spda_sam_core.survey.merged import write_merged_report
from spda_sam_core.survey.tables import write_findings

_EPILOG = """\
examples:
  spda-sam survey dive.mp4 --rate 2 --out dive/                     two frames a second of a video
  spda-sam survey frames/ --rate 2 --out dive/                      pictures that were taken twice a second
  spda-sam survey frames/ --depth depth/ --camera 900 900 640 360 --out dive/     sizes in m², the way in metres
  spda-sam survey my_bag/ --rate 2 --out dive/                      a bag of ROS 2, with its depth and calibration
  spda-sam survey dive.mp4 --rate 2 --out dive/ --resume            go on after a kill: nothing is looked at twice
  spda-sam survey dives/*.mp4 --out week/ --workers 4               each dive by itself, four at once, one page over all

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
several dives: each has a folder of its own below --out, with all of the above; beside them stand report.html and
findings.csv of all together. --workers spreads them over processes here, --scheduler over the machines of a dask
cluster, which must see the same files under the same paths (pip install distributed). The dive of a worker that dies
goes on in another. Name a --backend where machines differ: auto takes the fastest of each, and results differ a little.
What cannot be read is listed in the report and skipped (exit status 3)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Survey dives: each finding once, with size, cover, and what was not seen, on one page."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="source",
        help="a folder of pictures in the order of their names, a video, or a bag; several: each is a dive",
    )
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
    parser.add_argument(
        "--count-from",
        type=float,
        default=COUNT_FROM,
        metavar="SCORE",
        help="what scores less in the mean of its frames is shown as unsure, and not counted; lower it where the "
        "network knows the water little (default: %(default)s)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="report only these (default: all but ship_hull)")
    parser.add_argument("--backend", default="auto", choices=("auto", *BACKENDS), help="see predict (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="so many dives at once (default: 1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of dask, whose workers do the dives; see below")
    add_topic_options(parser)
    options = parser.parse_args(arguments)
    if not 0 < options.threshold <= 1:
        parser.error(f"--threshold {options.threshold}: must lie above 0 and be at most 1")
    if not 0 <= options.count_from <= 1:
        parser.error(f"--count-from {options.count_from}: must lie in 0 to 1")
    if not 0.01 <= options.rate <= 1000:
        parser.error(f"--rate {options.rate}: must lie in 0.01 to 1000 frames a second")
    if (options.camera is None) != (options.depth is None) and not all(map(is_bag, options.sources)):
        parser.error("--depth and --camera: metres need both, give neither or both")
    several = len(options.sources) > 1
    if several and options.depth is not None:
        parser.error("--depth: is for one folder of pictures; of several dives give bags, or survey each by itself")
    if not several and (options.workers != 1 or options.scheduler is not None):
        parser.error("--workers and --scheduler: one dive is done in one process, give several dives")
    if options.workers < 1:
        parser.error(f"--workers {options.workers}: must be at least 1")
    occasion = occasion_of(options)
    model = SpdaSam.from_pretrained(options.checkpoint, backend=options.backend, device=options.device)
    if options.classes and (unknown := sorted(set(options.classes) - set(model.class_names))):
        parser.error(f"--classes {' '.join(unknown)}: choose from {', '.join(model.class_names)}")
    try:
        if several:
            dives = survey_many(options.sources, model, options)
            write_findings(options.out / "findings.csv", dives)
            write_merged_report(options.out / "report.html", dives, occasion, origin_of(model, options))
        else:
            dives = [survey_one(options.sources[0], options.out, model, options, resume=options.resume)]
    except KeyboardInterrupt:
        print(f"interrupted: what was looked at is kept, --resume goes on from there: {options.out}")
        raise
    counted, frames = sum(len(dive.counted) for dive in dives), sum(dive.frames for dive in dives)
    print(f"{counted} findings in {frames} frames: {options.out / 'report.html'}")
    for dive in dives:
        for problem in (*dive.problems, dive.failed):
            if problem:
                print(f"{dive.source}: {problem}" if several else problem)
    return SKIPPED if any(dive.lost or dive.failed for dive in dives) else 0
