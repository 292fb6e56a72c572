"""Time of our network beside YOLO11n-seg at static 640 without its NMS, both as float32 ONNX graphs on the CPU.

YOLO's graph comes from ultralytics (AGPL-3.0), which builds it from its YAML with random weights; times do not depend on
them. It is run beside ours, and no part of this package: make it once, in a virtual environment of its own.
    python3 -m venv /tmp/yolo && /tmp/yolo/bin/pip install ultralytics onnx
    cd /tmp/yolo && bin/python -c "from ultralytics import YOLO; YOLO('yolo11n-seg.yaml').export(format='onnx', imgsz=640, opset=17, simplify=False)"
Then, on an idle machine:
    python -m benchmarks.yolo /tmp/yolo/yolo11n-seg.onnx --checkpoint tiny
"""  # noqa: E501

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.timing import times_ms
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.weights.checkpoint import load_checkpoint
from training.export import to_onnx
from training.measuring.agreement import open_session, proof_inputs

YOLO = "YOLO11n-seg"
Feed = Mapping[str, NDArray[np.float32]]


def without_depth(network: SpdaSamNetwork) -> SpdaSamNetwork:
    """The same preset built without depth, with those of the network's weights that it still has."""
    changed = build_network(dataclasses.replace(network.config, use_depth=False))
    own, given = changed.state_dict(), network.state_dict()
    changed.load_state_dict({name: given[name] for name in own})
    return changed.eval()


def rendered_picture(network: SpdaSamNetwork) -> Feed:
    """A rendered picture with its depth, as what the network reads."""
    return {name: tensor.numpy() for name, tensor in next(proof_inputs(network, 1, 0)).items()}


def noise(model: bytes) -> Feed:
    """Values in 0..1 for each input of a graph.

    Raises:
        ValueError: an input without a fixed shape.
    """
    feed = {}
    for entry in onnx.load_from_string(model).graph.input:
        shape = [d.dim_value for d in entry.type.tensor_type.shape.dim]
        if not shape or not all(shape):
            raise ValueError(
                f"input '{entry.name}' has shape {shape}, 0 where it is not fixed: export it with fixed sizes"
            )
        feed[entry.name] = np.random.default_rng(0).random(shape, dtype=np.float32)
    return feed


def on_onnx_runtime(model: bytes, feed: Feed, threads: int) -> Callable[[int], object]:
    """A call that runs a graph once in ONNX Runtime."""
    session = open_session(model, threads)
    read = {entry.name: feed[entry.name] for entry in session.get_inputs()}
    return lambda _: session.run(None, read)


def on_openvino(model: bytes, feed: Feed, threads: int) -> Callable[[int], object]:
    """A call that runs a graph once in OpenVINO, in float32 as ONNX Runtime does."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    read = {entry.get_any_name(): feed[entry.get_any_name()] for entry in compiled.inputs}
    return lambda _: compiled(read)


def table_rows(runtime: str, times: Mapping[str, list[float]]) -> list[str]:
    """Rows of a Markdown table: median and quartiles of the milliseconds, and of the ratio to YOLO round by round.

    Args:
        runtime: for the first column.
        times: name of a network to its milliseconds in each round; one is `YOLO`.
    """
    base = statistics.median(times[YOLO])
    rows = []
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        ratios = [value / yolo for value, yolo in zip(values, times[YOLO], strict=True)]
        low_ratio, _, high_ratio = statistics.quantiles(ratios, n=4, method="inclusive")
        rows.append(
            f"| {runtime} | {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {middle / base:.2f} "
            f"| {low_ratio:.2f} to {high_ratio:.2f} |"
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Time a checkpoint's network, with depth and without, and YOLO11n-seg, taking turns; print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("yolo", type=Path, help="ONNX file of YOLO11n-seg")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=31, help="turns of each, the first warms up (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 3:
        parser.error(f"--rounds {options.rounds}: quartiles need at least 3")
    network, info = load_checkpoint(options.checkpoint)
    yolo, picture = options.yolo.read_bytes(), rendered_picture(network)
    graphs = {
        YOLO: (yolo, noise(yolo)),
        "RGB-D": (to_onnx(network), picture),
        "RGB only": (to_onnx(without_depth(network)), picture),
    }
    if not network.config.use_depth:
        del graphs["RGB-D"]
    runtimes = {"ONNX Runtime": on_onnx_runtime}
    if importlib.util.find_spec("openvino") is not None:
        runtimes["OpenVINO"] = on_openvino
    else:
        print("OpenVINO is not installed, and left out: pip install openvino")
    print(f"checkpoint {info.sha256[:12]}, preset {network.config.preset}, threads {options.threads}")
    print("| runtime | network | ms, median | quartiles | times YOLO | quartiles |\n|---|---|---|---|---|---|")
    for runtime, load in runtimes.items():
        calls = {name: load(model, feed, options.threads) for name, (model, feed) in graphs.items()}
        print(*table_rows(runtime, times_ms(calls, options.rounds, settle=True)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
