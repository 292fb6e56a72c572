"""Whether the ONNX graph of a network gives in ONNX Runtime what the network gives in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from spda_sam_core.depth.normalisation import normalise_depth
from spda_sam_core.graph.inputs import named_inputs, random_inputs
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.preprocess import Letterbox, prepare
from training.world.frame import render_image

TOLERANCE = 1e-3
"""Largest difference from PyTorch of a value, as a share of that value where it exceeds 1. Measured are differences of
1e-5; what does not come from the rounding of sums is far above."""
LEAST_MASK_IOU = 0.999
"""Mean IoU of the masks of PyTorch and of ONNX Runtime."""
LEAST_PROBABILITY = 1e-3
"""Candidates below it by both do not count: nobody sees them, and where a picture has fewer things than the network has
places, equally bad ones fill the rest in any order."""
_SEED = 3  # of the pictures of the proof; 1 and 2 are the rendered data sets'


class Disagreement(RuntimeError):
    """A graph that is not the network that it was made of; the message says by how much."""


class Agreement(NamedTuple):
    """How far ONNX Runtime is from PyTorch on some pictures.

    Attributes:
        differences: the largest difference of each output, and of "score", the class probabilities times the predicted
            IoU; measured as `TOLERANCE` is.
        candidates: how many candidates were compared.
        mask_iou: mean IoU of the masks of the two; two empty ones count as 1.
        lowest_mask_iou: of the worst of them.
    """

    differences: dict[str, float]
    candidates: int
    mask_iou: float
    lowest_mask_iou: float

    def check(self) -> None:
        """Refuse a graph that is not the network.

        Raises:
            Disagreement: a difference above `TOLERANCE`, masks below `LEAST_MASK_IOU`, a value that is no number, or
                no candidate to compare.
        """
        wrong = [
            f"{name} differs by {difference:.2g}, more than {TOLERANCE}"
            for name, difference in self.differences.items()
            if not difference <= TOLERANCE
        ]
        if not self.mask_iou >= LEAST_MASK_IOU:
            wrong.append(f"the mean IoU of {self.candidates} masks is {self.mask_iou:.4f}, less than {LEAST_MASK_IOU}")
        if wrong:
            raise Disagreement(
                f"ONNX Runtime {onnxruntime.__version__} and PyTorch {torch.__version__} disagree: {'; '.join(wrong)}. "
                "Look for ties first, which the two decide differently (TopK, ArgMax)"
            )


def proof_inputs(network: SpdaSamNetwork, rendered: int, noise: int) -> Iterator[dict[str, Tensor]]:
    """Rendered pictures, in turn with true depth, with none, and with depth left to the network; then noise."""
    for i in range(rendered):
        frame = render_image(_SEED, i)
        small = Letterbox(*frame.rgb.shape[:2], network.config.input_size).resized_hw
        depth = normalise_depth(frame.depth_m, small) if i % 3 == 0 else None
        prepared = map(torch.from_numpy, prepare(frame.rgb, depth, network.config.input_size))
        yield named_inputs(network, *prepared, estimate=i % 3 == 2)
    for i in range(noise):
        yield random_inputs(network, _SEED + i)


def open_session(model: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """Load a graph into ONNX Runtime on the CPU, which uses so many threads for each of its operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compare(network: SpdaSamNetwork, model: bytes, pictures: Iterable[Mapping[str, Tensor]]) -> Agreement:
    """Run a graph and its network on the same pictures, and compare what they find place by place.

    Args:
        network: what the graph was made of.
        model: an ONNX file of `to_onnx`.
        pictures: each as `named_inputs` gives it.
    """
    session = open_session(model, torch.get_num_threads())
    read = [entry.name for entry in session.get_inputs()]
    differences: dict[str, float] = {}
    ious: list[float] = []
    for inputs in pictures:
        with torch.inference_mode():
            expected = {name: tensor.cpu().numpy() for name, tensor in network(**inputs)._asdict().items()}
        found = session.run(None, {name: inputs[name].cpu().numpy() for name in read})
        actual = dict(zip(expected, found, strict=True))
        best = []
        for outputs in (expected, actual):
            probability = np.exp(-np.logaddexp(0, -outputs["class_logits"]))  # (1, K, C)
            outputs["score"] = probability * outputs["predicted_iou"].clip(0, 1)[..., None]
            best.append(probability.max(axis=2))
        counts = ~(np.maximum(*best) < LEAST_PROBABILITY)  # (1, K); NaN counts
        for name, values in expected.items():
            one, other = (v[counts] if v.shape[:2] == counts.shape else v for v in (values, actual[name]))
            difference = (np.abs(one - other) / np.abs(one).clip(1)).max(initial=0)
            differences[name] = float(np.maximum(differences.get(name, 0), difference))  # keeps NaN
        ious += _mask_ious(expected["mask_logits"][counts] > 0, actual["mask_logits"][counts] > 0)
    mean, lowest = (float(np.mean(ious)), min(ious)) if ious else (float("nan"), float("nan"))
    return Agreement(differences, len(ious), mean, lowest)


def _mask_ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> list[float]:
    """IoU of each pair of two (K, h, w)."""
    common, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
    return [float(x) for x in np.where(either > 0, common / np.maximum(either, 1), 1.0)]
