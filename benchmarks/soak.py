"""Minutes with a camera that misbehaves: does the node's memory grow, do threads pile up, do frames become old?

python -m benchmarks.soak --minutes 10 --json soak.json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.processes import megabytes, status_of
from benchmarks.witness import spin_once, witness
from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.weights.files import write_whole
from spda_sam_ros.demo.__main__ import environment

SETTLED_S = 60.0
"""Before the first fault: usual frames, and for some seconds the largest with a viewer of overlays. The heap needs room
for these once, and what it has grown by it uses again: a leak is what comes on top of that."""
FAULT_S = 12.0
"""Between two faults."""
REST_S = 45.0
"""Of usual frames after the last fault: the node gives memory back every 30 s."""
USUAL: dict[str, Any] = {
    "rate_hz": 5.0, "width": 640, "height": 480, "encoding": "rgb8", "shift_s": 0.0, "broken": False, "depth": True,
}  # fmt: skip
FAULTS: dict[str, dict[str, Any]] = {
    "another size": {"width": 1280, "height": 720},
    "another encoding": {"encoding": "rgba8"},
    "grey": {"encoding": "mono8"},
    "burst of 200 Hz": {"rate_hz": 200.0, "width": 320, "height": 240, "depth": False},
    "clock an hour back": {"shift_s": -3600.0},
    "clock an hour on": {"shift_s": 3600.0},
    "pictures that are cut off": {"broken": True},
    "depth gone": {"depth": False},
}
"""By name: what the camera does. The two further ones, "camera killed" and "subscriber killed", end processes."""
LARGEST = FAULTS["another size"]
ROUND = (*FAULTS, "camera killed", "subscriber killed")


@dataclass
class Seen:
    """What came out of the node.

    Attributes:
        frames: label images.
        ages_ms: from stamp to arrival, of frames whose stamp was that of the machine.
    """

    frames: int = 0
    ages_ms: list[float] = field(default_factory=list)


def memory_and_threads(pid: int) -> tuple[float, int]:
    """Resident memory in MB (10^6 bytes) and threads of a process."""
    status = status_of(pid)
    return megabytes(status["VmRSS"]), int(status["Threads"])


class CameraProcess:
    """The camera, in a process that can be killed.

    Args:
        variables: its environment.
        namespace: of its topics.
    """

    def __init__(self, variables: Mapping[str, str], namespace: str = "") -> None:
        self._variables = variables
        self._namespace = namespace
        self.start()

    def start(self) -> None:
        """Start it; it behaves as usual."""
        command = [sys.executable, "-m", "benchmarks.soak_camera", "--namespace", self._namespace]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=dict(self._variables))

    def tell(self, changes: Mapping[str, Any]) -> None:
        """Change its behaviour."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(dict(changes)) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """As a cable that is torn out."""
        self.process.kill()
        self.process.wait()


@contextmanager
def subscriber(variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A further process that takes overlays, so that they are drawn; killed at the end."""
    code = (
        "import rclpy; from sensor_msgs.msg import Image; rclpy.init(); node = rclpy.create_node('viewer'); "
        "node.create_subscription(Image, '/spda_sam/overlay', lambda m: None, 1); rclpy.spin(node)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(variables))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def soak(
    minutes: float, variables: Mapping[str, str], checkpoint: str, robot: Node, executor: SingleThreadedExecutor
) -> dict[str, Any]:
    """Run the node and its camera for minutes, while a robot, spun by its executor, hears the masks.

    Returns:
        `rss_mb_start` and `threads_start`, after `SETTLED_S` of frames; `rss_mb_end`, `threads_end`; `rss_mb`, at the
        start and after each fault and what follows it; `age_ms_p50`, `age_ms_p95`; `frames_out`; `faults`, how often
        each was thrown; `exit_code` of the node.

    Raises:
        RuntimeError: the node ended, or no frame came within two minutes.
    """
    command = [sys.executable, "-m", "benchmarks.soak_node", "--ros-args", "-p", f"checkpoint:={checkpoint}"]
    node = subprocess.Popen(command, env=dict(variables))
    camera = CameraProcess(variables)
    seen, honest = Seen(), True

    def arrived(message: Image) -> None:
        seen.frames += 1
        if honest:
            seen.ages_ms.append((robot.get_clock().now().nanoseconds - stamp_to_ns(message.header.stamp)) / 1e6)

    def spin(seconds: float, bar: tqdm | None = None) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            before = time.monotonic()
            spin_once(executor, [node], min(left, 0.1))
            if bar is not None:
                bar.update(time.monotonic() - before)

    robot.create_subscription(Image, "/spda_sam/instances", arrived, 10)
    thrown: dict[str, int] = {}
    held: list[tuple[float, int]] = []
    try:
        began = time.monotonic()
        while not seen.frames:
            spin(1.0)
            if time.monotonic() - began > 120:
                raise RuntimeError("no frame within 120 s")
        seconds = 60 * minutes
        bar = tqdm(
            total=round(seconds), desc="soaking", unit="s", bar_format="{l_bar}{bar}| {n:.0f}/{total} s {postfix}"
        )
        spin(SETTLED_S / 6, bar)
        with subscriber(variables):
            camera.tell(LARGEST)
            spin(SETTLED_S / 6, bar)
            camera.tell(USUAL)
            spin(SETTLED_S / 6, bar)
        spin(SETTLED_S / 2, bar)
        held.append(memory_and_threads(node.pid))
        for name in cycle(ROUND):
            if bar.n + 2 * FAULT_S + REST_S > seconds:
                break
            bar.set_postfix_str(f"{name}; {seen.frames} frames, {memory_and_threads(node.pid)[0]:.0f} MB")
            thrown[name] = thrown.get(name, 0) + 1
            if name == "camera killed":
                camera.kill()
                spin(FAULT_S / 2, bar)
                camera.start()
            elif name == "subscriber killed":
                with subscriber(variables):
                    spin(FAULT_S / 2, bar)
            else:
                honest = not FAULTS[name].get("shift_s")
                camera.tell(FAULTS[name])
                spin(FAULT_S / 2, bar)
                camera.tell(USUAL)
                spin(1.0, bar)
                honest = True
            spin(FAULT_S / 2, bar)
            held.append(memory_and_threads(node.pid))
        spin(max(0.0, seconds - bar.n), bar)
        held.append(memory_and_threads(node.pid))
        bar.close()
    finally:
        camera.kill()
        node.send_signal(signal.SIGINT)
        exit_code = node.wait(60)
    return {
        "minutes": minutes,
        "rss_mb_start": round(held[0][0], 1),
        "rss_mb_end": round(held[-1][0], 1),
        "rss_mb": [round(mb, 1) for mb, _ in held],
        "threads_start": held[0][1],
        "threads_end": held[-1][1],
        "age_ms_p50": round(float(np.percentile(seen.ages_ms, 50)), 1),
        "age_ms_p95": round(float(np.percentile(seen.ages_ms, 95)), 1),
        "frames_out": seen.frames,
        "faults": thrown,
        "exit_code": exit_code,
    }


def main(arguments: list[str] | None = None) -> None:
    """Soak the node in faults, and print what it held at the start, after each of them and at the end."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog=f"Faults, each for {FAULT_S / 2:g} s and as long of the usual after it: {', '.join(ROUND)}; inference "
        "fails every so often. Figures of the start are of a minute after it, in which larger frames came once and "
        "somebody looked at overlays.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--checkpoint", default="tiny", help="of the node (default: tiny)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    if options.minutes * 60 < SETTLED_S + 2 * FAULT_S + REST_S:
        parser.error(
            f"--minutes {options.minutes:g}: at least {(SETTLED_S + 2 * FAULT_S + REST_S) / 60:g}, of which one settles"
        )
    variables = {
        **environment(),
        "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH")))),
    }
    with witness(variables) as (robot, executor):
        figures = soak(options.minutes, variables, options.checkpoint, robot, executor)
    text = json.dumps(figures)
    print(text)
    if options.json is not None:
        write_whole(options.json, (text + "\n").encode())


if __name__ == "__main__":
    main()
