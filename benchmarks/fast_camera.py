"""A camera that is faster than the node: how old are its masks, and which frames are left out, where?

python -m benchmarks.fast_camera
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from itertools import product

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.soak import CameraProcess
from benchmarks.witness import segment_node, spin_once, witness
from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_ros.demo.__main__ import environment

SIZES_HW = ((480, 640), (720, 1280))
WARM_UP = 20
"""Results before anything is measured."""
PATIENCE_S = 180.0


def counts_of(values: dict[str, str]) -> dict[str, int]:
    """Of the node's diagnostics: images that came, that were lost on the way, that were dropped, and results."""
    keys = {"came": "frames_in", "lost": "lost.image", "dropped": "dropped", "out": "frames_out"}
    return {name: int(values[key]) for name, key in keys.items()}


def measure(size_hw: tuple[int, int], rate_hz: float, seconds: float, parameters: list[str], *, depth: bool) -> str:
    """Run a camera and the node.

    Returns:
        A row of the table.

    Raises:
        RuntimeError: the node ended, or there were no results in time.
    """
    variables = environment()
    ages_ms: list[float] = []
    said: list[dict[str, int]] = []
    with ExitStack() as running:
        robot, executor = running.enter_context(witness(variables))

        def arrived(message: Image) -> None:
            ages_ms.append((robot.get_clock().now().nanoseconds - stamp_to_ns(message.header.stamp)) / 1e6)

        def told(message: DiagnosticArray) -> None:
            values = {item.key: item.value for status in message.status for item in status.values}
            if "lost.image" in values:
                said.append(counts_of(values))

        robot.create_subscription(Image, "/spda_sam/instances", arrived, 10)
        robot.create_subscription(DiagnosticArray, "/diagnostics", told, 10)
        nodes = [running.enter_context(segment_node(variables, parameters))]
        camera = CameraProcess(variables)
        running.callback(camera.kill)
        camera.tell({"rate_hz": rate_hz, "height": size_hw[0], "width": size_hw[1], "depth": depth})

        began = time.monotonic()
        while len(ages_ms) < WARM_UP:
            spin_once(executor, nodes)
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"within {PATIENCE_S:g} s only {len(ages_ms)} results")
        ages_ms.clear()
        said.clear()
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            spin_once(executor, nodes)
    last, first = said[-1], said[0]
    passed = {name: last[name] - first[name] for name in last}
    given = passed["came"] + passed["lost"]
    shares = [f"{passed[name] / given:.1%}" for name in ("lost", "dropped", "out")]
    p50, p95 = np.percentile(ages_ms, (50, 95))
    rate = f"{len(ages_ms) / seconds:.1f}"
    cells = [f"{size_hw[1]}x{size_hw[0]}", "RGB-D" if depth else "RGB", str(given), *shares, rate]
    return f"| {' | '.join([*cells, f'{p50:.0f} / {p95:.0f}'])} |"


def main(arguments: list[str] | None = None) -> None:
    """Measure the node with a fast camera of two sizes, with and without depth; print a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rate", type=float, default=30.0, help="of the camera in Hz (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure each (default: %(default)s)")
    parser.add_argument("--checkpoint", default="tiny", help="as the node's parameter (default: tiny)")
    parser.add_argument("--backend", default="auto", help="as the node's parameter (default: auto)")
    options = parser.parse_args(arguments)
    parameters = [f"checkpoint:={options.checkpoint}", f"backend:={options.backend}"]
    cases = list(product(SIZES_HW, (True, False)))
    rows = [
        measure(size, options.rate, options.seconds, parameters, depth=depth)
        for size, depth in tqdm(cases, unit="case")
    ]
    print(
        "| images | depth | came or lost | lost in transport | dropped by choice | out | out/s | age, ms, p50 / p95 |"
    )
    print("|---" * 8 + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
