"""From the start of the node to its first mask, and the memory that it has then.

python -m benchmarks.node_start --checkpoint tiny --backend torch
spda-sam export --checkpoint tiny --output tiny.onnx && python -m benchmarks.node_start --checkpoint tiny.onnx
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.processes import megabytes, status_of
from benchmarks.soak import CameraProcess
from benchmarks.stop_time import Witness
from spda_sam_ros.demo.__main__ import environment

FRAMES = 20
"""After which memory is read."""


class Start(NamedTuple):
    """One start.

    Attributes:
        first_mask_s: seconds from the command to the first published label image, images coming at 10 Hz all the time.
        resident_mb: memory after 20 of them, in 10^6 bytes.
        peak_mb: the most until then.
    """

    first_mask_s: float
    resident_mb: float
    peak_mb: float


def start_once(checkpoint: str, backend: str) -> Start:
    """Start the node and a camera of 640x480, without depth, on a DDS graph of their own."""
    variables = environment()
    parameters = (f"checkpoint:={checkpoint}", f"backend:={backend}")
    given = [text for parameter in parameters for text in ("-p", parameter)]
    with ExitStack() as running:
        witness = Witness(int(variables["ROS_DOMAIN_ID"]))
        running.callback(witness.close)
        camera = CameraProcess(variables)
        running.callback(camera.kill)
        camera.tell({"rate_hz": 10.0, "width": 640, "height": 480, "depth": False})
        began = time.monotonic()
        node = subprocess.Popen(
            [sys.executable, "-m", "spda_sam_ros.node", "--ros-args", *given], env=variables, stderr=subprocess.DEVNULL
        )
        running.callback(node.wait)
        running.callback(node.terminate)
        witness.wait_until(lambda: witness.frames > 0)
        first_mask_s = time.monotonic() - began
        witness.wait_until(lambda: witness.frames >= FRAMES)
        status = status_of(node.pid)
        return Start(first_mask_s, megabytes(status["VmRSS"]), megabytes(status["VmHWM"]))


def main(arguments: list[str] | None = None) -> None:
    """Start the node several times and print a Markdown row of medians."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="The first start of a checkpoint with backend auto measures the backends, and is not counted.",
    )
    parser.add_argument("--checkpoint", default="tiny", help="as the node's parameter (default: tiny)")
    parser.add_argument("--backend", default="auto", help="as the node's parameter (default: auto)")
    parser.add_argument("--starts", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.starts < 1:
        parser.error(f"--starts {options.starts}: at least 1")
    starts = [start_once(options.checkpoint, options.backend) for _ in tqdm(range(options.starts + 1), unit="start")][
        1:
    ]
    medians = Start(*(statistics.median(values) for values in zip(*starts, strict=True)))
    print("| checkpoint | backend | first mask, s | resident, MB | peak, MB |\n|---|---|---|---|---|")
    figures = f"{medians.first_mask_s:.1f} | {medians.resident_mb:.0f} | {medians.peak_mb:.0f}"
    print(f"| {Path(options.checkpoint).name} | {options.backend} | {figures} |")


if __name__ == "__main__":
    main()
