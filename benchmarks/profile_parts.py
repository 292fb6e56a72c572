"""Where the time of the network goes: milliseconds of each of its parts in ONNX Runtime, from one run.

python -m benchmarks.profile_parts --checkpoint tiny --threads 2
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from benchmarks.pictures import rendered_picture
from spda_sam_core.graph.export import to_onnx
from spda_sam_core.weights.checkpoint import load_checkpoint

FORWARD = "(forward itself)"
"""Nodes that `SpdaSamNetwork` makes outside its submodules."""
UNNAMED = "(fused or reordered by ONNX Runtime)"
"""Nodes that ONNX Runtime made of others and gave names of its own."""

Event = Mapping[str, Any]


def part_of(node: str, parts: Collection[str]) -> str:
    """The part that a node was traced in; the exporter numbers the second call of the same one "_1".

    Args:
        node: its name, "/decoder_1/keep/MatMul".
        parts: names of the submodules of `SpdaSamNetwork`.
    """
    if not node.startswith("/"):
        return UNNAMED
    scope = node.split("/")[1]
    return scope if re.sub(r"_\d+$", "", scope) in parts else FORWARD


def milliseconds(events: Iterable[Event], key: Callable[[Event], str]) -> dict[str, float]:
    """Sum the kernels of each run by a key; the median over the runs without the first, which warms up.

    Args:
        events: of ONNX Runtime's profile, at least two runs.
        key: from the event of a kernel to what it counts as.

    Returns:
        Milliseconds, the longest first. What a run lacks counts as 0.
    """
    ordered = sorted(events, key=lambda event: event["ts"])
    runs = [(event["ts"], event["ts"] + event["dur"]) for event in ordered if event["name"] == "model_run"][1:]
    kernels = [event for event in ordered if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    sums: list[Counter[str]] = []
    for start, end in runs:
        total: Counter[str] = Counter()
        for event in kernels:
            if start <= event["ts"] < end:
                total[key(event)] += event["dur"]  # microseconds
        sums.append(total)
    names = set().union(*sums)
    medians = {name: statistics.median(total[name] for total in sums) / 1e3 for name in names}
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


def profile(model: bytes, feed: Mapping[str, Any], threads: int, rounds: int) -> list[Event]:
    """Run a graph `rounds` + 1 times; the events of ONNX Runtime's profile."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        read = {entry.name: feed[entry.name] for entry in session.get_inputs()}
        for _ in range(rounds + 1):
            session.run(None, read)
        events: list[Event] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events


def by_part_and_operator(checkpoint: str, threads: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each part of a checkpoint's network, and of "part | operator", the longest first."""
    network, _ = load_checkpoint(checkpoint)
    events = profile(to_onnx(network), rendered_picture(network), threads, rounds)
    names = [name for name, _ in network.named_children()]

    def part(event: Event) -> str:
        return part_of(event["name"].removesuffix("_kernel_time"), names)

    return milliseconds(events, part), milliseconds(events, lambda e: f"{part(e)} | {e['args']['op_name']}")


def table(title: str, times: Mapping[str, float], rows: int) -> str:
    """A Markdown table of the longest, and the sum of all; `title` heads the columns that the names fill."""
    whole = sum(times.values())
    columns = title.count("|") + 1
    lines = [f"| {title} | ms | share |", "|---" * (columns + 2) + "|"]
    lines += [f"| {name} | {ms:.1f} | {ms / whole:.0%} |" for name, ms in list(times.items())[:rows]]
    return "\n".join([*lines, f"| all {'| ' * columns}{whole:.1f} | |"])


def main(arguments: list[str] | None = None) -> None:
    """Print milliseconds of each part of a checkpoint's network, and of its operators, in ONNX Runtime on the CPU."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="Parts are the submodules of SpdaSamNetwork; decoder and decoder_1 are pass 1 and pass 2. Measuring "
        "makes each operator a little slower: compare networks by benchmarks.latency.",
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="runs, without the one that warms up (default: 20)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    by_part, by_operator = by_part_and_operator(options.checkpoint, options.threads, options.rounds)
    print(table("part", by_part, len(by_part)), table("part | operator", by_operator, 15), sep="\n\n")


if __name__ == "__main__":
    main()
