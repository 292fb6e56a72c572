"""`Predictor`: an image and, where there is one, its depth in; instances out. The node and tools call it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from spda_sam_core.checkpoint import load_checkpoint
from spda_sam_core.depth import NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.instances import Instances
from spda_sam_core.model import SpdaSam
from spda_sam_core.postprocess import postprocess
from spda_sam_core.preprocess import Letterbox, check_rgb, prepare

DepthSource = Literal["sensor", "estimated", "none"]


class EstimatesDepth(Protocol):
    """What the predictor needs of a depth estimator; `DepthEstimator` is one."""

    def estimate(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 to (H, W) float32 relative inverse depth."""


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        instances: masks, boxes, scores and classes at the size of the image.
        depth: the depth that the network saw, at the size of the image; None where it saw none.
        depth_source: where that depth came from.
        stage_ms: milliseconds spent in "depth", "preprocess", "model" and "postprocess".
    """

    instances: Instances
    depth: NormalisedDepth | None
    depth_source: DepthSource
    stage_ms: dict[str, float]


class Predictor:
    """A model, its depth estimator, and the way from image to instances. One thread at a time.

    Args:
        model: put into evaluation mode here; runs on the device that it is on.
        depth_estimator: stands in where no depth is given; None: never estimate.
        checkpoint_sha256: hash of the model's file, empty where it has none.
    """

    def __init__(
        self, model: SpdaSam, *, depth_estimator: EstimatesDepth | None = None, checkpoint_sha256: str = ""
    ) -> None:
        self.model = model.eval()
        self.depth_estimator = depth_estimator
        self.checkpoint_sha256 = checkpoint_sha256

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path = "tiny",
        *,
        device: str = "cpu",
        depth_estimator: str | None = "tiny",
        preset: str | None = None,
    ) -> Predictor:
        """Load the model and its depth estimator.

        Args:
            checkpoint: a file, or the preset of a shipped checkpoint.
            device: "cpu", "cuda" or "cuda:<n>".
            depth_estimator: a file, or the name of a shipped estimator; None: never estimate.
            preset: refuse a checkpoint of another preset.

        Raises:
            CheckpointError: a file that is missing, damaged, or for something else.
            ValueError: a device that this machine or this build of torch does not have.
        """
        target = check_device(device)
        model, info = load_checkpoint(checkpoint, target, preset=preset)
        estimator: EstimatesDepth | None = None
        if depth_estimator is not None:
            # here, because it brings transformers along, which costs seconds
            from spda_sam_core.depth_estimator import DepthEstimator

            estimator = DepthEstimator.from_pretrained(depth_estimator, device)
        return cls(model, depth_estimator=estimator, checkpoint_sha256=info.sha256)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by class id."""
        return self.model.config.class_names

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.model.config.input_size

    @property
    def preset(self) -> str:
        """Name of the model's preset."""
        return self.model.config.preset

    @torch.inference_mode()
    def predict(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32] | None = None,
        *,
        score_threshold: float = 0.3,
        estimate_depth: bool = True,
    ) -> Prediction:
        """Find the instances in one image.

        Args:
            rgb: (H, W, 3) uint8, R G B.
            depth_m: (H, W) float32 metres registered to the image; <= 0, NaN and inf are unknown. Without a
                single known pixel it counts as missing.
            score_threshold: the lowest score to return, 0..1.
            estimate_depth: estimate missing depth, if there is an estimator; else the network sees none.

        Returns:
            The instances and how they came about.

        Raises:
            TypeError: `rgb` is not uint8, or depth is not floating point.
            ValueError: shapes that do not fit, or an image without pixels.
        """
        check_rgb(rgb)
        start = time.perf_counter()
        depth, source = self._depth(rgb, depth_m, estimate_depth)
        with_depth = time.perf_counter()
        inputs = prepare(rgb, depth, self.input_size)
        prepared = time.perf_counter()
        device = next(self.model.parameters()).device
        output = self.model(*(tensor.to(device) for tensor in inputs))
        masks, classes, iou = (
            tensor[0].float().cpu().numpy()  # waits for a GPU to finish
            for tensor in (output.mask_logits, output.class_logits, output.predicted_iou)
        )
        inferred = time.perf_counter()
        instances = postprocess(
            masks,
            classes,
            iou,
            letterbox=Letterbox(rgb.shape[0], rgb.shape[1], self.input_size),
            class_names=self.class_names,
            score_threshold=score_threshold,
        )
        end = time.perf_counter()
        stage_ms = {
            "depth": (with_depth - start) * 1e3,
            "preprocess": (prepared - with_depth) * 1e3,
            "model": (inferred - prepared) * 1e3,
            "postprocess": (end - inferred) * 1e3,
        }
        return Prediction(instances, depth, source, stage_ms)

    def _depth(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None, estimate: bool
    ) -> tuple[NormalisedDepth | None, DepthSource]:
        if depth_m is not None:
            depth = normalise_depth(depth_m)
            if depth.valid.any():
                return depth, "sensor"
        if estimate and self.depth_estimator is not None:
            return normalise_inverse_depth(self.depth_estimator.estimate(rgb)), "estimated"
        return None, "none"

    def warm_up(self) -> None:
        """Run once on a black image, estimator included, so that the first real frame is not the slow one."""
        self.predict(np.zeros((self.input_size, self.input_size, 3), np.uint8))


def check_device(device: str) -> torch.device:
    """The torch device of this name, if it is there.

    Raises:
        ValueError: an unknown name, or CUDA where there is none.
    """
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device '{device}': use 'cpu', 'cuda' or 'cuda:<n>'") from error
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' is not there, CUDA devices found: {torch.cuda.device_count()}: use 'cpu', or "
            "install the NVIDIA driver and a CUDA build of torch"
        )
    return target
