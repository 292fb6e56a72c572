"""What several cameras take: one node that serves all of them, beside a node for each. Memory and results a second.

python -m benchmarks.cameras --cameras 3 --backend torch
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.processes import megabytes, status_of
from benchmarks.soak import CameraProcess
from benchmarks.witness import segment_node, spin_once, witness
from spda_sam_ros.demo.__main__ import environment

WARM_UP = 10
"""Results of each camera before anything is measured."""
PATIENCE_S = 180.0


def proportional_mb(pid: int) -> float:
    """Memory of a process in 10^6 bytes, where what n processes share counts as an nth; see proc_pid_smaps(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return megabytes(next(line.partition(":")[2].strip() for line in lines if line.startswith("Pss:")))


def measure(names: Sequence[str], parameters: Sequence[str], *, one_node: bool, seconds: float) -> list[str]:
    """Run cameras of 640x480 with depth at 5 Hz, and the node or nodes for them.

    Args:
        names: of the cameras.
        parameters: of each node, as `name:=value`.
        one_node: whether one serves all, or each has one.
        seconds: to measure.

    Returns:
        Cells of a row: nodes, cameras, resident and proportional memory, results a second of each camera.

    Raises:
        RuntimeError: a node ended, or a camera got no results in time.
    """
    variables = environment()
    of_each = [["-p", f"cameras:=[{', '.join(names)}]"]] if one_node else [["-r", f"__ns:=/{name}"] for name in names]
    seen: Counter[str] = Counter()
    with ExitStack() as running:
        robot, executor = running.enter_context(witness(variables))
        for name in names:
            robot.create_subscription(
                Image, f"/{name}/spda_sam/instances", lambda _, name=name: seen.update([name]), 10
            )
        nodes = [running.enter_context(segment_node(variables, parameters, *own)) for own in of_each]
        for name in names:
            running.callback(CameraProcess(variables, f"/{name}").kill)

        began = time.monotonic()
        while min(seen[name] for name in names) < WARM_UP:
            spin_once(executor, nodes)
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError(f"within {PATIENCE_S:g} s only {dict(seen)} results")
        before, began = Counter(seen), time.monotonic()
        while time.monotonic() - began < seconds:
            spin_once(executor, nodes)
        took_s = time.monotonic() - began
        rates = [(seen[name] - before[name]) / took_s for name in names]
        resident = sum(megabytes(status_of(node.pid)["VmRSS"]) for node in nodes)
        proportional = sum(proportional_mb(node.pid) for node in nodes)
    figures = (f"{resident:.0f}", f"{proportional:.0f}", ", ".join(f"{rate:.1f}" for rate in rates))
    return [str(len(nodes)), str(len(names)), *figures]


def main(arguments: list[str] | None = None) -> None:
    """Measure one camera, several in one node, and several with a node each; print a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cameras", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--checkpoint", default="tiny", help="as the node's parameter (default: tiny)")
    parser.add_argument("--backend", default="auto", help="as the node's parameter (default: auto)")
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure each (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.cameras < 2:
        parser.error(f"--cameras {options.cameras}: at least 2")
    names = [f"camera_{i}" for i in range(options.cameras)]
    parameters = (f"checkpoint:={options.checkpoint}", f"backend:={options.backend}")
    cases = [(names[:1], True), (names, True), (names, False)]
    rows = [measure(some, parameters, one_node=one, seconds=options.seconds) for some, one in tqdm(cases, unit="case")]
    print(
        "| nodes | cameras | resident, MB | proportional, MB | results a second of each camera |\n|---|---|---|---|---|"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
