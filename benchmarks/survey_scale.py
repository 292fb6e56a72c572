"""What a long dive costs beside the network: memory over a video of many frames, and a page of many findings.

python -m benchmarks.survey_scale --frames 10000 --findings 5000

The video is a wall that passes, with discs on it; in place of the network stands one that finds them by their colour.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.processes import megabytes, status_of
from spda_sam_core.cli.sources import Video
from spda_sam_core.results.instances import Instances
from spda_sam_core.survey.dive import Dive, survey_dive
from spda_sam_core.survey.facts import facts_of
from spda_sam_core.survey.findings import Finding, Findings, View
from spda_sam_core.survey.journal import Frame, Journal
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.overlay_video import OverlayVideo
from spda_sam_core.survey.report import Origin, write_report

SIZE_HW = (180, 320)
STEP_PX = 6
APART_PX = 400
"""From one disc to the next."""
CLASSES = ("marine_growth", "anode", "defect")
_DISC = (230, 30, 230)
_RATE = 25.0
_SAMPLES = 10


class SeesDiscs:
    """Finds what has the colour of the discs."""

    def predict(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None = None, *, score_threshold: float = 0.3
    ) -> Instances:
        """See `SpdaSam.predict`."""
        wide = rgb.astype(np.int16)
        marked = (wide[..., 0] - wide[..., 1] > 90) & (wide[..., 2] - wide[..., 1] > 90)
        count, label, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8))
        masks = [label == k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] > 60]
        if not masks:
            return Instances.empty(*rgb.shape[:2], CLASSES)
        return Instances.of_labels(np.stack(masks), np.zeros(len(masks), np.int64), CLASSES)


def write_video(path: Path, frames: int) -> None:
    """Write the wall that passes."""
    rng = np.random.default_rng(0)
    height, width = SIZE_HW
    noise = cv2.GaussianBlur(rng.integers(0, 256, (height, 4096, 3), np.uint8), (0, 0), 2).astype(np.float32)
    wall = np.clip((noise - 128) * 4 + 128, 40, 180).astype(np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _RATE, (width, height))
    for i in tqdm(range(frames), desc="video", unit="frame"):
        left = i * STEP_PX
        view = np.ascontiguousarray(np.take(wall, range(left, left + width), axis=1, mode="wrap"))
        for k in range(left // APART_PX - 1, (left + width) // APART_PX + 2):
            cv2.circle(view, (k * APART_PX - left, 40 + k * 37 % 100), 16, _DISC, -1)
        writer.write(view[..., ::-1])
    writer.release()


def survey_it(video: Path, folder: Path, frames: int) -> tuple[Dive, list[tuple[int, float]]]:
    """Survey each frame; with the resident memory in MB at some of them."""
    memory: list[tuple[int, float]] = []

    def watched() -> Iterator[Frame]:
        for number, look in enumerate(tqdm(Video(video), total=frames, desc="survey", unit="frame")):
            if number % (frames // _SAMPLES) == 0:
                memory.append((number, megabytes(status_of("self")["VmRSS"])))
            yield Frame(look.name, round(number / _RATE * 1e9), look.rgb, problem=look.problem)

    journal = Journal(folder / "journal.jsonl", {}, CLASSES, resume=False)
    overlay = OverlayVideo(folder / "overlay.mp4", _RATE)
    dive = survey_dive(watched(), SeesDiscs(), journal, folder, interval_s=1 / _RATE, video=overlay)
    journal.close()
    memory.append((frames, megabytes(status_of("self")["VmRSS"])))
    return dive, memory


def many_findings(dive: Dive, count: int, folder: Path) -> Findings:
    """So many findings, with the stills of those of a dive, over and over."""
    stills = sorted((folder / "stills").iterdir())
    contents = [still.read_bytes() for still in stills]
    rng = np.random.default_rng(0)
    findings = Findings(2.0)
    look = dive.findings[0].look
    for number in range(1, count + 1):
        moment = dive.moments[int(rng.integers(len(dive.moments)))]
        view = View(
            moment.name, moment.stamp_ns, number, CLASSES[number % 3], float(rng.uniform(0.3, 1)), (9, 9, 40, 40),
            int(rng.integers(100, 9000)), None, None, True, 0, dive.strip.pieces[0].path[-1], 0.1, 0.0,
        )  # fmt: skip
        finding = Finding(number, view, view, view, look)
        finding.see(view)
        finding.see(view)
        findings.all.append(finding)
        (folder / "stills" / f"{number:05d}.jpg").write_bytes(contents[number % len(contents)])
    return findings


def seconds_in_chromium(page: Path) -> float | None:
    """From the start of the browser until the page has run its scripts; None without one."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'user'}"]
    start = time.perf_counter()
    subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, timeout=300, check=True)
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Survey a synthetic video and print how memory grows; then write a page of many findings and open it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--frames", type=int, default=10_000, help="of the video (default: 10000)")
    parser.add_argument("--findings", type=int, default=5_000, help="of the page (default: 5000)")
    options = parser.parse_args(arguments)
    if options.frames < _SAMPLES:
        parser.error(f"--frames {options.frames}: must be at least {_SAMPLES}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_video(folder / "video.mp4", options.frames)
        start = time.perf_counter()
        dive, memory = survey_it(folder / "video.mp4", folder, options.frames)
        seconds = time.perf_counter() - start
        print("| frames | " + " | ".join(str(n) for n, _ in memory) + " |")
        print("|---|" + "---|" * len(memory))
        print("| resident, MB | " + " | ".join(f"{mb:.0f}" for _, mb in memory) + " |")
        passed = options.frames * STEP_PX // APART_PX
        print(f"{seconds / options.frames * 1e3:.1f} ms a frame; {len(dive.findings)} findings of {passed} discs")
        origin = Origin("none", "", (), 0.3, 0.6, CLASSES)
        dive.findings[:] = many_findings(dive, options.findings, folder).all
        facts = facts_of(dive, "video.mp4", lambda *_: "")
        start = time.perf_counter()
        write_report(folder / "report.html", dive, facts, Occasion(), origin)
        written_s = time.perf_counter() - start
        size = (folder / "report.html").stat().st_size / 1e6
        loaded_s = seconds_in_chromium(folder / "report.html")
        loaded = "no Chromium here" if loaded_s is None else f"{loaded_s:.1f} s in headless Chromium with its start"
        print(f"page of {options.findings} findings: {size:.1f} MB, written in {written_s:.1f} s; {loaded}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
