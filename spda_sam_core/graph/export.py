"""The network traced into an ONNX graph: float32, batch 1, static shapes."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch

from spda_sam_core.graph.check_picture import answer, check_inputs
from spda_sam_core.graph.inputs import random_inputs
from spda_sam_core.graph.onnx_file import FORMAT
from spda_sam_core.network.network import SpdaSamNetwork, SpdaSamOutput
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.weights.checkpoint import CheckpointInfo

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
        model = fold(raw, folded)
    domains = {node.domain for node in model.graph.node}
    used = [entry for entry in model.opset_import if entry.domain in domains]  # ONNX Runtime lists all it knows
    del model.opset_import[:]
    model.opset_import.extend(used)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def fold(raw: Path, folded: Path) -> onnx.ModelProto:
    """Write a graph with its constants folded by ONNX Runtime, and read it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    return onnx.load(folded)


@torch.inference_mode()
def describe(network: SpdaSamNetwork, info: CheckpointInfo | None = None) -> dict[str, str]:
    """What a reader of the file needs beside the graph: see `spda_sam_core.graph.onnx_file.GraphFile`.

    Args:
        network: what is exported; it is run once on the check picture.
        info: of the checkpoint that it came from; None: none.
    """
    config = network.config
    found = TorchRuntime(network).run(*check_inputs(config.input_size).values())  # type: ignore[arg-type]  # by position
    entries = {
        "format": FORMAT,
        "preset": config.preset,
        "class_names": json.dumps(config.class_names),
        "input_size": str(config.input_size),
        "reads_depth": json.dumps(config.use_depth),
        "precision": "float32",
        "check": json.dumps(answer(found)),
    }
    if info is not None:
        entries |= {
            "checkpoint_sha256": info.sha256,
            "calibration": json.dumps(info.calibration.to_dict()),
            "terms": json.dumps(info.terms),
        }
    return entries
