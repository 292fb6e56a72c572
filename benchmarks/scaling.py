"""How time and memory of the network in ONNX Runtime grow: with K, with the size of its input, with threads.

python -m benchmarks.scaling --checkpoint tiny --plot docs/images/scaling.png
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.contestant import Contestant, Entry
from benchmarks.pictures import rendered_picture
from benchmarks.torch_calls import changed, network_of
from spda_sam_core.graph.export import to_onnx


class Point(NamedTuple):
    """One setting.

    Attributes:
        axis: what varies.
        value: its value.
        changes: of the network's configuration.
        threads: of the runtime.
    """

    axis: str
    value: int
    changes: Mapping[str, Any]
    threads: int


def points(k: Sequence[int], sizes: Sequence[int], threads: int) -> list[Point]:
    """Those to measure: K, all of which are drawn in both passes; side of the input in pixels; threads from 1 up."""
    found = [Point("K", n, {"num_proposals": n, "num_instances": n}, threads) for n in k]
    found += [Point("input", side, {"input_size": side}, threads) for side in sizes]
    return found + [Point("threads", n, {}, n) for n in range(1, threads + 1)]


def measure(checkpoint: str, settings: Sequence[Point], rounds: int) -> list[tuple[float, float]]:
    """Median milliseconds and peak memory in MB of each setting, each in a process of its own, taking turns."""
    network = network_of(checkpoint)
    running: list[Contestant] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for i, point in enumerate(tqdm(settings, desc="loading", unit="network")):
                varied = changed(network, **point.changes)
                graph, feed = Path(folder) / f"{i}.onnx", Path(folder) / f"{i}.npz"
                graph.write_bytes(to_onnx(varied))
                np.savez(feed, **rendered_picture(varied))  # type: ignore[arg-type]  # the stub wants bools
                running.append(Contestant(Entry(point.axis, "ONNX Runtime", str(graph), feed=str(feed)), point.threads))
            times = [[c.run() for c in running] for _ in tqdm(range(rounds), desc="timing", unit="round")]
            return [
                (statistics.median(ms), contestant.peak_mb())
                for ms, contestant in zip(zip(*times, strict=True), running, strict=True)
            ]
        finally:
            for contestant in running:
                contestant.close()


def table(settings: Sequence[Point], measured: Sequence[tuple[float, float]]) -> str:
    """Markdown; ratios are to the first setting of the same axis."""
    lines = ["| | | ms p50 | ratio | peak memory |", "|---|---|---|---|---|"]
    first: dict[str, float] = {}
    for point, (ms, peak_mb) in zip(settings, measured, strict=True):
        base = first.setdefault(point.axis, ms)
        lines.append(f"| {point.axis} | {point.value} | {ms:.1f} | {ms / base:.2f} | {peak_mb:.0f} MB |")
    return "\n".join(lines)


def plot(settings: Sequence[Point], measured: Sequence[tuple[float, float]], path: Path) -> None:
    """A panel for each axis: milliseconds to the left, memory to the right."""
    axes_of = list(dict.fromkeys(point.axis for point in settings))
    figure = Figure(figsize=(3.6 * len(axes_of), 3), layout="constrained")
    for axes, axis in zip(figure.subplots(1, len(axes_of)), axes_of, strict=True):
        rows = [(p.value, *m) for p, m in zip(settings, measured, strict=True) if p.axis == axis]
        values, ms, peak_mb = zip(*rows, strict=True)
        axes.plot(values, ms, marker="o", color="tab:blue")
        axes.set(xlabel=axis, ylim=(0, None), xticks=values)
        axes.set_ylabel("ms, median", color="tab:blue")
        memory = axes.twinx()
        memory.plot(values, peak_mb, marker="s", color="tab:orange")
        memory.set_ylim(0, None)
        memory.set_ylabel("peak memory, MB", color="tab:orange")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Measure a checkpoint's network, weights unchanged, in ONNX Runtime on the CPU, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="Several cameras served by one process take its time in turns: so many times that of one.",
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the name of a shipped one (default: tiny)")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 10, 20, 50, 100], help="default: 1 10 20 50 100")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[256, 384, 512, 640], help="sides in pixels (default: 256 384 512 640)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime, at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the table here")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        parser.error(f"--rounds {options.rounds} and --threads {options.threads}: at least 1 of each")
    settings = points(options.k, options.sizes, options.threads)
    measured = measure(options.checkpoint, settings, options.rounds)
    print(table(settings, measured))
    if options.plot is not None:
        plot(settings, measured, options.plot)


if __name__ == "__main__":
    main()
