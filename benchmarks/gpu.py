"""One picture after another on an NVIDIA GPU: the network alone, and from a camera's picture to instances.

python -m benchmarks.gpu --checkpoint tiny                     # PyTorch
python -m benchmarks.gpu --graphs tiny.onnx tiny_fp16.onnx     # and TensorRT, files of spda-sam export
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.timing import median_ms
from spda_sam_core.graph.check_picture import answer, check_inputs, difference
from spda_sam_core.runtimes.runtime import Runtime
from spda_sam_core.runtimes.tensorrt.cuda import Driver
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint

SIZE_HW = (480, 640)


def models(checkpoint: str, graphs: list[Path]) -> dict[str, SpdaSam]:
    """By what the table calls them."""
    network, _ = load_checkpoint(checkpoint, "cuda")
    found = {
        "PyTorch float32, operator by operator": SpdaSam(TorchRuntime(network)),
        "PyTorch float16, CUDA graph (`backend: torch`)": SpdaSam.from_pretrained(checkpoint, device="cuda"),
    }
    for graph in graphs:
        model = SpdaSam.from_pretrained(graph, device="cuda", backend="tensorrt")
        found[f"TensorRT {model.runtime.facts()['precision']} (`backend: tensorrt`)"] = model
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny", help="file or name of a shipped one (default: %(default)s)")
    parser.add_argument("--graphs", nargs="*", type=Path, default=[], help="exported files, for TensorRT")
    parser.add_argument("--rounds", type=int, default=301, help="the first one warms up (default: %(default)s)")
    options = parser.parse_args(arguments)
    reference = TorchRuntime(load_checkpoint(options.checkpoint)[0])
    inputs = check_inputs(reference.info.input_size)
    expected = answer(reference.run(**inputs))  # type: ignore[arg-type]  # the stub wants each array's type
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (24, 32, 3), np.uint8), np.ones((20, 20, 1), np.uint8))
    depth_m = np.full(SIZE_HW, 2.0, np.float32)
    calls: dict[tuple[str, str], Callable[[int], object]] = {}
    apart: dict[str, float] = {}
    for name, model in models(options.checkpoint, options.graphs).items():
        runtime: Runtime = model.runtime
        apart[name] = difference(expected, answer(runtime.run(**inputs)))  # type: ignore[arg-type]  # as above
        calls[name, "network"] = lambda _, runtime=runtime: runtime.run(**inputs)  # type: ignore[misc]
        calls[name, "picture"] = lambda _, model=model: model.predict(picture, depth_m)  # type: ignore[misc]
    ms = median_ms(calls, options.rounds)
    print(f"{Driver().gpu(0).name}, {options.checkpoint}, batch 1, median of {options.rounds - 1}, taking turns\n")
    print("| | network | frames/s | 640x480 RGB-D picture to instances | frames/s | apart from float32 on the CPU |")
    print("|---|---|---|---|---|---|")
    for name in apart:
        network, whole = ms[name, "network"], ms[name, "picture"]
        print(
            f"| {name} | {network:.2f} ms | {1000 / network:.0f} | {whole:.2f} ms | {1000 / whole:.0f} | "
            f"{apart[name]:.3f} |"
        )


if __name__ == "__main__":
    main()
