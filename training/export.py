"""The whole network as one float32 ONNX file, proven equal to PyTorch in ONNX Runtime.

python training/export.py --checkpoint tiny --output spda_sam_tiny.onnx
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from tqdm import tqdm

from spda_sam_core.network.network import SpdaSamNetwork, SpdaSamOutput
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint
from spda_sam_core.weights.files import write_whole
from training.measuring.agreement import Agreement, Disagreement, compare, proof_inputs, random_inputs

OPSET = 17
"""TensorRT 8.6 to 11, OpenVINO and every ONNX Runtime in use read it."""
LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights. A protobuf message, which an ONNX file is, ends at 2 GiB; the graph takes a little of it."""


class ExportError(RuntimeError):
    """A network that cannot be exported; the message says why."""


def output_names(inputs: Collection[str]) -> list[str]:
    """The fields of `SpdaSamOutput`, with "seen_" before one that is an input's name too: a graph has no name twice."""
    return [f"seen_{name}" if name in inputs else name for name in SpdaSamOutput._fields]


def to_onnx(network: SpdaSamNetwork, metadata: Mapping[str, str] | None = None) -> bytes:
    """Trace the network as it is when predicting: float32, batch 1, static shapes.

    The exporter is torch's TorchScript one: it writes opset 17 itself, where the newer one needs onnxscript, writes
    opset 18 and converts down. Constants are folded, and with them four fifths of the nodes, by ONNX Runtime at its
    basic level: it knows nothing of the machine at that level, writes standard operators only, and is here anyway for
    the proof; the package `onnx` has no folding of its own.

    Args:
        network: of any preset.
        metadata: entries of the file's `metadata_props`.

    Returns:
        The file. Inputs are named as those of `forward`, outputs by `output_names`; an input that the network
        never reads, as depth without `use_depth`, is none of the graph's.

    Raises:
        ExportError: an operator that cannot be exported.
        ValueError: more weights than an ONNX file can hold.
    """
    n_bytes = 4 * sum(tensor.numel() for tensor in network.state_dict().values())
    if n_bytes > LARGEST_FILE:
        raise ValueError(
            f"preset '{network.config.preset}' has {n_bytes / 2**30:.1f} GiB of weights in float32, an ONNX file holds "
            f"{LARGEST_FILE / 2**30:.1f}: export a smaller preset, such as sam_vit_l"
        )
    inputs = random_inputs(network, 0)
    with tempfile.TemporaryDirectory() as folder:
        raw, folded = Path(folder) / "raw.onnx", Path(folder) / "folded.onnx"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that shapes and numbers become constants is what we want here
            try:
                torch.onnx.export(
                    network.eval(),
                    tuple(inputs.values()),
                    raw,
                    opset_version=OPSET,
                    input_names=list(inputs),
                    output_names=output_names(inputs),
                    dynamo=False,
                )
            except torch.onnx.errors.UnsupportedOperatorError as error:
                size = network.config.input_size
                raise ExportError(
                    f"preset '{network.config.preset}' at input_size {size}: {error}. SAM's ViT can be exported at its "
                    "own 1024 only: other sizes resample its positions in a way newer than the opset"
                ) from error
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        model = onnx.load(folded)
    domains = {node.domain for node in model.graph.node}
    used = [entry for entry in model.opset_import if entry.domain in domains]  # ONNX Runtime lists all it knows
    del model.opset_import[:]
    model.opset_import.extend(used)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def describe(network: SpdaSamNetwork, info: CheckpointInfo | None = None) -> dict[str, str]:
    """What a reader of the file needs beside the graph.

    Returns:
        `preset`, `class_names` (JSON) and, of a network from a checkpoint, `checkpoint_sha256` and, where the
        checkpoint has it, `calibration` (JSON).
    """
    entries = {"preset": network.config.preset, "class_names": json.dumps(network.config.class_names)}
    if info is not None:
        entries["checkpoint_sha256"] = info.sha256
        if "calibration" in info.metadata:
            entries["calibration"] = json.dumps(info.metadata["calibration"])
    return entries


def export_onnx(
    network: SpdaSamNetwork,
    path: Path,
    *,
    info: CheckpointInfo | None = None,
    rendered: int = 9,
    noise: int = 3,
) -> Agreement:
    """Write the graph of a network, once it is proven to be that network.

    Args:
        network: put into evaluation mode here.
        path: the file; it appears whole and proven, or not at all.
        info: of the checkpoint that the network came from, for the file's metadata.
        rendered: rendered pictures of the proof, see `proof_inputs`.
        noise: pictures of noise of the proof.

    Returns:
        The proof.

    Raises:
        Disagreement: ONNX Runtime finds something else than PyTorch. Nothing was written.
        ExportError: an operator that cannot be exported.
        ValueError: more weights than an ONNX file can hold.
    """
    model = to_onnx(network, describe(network, info))
    pictures = tqdm(proof_inputs(network, rendered, noise), total=rendered + noise, desc="comparing", unit="picture")
    agreement = compare(network, model, pictures)
    agreement.check()
    write_whole(path, model)
    return agreement


def main(arguments: list[str] | None = None) -> None:
    """Write a checkpoint's network as an ONNX file, and prove in ONNX Runtime that it is that network."""
    parser = argparse.ArgumentParser(description=main.__doc__, epilog="Needs the extra: pip install -e '.[export]'")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one (default: tiny)")
    parser.add_argument("--output", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--rendered", type=int, default=9, help="rendered pictures of the proof (default: %(default)s)")
    parser.add_argument("--noise", type=int, default=3, help="pictures of noise of the proof (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.rendered + options.noise < 1:
        parser.error("--rendered and --noise are both 0: a proof needs at least one picture")
    network, info = load_checkpoint(options.checkpoint)
    try:
        proof = export_onnx(network, options.output, info=info, rendered=options.rendered, noise=options.noise)
    except (Disagreement, ExportError) as error:
        parser.exit(1, f"{error}\nNothing was written.\n")
    largest = ", ".join(f"{name} {difference:.1e}" for name, difference in proof.differences.items())
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, opset {OPSET}, {network.config.preset}")
    print(f"largest differences on {options.rendered + options.noise} pictures: {largest}")
    print(f"IoU of {proof.candidates} masks: mean {proof.mask_iou:.5f}, lowest {proof.lowest_mask_iou:.5f}")


if __name__ == "__main__":
    main()
