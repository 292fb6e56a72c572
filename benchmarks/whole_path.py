"""Where the time goes from image message to published masks, as a picture: the node and the parts of the network.

taskset -c 0,1 python -m benchmarks.whole_path --plot docs/images/whole_path.png
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rclpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.node_overhead import measure
from benchmarks.profile_parts import by_part_and_operator
from spda_sam_core.runtimes.memory import keep_freed_memory

BEFORE = ("decode", "pair", "depth", "preprocess")
AFTER = ("postprocess", "publish")
PARTS = {
    "normalise": "normalise",
    "rgb_path": "encoder (RGB path)",
    "depth_head": "depth head",
    "depth_path": "depth path",
    "fusion": "C2FFM",
    "pyramid": "feature pyramid",
    "proposal_head": "proposals",
    "semantic_prompts": "semantic prompts",
    "decoder": "decoder, pass 1",
    "spatial_prompts": "spatial prompts",
    "decoder_1": "decoder, pass 2",
}
"""Of the network, in the order of its forward; what is not in here is "between them"."""


def in_order(node_ms: Mapping[str, float], part_ms: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds of each stage, in the order that an image passes them.

    Args:
        node_ms: of `measure`.
        part_ms: of the network's parts, by `by_part_and_operator`.
    """
    between = sum(ms for name, ms in part_ms.items() if name not in PARTS)
    network = {title: part_ms[name] for name, title in PARTS.items() if name in part_ms}
    return {
        **{name: node_ms[name] for name in BEFORE},
        **network,
        "between the parts": between,
        **{name: node_ms[name] for name in AFTER},
    }


def plot(stages: Mapping[str, float], subtitle: str, path: Path) -> None:
    """Draw a bar for each stage, from where it begins to where it ends."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    begins = np.cumsum([0, *stages.values()])
    whole = begins[-1]
    colours = ["#4878a8" if name in (*BEFORE, *AFTER) else "#d98c3f" for name in stages]
    axes.barh(range(len(stages)), list(stages.values()), left=begins[:-1], color=colours)
    for i, (begin, ms) in enumerate(zip(begins, stages.values(), strict=False)):
        axes.text(begin + ms + whole / 150, i, f"{ms:.1f} ms, {ms / whole:.0%}", va="center", fontsize=8)
    axes.set_yticks(range(len(stages)), list(stages))
    axes.invert_yaxis()
    axes.set_xlim(0, whole * 1.12)
    axes.set_xlabel("ms since the image message came")
    axes.set_title(
        f"{whole:.0f} ms from image to masks: the node (blue) and the network (orange)\n{subtitle}", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a Markdown table, and draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Stages are those of benchmarks.node_overhead (RGB-D), parts those of benchmarks.profile_parts in ONNX "
        "Runtime, whose measuring makes each operator a little slower. Best on an idle machine.",
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the name of a shipped one (default: tiny)")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=100, help="frames, and runs of the network (default: %(default)s)"
    )
    parser.add_argument("--width", type=int, default=1280, help="of the image (default: %(default)s)")
    parser.add_argument("--height", type=int, default=720, help="of the image (default: %(default)s)")
    parser.add_argument("--plot", type=Path, help="picture to draw")
    options = parser.parse_args(arguments)
    part_ms, _ = by_part_and_operator(options.checkpoint, options.threads, options.rounds)
    keep_freed_memory()
    rclpy.init(args=[])
    try:
        measured = measure((options.height, options.width), options.rounds, with_depth=True)
    finally:
        rclpy.try_shutdown()
    stages = in_order({name: float(np.median(ms)) for name, ms in measured.items()}, part_ms)
    print("| stage | ms |\n|---|---|")
    print("\n".join(f"| {name} | {ms:.1f} |" for name, ms in stages.items()))
    print(f"| all | {sum(stages.values()):.1f} |")
    if options.plot:
        size = f"{options.width}x{options.height} RGB-D, {options.checkpoint}"
        plot(stages, f"{size}, ONNX Runtime, {options.threads} threads, median of {options.rounds}", options.plot)


if __name__ == "__main__":
    main()
