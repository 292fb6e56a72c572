"""How long does the node take to end after SIGINT or SIGTERM, on a machine with more to do than it can?

python -m benchmarks.stop_time --stops 20 --json stop.json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.processes import status_of
from benchmarks.soak import CameraProcess
from spda_sam_core.weights.files import write_whole
from spda_sam_ros.demo.__main__ import environment

DEADLINE_S = 120.0
STATES = ("importing", "loading", "unconfigured", "active")
"""What the node is at when the signal comes; "active" has images of 1280x720 at 10 Hz."""


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Processes that take all the time they can get."""
    command = [sys.executable, "-c", "while True: pass"]
    with ExitStack() as running:
        for _ in range(processes):
            process = subprocess.Popen(command)
            running.callback(process.wait)
            running.callback(process.kill)
        yield


class Witness:
    """Sees over DDS how far the node is.

    Args:
        domain: ROS domain.
    """

    def __init__(self, domain: int) -> None:
        self.frames = 0
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node: Node = rclpy.create_node("witness", context=self._context)
        self.node.create_subscription(Image, "/spda_sam/instances", self._count, QoSProfile(depth=10))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def _count(self, _: Image) -> None:
        self.frames += 1

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Spin until something is reached.

        Raises:
            TimeoutError: not within `DEADLINE_S`.
        """
        end = time.monotonic() + DEADLINE_S
        while not reached():
            if time.monotonic() > end:
                raise TimeoutError(f"the node did not get there within {DEADLINE_S:g} s")
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


def listens(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    caught = int(status_of(pid)["SigCgt"], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def stop_once(state: str, number: int, variables: Mapping[str, str], checkpoint: str) -> tuple[float, int]:
    """Start the node, bring it into a state, and stop it.

    Returns:
        Seconds from the signal to the end, and the exit code.
    """
    command = [sys.executable, "-m", "spda_sam_ros.node", "--ros-args", "-p", f"checkpoint:={checkpoint}"]
    command += ["-p", f"autostart:={str(state != 'unconfigured').lower()}"]
    with ExitStack() as running:
        witness = Witness(int(variables["ROS_DOMAIN_ID"]))
        running.callback(witness.close)
        if state == "active":
            camera = CameraProcess(variables)
            running.callback(camera.kill)
            camera.tell({"rate_hz": 10.0, "width": 1280, "height": 720, "depth": False})
        node = subprocess.Popen(command, env=dict(variables), stderr=subprocess.DEVNULL)
        running.callback(node.kill)
        while not listens(node.pid):
            time.sleep(0.002)
        if state in ("loading", "unconfigured"):
            witness.wait_until(lambda: bool(witness.node.get_publishers_info_by_topic("/diagnostics")))
        elif state == "active":
            witness.wait_until(lambda: witness.frames > 3)
        began = time.monotonic()
        node.send_signal(number)
        code = node.wait(DEADLINE_S)
        return time.monotonic() - began, code


def measure(stops: int, busy: int, checkpoint: str) -> dict[str, Any]:
    """Stop the node again and again, in each state and with each signal in turn.

    Returns:
        `stop_s_p50`, `stop_s_p95` and `stop_s_max`; `stop_s_max_by_state`; `exit_codes`, how often each came.
    """
    variables = environment()
    taken: dict[str, list[float]] = {state: [] for state in STATES}
    codes: dict[str, int] = {}
    turns = zip(cycle(STATES), cycle((signal.SIGINT,) * len(STATES) + (signal.SIGTERM,) * len(STATES)), strict=False)
    with load(busy):
        for state, number in tqdm([next(turns) for _ in range(stops)], desc="stopping", unit="stop"):
            seconds, code = stop_once(state, number, variables, checkpoint)
            taken[state].append(seconds)
            codes[str(code)] = codes.get(str(code), 0) + 1
    every = [seconds for values in taken.values() for seconds in values]
    return {
        "stops": stops,
        "busy_processes": busy,
        "cpus": os.cpu_count(),
        "stop_s_p50": round(float(np.percentile(every, 50)), 2),
        "stop_s_p95": round(float(np.percentile(every, 95)), 2),
        "stop_s_max": round(max(every), 2),
        "stop_s_max_by_state": {state: round(max(values), 2) for state, values in taken.items() if values},
        "exit_codes": codes,
    }


def main(arguments: list[str] | None = None) -> None:
    """Stop the node on a busy machine, and print how long it took."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=f"In turn while it is {', '.join(STATES)}; with SIGINT and SIGTERM in turn."
    )
    cpus = os.cpu_count() or 1
    parser.add_argument("--stops", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--busy", type=int, default=2 * cpus, help="processes beside it that take all time they get")
    parser.add_argument("--checkpoint", default="tiny", help="of the node (default: tiny)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    if options.stops < 1 or options.busy < 0:
        parser.error(f"--stops {options.stops} --busy {options.busy}: at least 1 and 0")
    text = json.dumps(measure(options.stops, options.busy, options.checkpoint), indent=2)
    print(text)
    if options.json is not None:
        write_whole(options.json, (text + "\n").encode())


if __name__ == "__main__":
    main()
