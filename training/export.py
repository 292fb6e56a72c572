"""The whole network as one float32 ONNX file, proven equal to PyTorch in ONNX Runtime.

python training/export.py --checkpoint tiny --output spda_sam_tiny.onnx
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from spda_sam_core.depth.normalisation import normalise_depth
from spda_sam_core.network.network import SpdaSamNetwork, SpdaSamOutput
from spda_sam_core.preprocess import prepare
from spda_sam_core.weights.checkpoint import CheckpointInfo, load_checkpoint
from spda_sam_core.weights.files import write_whole
from training.world.frame import render_image

OPSET = 17
"""TensorRT 8.6 to 11, OpenVINO and every ONNX Runtime in use read it."""
LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights. A protobuf message, which an ONNX file is, ends at 2 GiB; the graph takes a little of it."""
TOLERANCE = 1e-3
"""Largest difference from PyTorch of any output, as a share of that output's largest value where that exceeds 1.
Measured are differences below 1e-5; what does not belong to the rounding of sums is far above."""
LEAST_MASK_IOU = 0.999
"""Mean IoU of the masks of PyTorch and of ONNX Runtime."""
_SEED = 3  # of the pictures of the proof; 1 and 2 are the rendered data sets'


class ExportError(RuntimeError):
    """A graph that is not what the network is; the message says by how much."""


class Agreement(NamedTuple):
    """How far ONNX Runtime is from PyTorch on some pictures.

    Attributes:
        differences: the largest absolute difference of each output, and of "score", the class probabilities times the
            predicted IoU.
        magnitudes: the largest absolute value of each.
        mask_iou: mean IoU of the masks of the two; two empty ones count as 1.
        lowest_mask_iou: of the worst of them.
    """

    differences: dict[str, float]
    magnitudes: dict[str, float]
    mask_iou: float
    lowest_mask_iou: float

    def check(self) -> None:
        """Refuse a graph that is not the network.

        Raises:
            ExportError: a difference above `TOLERANCE`, masks below `LEAST_MASK_IOU`, or a value that is no number.
        """
        wrong = [
            f"{name} differs by {difference:.2g}, more than {TOLERANCE * max(1.0, self.magnitudes[name]):.2g}"
            for name, difference in self.differences.items()
            if not difference <= TOLERANCE * max(1.0, self.magnitudes[name])
        ]
        if not self.mask_iou >= LEAST_MASK_IOU:
            wrong.append(f"the masks' mean IoU is {self.mask_iou:.4f}, less than {LEAST_MASK_IOU}")
        if wrong:
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} and PyTorch {torch.__version__} disagree: {'; '.join(wrong)}. "
                "Nothing was written. Ties between equal values are decided differently by the two; else try another "
                "version of either"
            )


def named_inputs(
    network: SpdaSamNetwork, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor, *, estimate: bool = False
) -> dict[str, Tensor]:
    """What the network's `forward` takes, by the names that it gives them, in its order; these name the graph's inputs.

    Args:
        network: of any preset.
        image: (B, 3, S, S), as `prepare` gives it; so are the next two.
        inverse_depth: (B, 1, S, S).
        depth_valid: (B, 1, S, S).
        estimate: whether the network's own depth stands in where a picture has none.
    """
    known = {
        "image": image,
        "inverse_depth": inverse_depth,
        "depth_valid": depth_valid,
        "estimate": torch.full((len(image),), float(estimate)),
    }
    device = next(network.parameters()).device
    return {name: known[name].to(device) for name in inspect.signature(network.forward).parameters}


def random_inputs(network: SpdaSamNetwork, seed: int) -> dict[str, Tensor]:
    """Noise for one picture, a third of its depth unknown."""
    generator = torch.Generator().manual_seed(seed)
    side = network.config.input_size
    image = torch.randn(1, 3, side, side, generator=generator)
    valid = (torch.rand(1, 1, side, side, generator=generator) > 1 / 3).float()
    return named_inputs(network, image, torch.rand(1, 1, side, side, generator=generator) * valid, valid)


def proof_inputs(network: SpdaSamNetwork, rendered: int, noise: int) -> Iterator[dict[str, Tensor]]:
    """Rendered pictures, in turn with true depth, with none, and with depth left to the network; then noise."""
    for i in range(rendered):
        frame = render_image(_SEED, i)
        depth = normalise_depth(frame.depth_m) if i % 3 == 0 else None
        yield named_inputs(network, *prepare(frame.rgb, depth, network.config.input_size), estimate=i % 3 == 2)
    for i in range(noise):
        yield random_inputs(network, _SEED + i)


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
        The file. Inputs are named as those of `forward`, outputs as in `SpdaSamOutput`; an input that the network
        never reads, as depth without `use_depth`, is none of the graph's.

    Raises:
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
            torch.onnx.export(
                network.eval(),
                tuple(inputs.values()),
                raw,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(SpdaSamOutput._fields),
                dynamo=False,
            )
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


def open_session(model: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """Load a graph into ONNX Runtime on the CPU, which uses so many threads for each of its operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compare(network: SpdaSamNetwork, model: bytes, pictures: Iterable[Mapping[str, Tensor]]) -> Agreement:
    """Run a graph and its network on the same pictures.

    Args:
        network: what the graph was made of.
        model: an ONNX file of `to_onnx`.
        pictures: at least one, each as `named_inputs` gives it.
    """
    session = open_session(model, torch.get_num_threads())
    read = [entry.name for entry in session.get_inputs()]
    differences: dict[str, float] = {}
    magnitudes: dict[str, float] = {}
    ious: list[float] = []
    for inputs in pictures:
        with torch.inference_mode():
            expected = {name: tensor.cpu().numpy() for name, tensor in network(**inputs)._asdict().items()}
        feed = {name: inputs[name].cpu().numpy() for name in read}
        actual = dict(zip(expected, session.run(list(expected), feed), strict=True))
        ious += _mask_ious(expected["mask_logits"][0] > 0, actual["mask_logits"][0] > 0)
        for outputs in (expected, actual):
            probability = 1 / (1 + np.exp(-outputs["class_logits"]))
            outputs["score"] = probability * outputs["predicted_iou"].clip(0, 1)[..., None]
        for name, values in expected.items():
            difference = float(np.abs(values - actual[name]).max())
            differences[name] = float(np.maximum(differences.get(name, 0.0), difference))  # keeps NaN
            magnitudes[name] = max(magnitudes.get(name, 0.0), float(np.abs(values).max()))
    return Agreement(differences, magnitudes, float(np.mean(ious)), min(ious))


def _mask_ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> list[float]:
    """IoU of each pair of two (K, h, w)."""
    common, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
    return [float(x) for x in np.where(either > 0, common / np.maximum(either, 1), 1.0)]


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
        ExportError: ONNX Runtime finds something else than PyTorch.
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
    except ExportError as error:
        parser.exit(1, f"{error}\n")
    largest: dict[str, Any] = {name: f"{difference:.1e}" for name, difference in proof.differences.items()}
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, opset {OPSET}, {network.config.preset}")
    print(f"largest differences on {options.rendered + options.noise} pictures: {largest}")
    print(f"IoU of the masks: mean {proof.mask_iou:.5f}, lowest {proof.lowest_mask_iou:.5f}")


if __name__ == "__main__":
    main()
