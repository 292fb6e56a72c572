"""Time, work and memory of our networks beside others, on the same machine, taking turns in one run.

python -m benchmarks.latency --quick --json quick.json         ours and YOLO11n-seg: a minute or two
python -m benchmarks.latency --plot docs/images/latency.png    all: half an hour on two cores

Leave the machine alone meanwhile. Other people's networks enter as ONNX files with random weights, and are made first
where they are missing (benchmarks/peer_graphs.py: a virtual environment of their own).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.contestant import SLOW_MS, Contestant, Entry, Failed, RuntimeName
from benchmarks.onnx_cost import Cost, cost
from benchmarks.peer_graphs import PEERS, YOLO, peer_graphs
from benchmarks.pictures import noise, rendered_picture
from benchmarks.torch_calls import RANDOM, everything_cost, network_of
from spda_sam_core.graph.export import ExportError, to_onnx
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.weights.files import write_whole

EVERYTHING = "SAM ViT-B, everything mode at 1024"


class Row(NamedTuple):
    """One network in one runtime.

    Attributes:
        name: of the network.
        runtime: what ran it.
        ms_p50: median milliseconds of a run.
        ms_p95: of the slowest twentieth; the slowest of all where there are fewer than 20.
        gmacs: multiply-accumulates of a run, in 10^9; None where they are not known.
        params_m: weights, in 10^6.
        peak_mb: the most memory that its process had resident, in 10^6 bytes, interpreter and runtime included.
        times: that of YOLO11n-seg in the same runtime over which its median is; None without it.
    """

    name: str
    runtime: RuntimeName
    ms_p50: float
    ms_p95: float
    gmacs: float | None
    params_m: float
    peak_mb: float
    times: float | None = None


def entries_of(
    names: Mapping[str, tuple[str, bool]],
    peers: Mapping[str, Path],
    exported: Sequence[Path],
    runtimes: Collection[RuntimeName],
    folder: Path,
) -> tuple[list[Entry], dict[str, Cost]]:
    """What to time, files written.

    Args:
        names: of our networks in tables, to what `network_of` takes; the first reads depth.
        peers: names in tables to ONNX files.
        exported: files of `spda-sam export` of the first network, in other precisions.
        runtimes: those to time in; peers are no PyTorch.
        folder: for files.

    Returns:
        Entries, and what each network costs.
    """
    entries: list[Entry] = []
    costs: dict[str, Cost] = {}
    for i, (name, (checkpoint, depth)) in enumerate(names.items()):
        network = network_of(checkpoint, depth=depth)
        feed, graph = folder / f"{i}.npz", folder / f"{i}.onnx"
        np.savez(feed, **rendered_picture(network))  # type: ignore[arg-type]  # numpy's stub wants a bool for any name
        if "PyTorch" in runtimes:
            entries.append(Entry(name, "PyTorch", "benchmarks.torch_calls:ours", (checkpoint, depth, str(feed))))
        try:
            graph.write_bytes(to_onnx(network))
        except (ExportError, ValueError) as error:
            print(f"{name} is timed in PyTorch only: {error}")
            continue
        costs[name] = cost(graph)
        entries += [Entry(name, r, str(graph), feed=str(feed)) for r in runtimes if r != "PyTorch"]
    for graph in exported:
        name = f"{next(iter(names))}, {GraphFile.read(graph).precision}"
        costs[name] = cost(graph)
        entries += [Entry(name, r, str(graph), feed=str(folder / "0.npz")) for r in runtimes if r != "PyTorch"]
    for i, (name, graph) in enumerate(peers.items()):
        feed = folder / f"peer{i}.npz"
        np.savez(feed, **noise(graph))  # type: ignore[arg-type]
        costs[name] = cost(graph)
        entries += [Entry(name, r, str(graph), feed=str(feed)) for r in runtimes if r != "PyTorch"]
    return entries, costs


def race(entries: Sequence[Entry], costs: Mapping[str, Cost], rounds: int, threads: int) -> list[Row]:
    """Let all run in turns, each in a process of its own; say which cannot run, and why.

    Args:
        entries: what to time.
        costs: of the networks, by name.
        rounds: how often each runs; 3 times at most, and before the others, what takes more than `SLOW_MS`.
        threads: of each runtime.
    """
    running: list[Contestant] = []
    times: dict[Entry, list[float]] = {}
    peaks: dict[Entry, float] = {}

    def leave_out(entry: Entry, error: Failed) -> None:
        tqdm.write(f"{entry.name} in {entry.runtime} is left out: {error}")
        times.pop(entry, None)

    with ExitStack() as processes:
        for entry in tqdm(entries, desc="loading", unit="network"):
            try:
                contestant = Contestant(entry, threads)
                processes.callback(contestant.close)
                if contestant.first_ms < SLOW_MS:
                    running.append(contestant)
                else:  # its memory is needed by the others
                    times[entry] = [contestant.run() for _ in range(min(3, rounds))]
                    peaks[entry] = contestant.peak_mb()
                    contestant.close()
            except Failed as error:
                leave_out(entry, error)
        for _ in tqdm(range(rounds), desc="timing", unit="round"):
            for contestant in list(running):
                try:
                    times.setdefault(contestant.entry, []).append(contestant.run())
                    peaks[contestant.entry] = contestant.peak_mb()
                except Failed as error:
                    leave_out(contestant.entry, error)
                    running.remove(contestant)
    base = {entry.runtime: statistics.median(ms) for entry, ms in times.items() if entry.name == YOLO}
    rows = []
    for entry, ms in times.items():
        middle, work = statistics.median(ms), costs[entry.name]
        yolo = base.get(entry.runtime)
        rows.append(
            Row(
                entry.name,
                entry.runtime,
                middle,
                float(np.percentile(ms, 95, method="higher")),
                work.gmacs,
                work.params_m,
                peaks[entry],
                None if yolo is None else middle / yolo,
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown, the fastest of each runtime first."""
    lines = [
        "| runtime | network | ms p50 | ms p95 | times YOLO11n-seg | GMACs | parameters | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.runtime, row.ms_p50)):
        times = "" if row.times is None else f"{row.times:.2f}"
        gmacs = "" if row.gmacs is None else f"{row.gmacs:.1f}"
        lines.append(
            f"| {row.runtime} | {row.name} | {row.ms_p50:.1f} | {row.ms_p95:.1f} | {times} | {gmacs} "
            f"| {row.params_m:.1f} M | {row.peak_mb:.0f} MB |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """A bar for the median of each row, on a logarithmic axis, with a line to its 95th percentile."""
    ordered = sorted(rows, key=lambda row: -row.ms_p50)
    colours = {"PyTorch": "tab:red", "ONNX Runtime": "tab:blue", "OpenVINO": "tab:green"}
    figure = Figure(figsize=(9, 0.8 + 0.28 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for i, row in enumerate(ordered):
        axes.barh(i, row.ms_p50, color=colours[row.runtime], height=0.7)
        axes.plot([row.ms_p50, row.ms_p95], [i, i], color="black", linewidth=1)
        axes.text(row.ms_p95 * 1.06, i, f"{row.ms_p50:.0f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds of a picture: bar to the median, line to the 95th percentile")
    axes.set_yticks(range(len(ordered)), [row.name for row in ordered], fontsize=8)
    for label, row in zip(axes.get_yticklabels(), ordered, strict=True):
        label.set_fontweight("bold" if row.name.startswith("SPDA-SAM") else "normal")
    axes.margins(y=0.01)
    axes.set_xlim(right=max(row.ms_p95 for row in ordered) * 2.5)
    used = [runtime for runtime in colours if any(row.runtime == runtime for row in rows)]
    axes.legend([axes.barh(0, 0, color=colours[name]) for name in used], used, loc="upper right")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def available() -> list[RuntimeName]:
    """What is installed here, PyTorch last."""
    found: list[RuntimeName] = ["ONNX Runtime"]
    if importlib.util.find_spec("openvino") is not None:
        found.append("OpenVINO")
    else:
        print("OpenVINO is not installed, and left out: pip install openvino")
    return [*found, "PyTorch"]


def main(arguments: list[str] | None = None) -> None:
    """Time networks in every runtime that is installed, taking turns, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the name of a shipped one (default: tiny)")
    parser.add_argument("--quick", action="store_true", help="only the checkpoint and YOLO11n-seg, 20 rounds")
    parser.add_argument("--threads", type=int, default=2, help="of each runtime (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="turns of each (default: 100, with --quick 20)")
    parser.add_argument(
        "--exported",
        type=Path,
        nargs="+",
        default=[],
        metavar="ONNX",
        help="files of spda-sam export to time as well, as in int8",
    )
    parser.add_argument(
        "--peers", type=Path, default=Path("runs/peers"), help="folder of other networks' graphs (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the rows here")
    options = parser.parse_args(arguments)
    rounds = options.rounds if options.rounds is not None else 20 if options.quick else 100
    if rounds < 1 or options.threads < 1:
        parser.error(f"--rounds {rounds} and --threads {options.threads}: at least 1 of each")
    ours = {"SPDA-SAM, RGB-D": True, "SPDA-SAM, RGB only": False}
    names = {name: (options.checkpoint, depth) for name, depth in ours.items()}
    if not options.quick:
        names |= {f"SPDA-SAM, preset {preset}": (f"{RANDOM}{preset}", True) for preset in ("mobile_sam", "sam_vit_b")}
    peers = peer_graphs(options.peers, [next(iter(PEERS))] if options.quick else PEERS)
    with tempfile.TemporaryDirectory() as folder:
        entries, costs = entries_of(names, peers, options.exported, available(), Path(folder))
        if not options.quick:
            # the first one: it takes 7 GB
            entries.insert(0, Entry(EVERYTHING, "PyTorch", "benchmarks.torch_calls:everything", (1024,)))
            costs[EVERYTHING] = Cost(*everything_cost(1024))
        rows = race(entries, costs, rounds, options.threads)
    print(f"{options.threads} threads, {rounds} rounds", table(rows), sep="\n\n")
    if options.json is not None:
        write_whole(options.json, json.dumps({"rows": [row._asdict() for row in rows]}, indent=1).encode())
    if options.plot is not None:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
