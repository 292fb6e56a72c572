"""`spda-sam engine`: build TensorRT's engine before it is needed: on the robot or, for a named GPU, anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tqdm import tqdm

from spda_sam_core.graph.cache import graph_of
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.backends import load_backend
from spda_sam_core.runtimes.tensorrt.cache import Entry
from spda_sam_core.runtimes.tensorrt.flavour import installed_flavour
from spda_sam_core.runtimes.tensorrt.runtime import key_without_gpu

_EXAMPLES = """examples:
  spda-sam engine                                        of tiny, for this machine's GPU, and compare it with PyTorch
  spda-sam engine --checkpoint hull_fp16.onnx            of a file of spda-sam export --precision float16
  spda-sam engine --compute-capability 8.9               for an RTX 40 card that is elsewhere (TensorRT for RTX only)

An engine built without its GPU is stored as unverified; the first process that has the GPU compares it with PyTorch.
Engines lie in ~/.cache/spda_sam/engines (XDG_CACHE_HOME), each with a .json that tells what it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build TensorRT's engine of a checkpoint, unless it is there already."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="tiny", help="a file, .onnx too, or the name of a shipped one")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:<n> (default: cuda)")
    parser.add_argument("--compute-capability", metavar="X.Y", help="build for such a GPU, which need not be here")
    options = parser.parse_args(arguments)
    if options.compute_capability is None:
        runtime = load_backend("tensorrt", options.checkpoint, device=options.device)
        print(", ".join(f"{name} {value}" for name, value in runtime.facts().items()))
        runtime.close()
        return 0
    flavour = installed_flavour()
    graph = GraphFile.read(graph_of(options.checkpoint))
    entry = Entry(key_without_gpu(graph, flavour, options.compute_capability), flavour)
    if entry.load() is None:
        with tqdm(desc="building", bar_format="{desc}, {elapsed}") as bar:

            def tell(phase: str, _seconds: float) -> None:
                bar.set_description_str(f"building: {phase[:80]}")

            entry.build(graph.path, tell, compute_capability=options.compute_capability)
    size_mb = entry.path.stat().st_size / 1e6
    said = "compared with PyTorch" if entry.verified else "unverified until a process with such a GPU has compared it"
    print(f"{entry.path}: {size_mb:.1f} MB, {flavour.name} {flavour.version}, {graph.precision}, {said}")
    return 0
