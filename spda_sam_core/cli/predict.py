"""`spda-sam predict`: instances in a person's own pictures, without ROS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from spda_sam_core.cli.findings import Findings
from spda_sam_core.cli.sources import add_topic_options, open_source
from spda_sam_core.runtimes.backends import BACKENDS
from spda_sam_core.spda_sam import SpdaSam

SKIPPED = 3
"""Exit status: done, but some files could not be read."""

_EPILOG = """\
examples:
  spda-sam predict my_pictures/ --out found/
  spda-sam predict my_pictures/ --depth my_depth/ --threshold 0.5 --out found/
  spda-sam predict dive.mp4 --every 10 --out found/
  spda-sam predict my_bag/ --image-topic /cam/image_raw --out found/    needs rosbags: pip install rosbags
  spda-sam predict my_pictures/ --for-labelling --out found/     then import found/labelling.json as COCO

written into the folder of --out:
  overlays/NAME.jpg    the picture with its masks
  labels/NAME.png      16 bit: 0 is none, k is the k-th best instance, as the topic /spda_sam/instances
  coco.json            pictures, classes, masks (RLE), boxes, scores: one file that COCO's tools open
  results.json         the same as COCO results, for loadRes
  contact_sheet.jpg    some of the overlays
  labelling.json       with --for-labelling: outlines as polygons, without scores, which CVAT and Label Studio import
                       for correction; what they export as COCO trains (docs/datasets.md)
A folder is searched with its sub-folders. What cannot be read is listed at the end and skipped (exit status 3)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Find instances in pictures, a video or a bag: overlays, label images, COCO files, a contact sheet."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder of pictures, a picture, a video, or a bag of ROS 2")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument(
        "--depth", type=Path, help="folder of depth images named as the pictures: 16-bit mm or 32-bit float m"
    )
    parser.add_argument("--no-estimate", action="store_true", help="do not estimate depth where there is none")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score, 0 to 1 (default: 0.3)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a video or bag each N-th frame (default: 1)"
    )
    parser.add_argument("--for-labelling", action="store_true", help="write polygons for a labelling tool as well")
    parser.add_argument(
        "--backend",
        default="auto",
        choices=("auto", *BACKENDS),
        help="what runs the network; auto: the fastest here, measured at its first use (default: auto)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n> (default: auto)")
    add_topic_options(parser)
    options = parser.parse_args(arguments)
    if not 0 <= options.threshold <= 1:
        parser.error(f"--threshold {options.threshold}: must lie in 0 to 1")
    if options.every < 1:
        parser.error(f"--every {options.every}: must be at least 1")
    looks = open_source(options.source, options, every=options.every)
    model = SpdaSam.from_pretrained(options.checkpoint, backend=options.backend, device=options.device)
    findings = Findings(options.out, model.class_names, for_labelling=options.for_labelling, expected=len(looks))
    skipped: list[str] = []
    try:
        with tqdm(total=len(looks) or None, desc="looking", unit="picture") as bar:
            for look in looks:
                bar.update()
                if look.rgb is None:
                    skipped.append(look.problem)
                    continue
                found = model.predict(
                    look.rgb,
                    look.depth_m,
                    score_threshold=options.threshold,
                    estimate_depth=not options.no_estimate,
                )
                findings.add(look.name, look.rgb, found.filter(class_names=options.classes))
    finally:
        # also after Ctrl-C: what was found stays found
        if findings.images:
            written = findings.write()
            print(
                f"{len(findings.results)} instances in {len(findings.images)} pictures: {', '.join(map(str, written))}"
            )
    for problem in skipped:
        print(f"skipped {problem}")
    for noticed in looks.noticed:
        print(noticed)
    if not findings.images:
        raise ValueError(f"{options.source}: none of its {len(skipped)} pictures could be read")
    return SKIPPED if skipped else 0
