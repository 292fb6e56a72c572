"""A camera that is faster than the node: how old are its masks, and which frames are left out, where?

python -m benchmarks.fast_camera
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import product

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.soak import CameraProcess
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
    command = [sys.executable, "-m", "spda_sam_ros.node", "--ros-args", *(t for p in parameters for t in ("-p", p))]
    ages_ms: list[float] = []
    said: list[dict[str, int]] = []
    with ExitStack() as running:
        context = Context()
        rclpy.init(context=context, domain_id=int(variables["ROS_DOMAIN_ID"]))
        running.callback(context.try_shutdown)
        robot = rclpy.create_node("witness", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(robot)

        def arrived(message: Image) -> None:
            ages_ms.append((robot.get_clock().now().nanoseconds - stamp_to_ns(message.header.stamp)) / 1e6)

        def told(message: DiagnosticArray) -> None:
            values = {item.key: item.value for status in message.status for item in status.values}
            if "lost.image" in values:
                said.append(counts_of(values))

        robot.create_subscription(Image, "/spda_sam/instances", arrived, 10)
        robot.create_subscription(DiagnosticArray, "/diagnostics", told, 10)
        node = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
        running.callback(node.wait)
        running.callback(node.terminate)
        camera = CameraProcess(variables)
        running.callback(camera.kill)
        camera.tell({"rate_hz": rate_hz, "height": size_hw[0], "width": size_hw[1], "depth": depth})

        def spin_until(end_s: float) -> None:
            while time.monotonic() < end_s:
                if node.poll() is not None:
                    raise RuntimeError(f"the node ended with exit code {node.returncode}")
                executor.spin_once(timeout_sec=0.1)

        began = time.monotonic()
        while len(ages_ms) < WARM_UP:
            spin_until(time.monotonic() + 0.2)
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"within {PATIENCE_S:g} s only {len(ages_ms)} results")
        ages_ms.clear()
        said.clear()
        began = time.monotonic()
        spin_until(began + seconds)
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
