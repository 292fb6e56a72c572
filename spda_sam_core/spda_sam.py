"""`SpdaSam`: an image and, where there is one, its depth in; instances out. The node and all tools call it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.preprocess import Letterbox, check_depth, check_rgb, prepare
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.postprocess import postprocess
from spda_sam_core.weights.checkpoint import load_checkpoint

DepthSource = Literal["sensor", "relative", "estimated", "none"]


class EstimatesDepth(Protocol):
    """What `SpdaSam` needs of a depth estimator; `DepthEstimator` is one."""

    def estimate(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 to (H, W) float32 relative inverse depth."""


@dataclass(frozen=True)
class Prediction:
    """What was found in one image, and how it came about.

    Attributes:
        instances: masks, boxes, scores and classes at the size of the image.
        depth: the depth that the network saw, at the size of the image; None where it saw none.
        depth_source: where that depth came from.
        stage_ms: milliseconds spent in "depth", "preprocess", "model" and "postprocess"; of a batch, its share.
    """

    instances: Instances
    depth: NormalisedDepth | None
    depth_source: DepthSource
    stage_ms: dict[str, float]


class SpdaSam:
    """The network, its depth estimator, and the way from image to instances. One thread at a time.

    Args:
        network: put into evaluation mode here; runs on the device that it is on.
        depth_estimator: stands in where no depth is given; None: there is none beside the network.
        checkpoint_sha256: hash of the network's file, empty where it has none.
        calibration: what makes scores of raw ones.
    """

    def __init__(
        self,
        network: SpdaSamNetwork,
        *,
        depth_estimator: EstimatesDepth | None = None,
        checkpoint_sha256: str = "",
        calibration: Calibration = UNCALIBRATED,
    ) -> None:
        self.network = network.eval()
        self.depth_estimator = depth_estimator
        self.checkpoint_sha256 = checkpoint_sha256
        self.calibration = calibration

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path = "tiny",
        *,
        device: str = "cpu",
        depth_estimator: str | None = None,
        preset: str | None = None,
    ) -> SpdaSam:
        """Load the network and its depth estimator.

        Args:
            checkpoint: a file, or the preset of a shipped checkpoint.
            device: "cpu", "cuda" or "cuda:<n>".
            depth_estimator: what `DepthEstimator.from_pretrained` takes; None: no estimator beside the network.
            preset: refuse a checkpoint of another preset.

        Raises:
            CheckpointError: a file that is missing, damaged, or for something else.
            ValueError: a device that this machine or this build of torch does not have.
        """
        target = check_device(device)
        network, info = load_checkpoint(checkpoint, target, preset=preset)
        estimator: EstimatesDepth | None = None
        if depth_estimator is not None:
            # here, because it brings transformers along, which costs seconds
            from spda_sam_core.depth.estimators import DepthEstimator

            estimator = DepthEstimator.from_pretrained(depth_estimator, device)
        return cls(network, depth_estimator=estimator, checkpoint_sha256=info.sha256, calibration=info.calibration)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by class id."""
        return self.network.config.class_names

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.network.config.input_size

    @property
    def preset(self) -> str:
        """Name of the network's preset."""
        return self.network.config.preset

    def predict(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32] | None = None,
        *,
        score_threshold: float = 0.3,
        estimate_depth: bool = True,
    ) -> Instances:
        """Find the instances in one image.

        Args:
            rgb: (H, W, 3) uint8, R G B; of OpenCV's B G R take `bgr[..., ::-1]`.
            depth_m: (H, W) float32 metres registered to the image; <= 0, NaN and inf are unknown. Without a
                single known pixel it counts as missing.
            score_threshold: the lowest score to return, 0..1.
            estimate_depth: estimate missing depth, if there is an estimator; else the network sees none.

        Returns:
            The instances, best first.

        Raises:
            TypeError: `rgb` is no uint8 array, or depth no array of floating point.
            ValueError: shapes that do not fit, an image without pixels, or a threshold out of range.
        """
        found = self.predict_batch([rgb], [depth_m], score_threshold=score_threshold, estimate_depth=estimate_depth)
        return found[0].instances

    @torch.inference_mode()
    def predict_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        depths_m: Sequence[NDArray[np.float32] | None] | None = None,
        *,
        relative_inverse_depths: Sequence[NDArray[np.float32] | None] | None = None,
        score_threshold: float = 0.3,
        estimate_depth: bool = True,
    ) -> list[Prediction]:
        """Find the instances in several images, of any sizes, in one pass of the network.

        Args:
            images: as `rgb` of `predict`.
            depths_m: one per image, as `depth_m` of `predict`; None: no image has depth.
            relative_inverse_depths: one per image, (H, W) float32 of unknown scale and offset, larger is nearer, NaN
                unknown; read where an image has no metric depth, in place of an estimate.
            score_threshold: see `predict`.
            estimate_depth: see `predict`.

        Returns:
            One per image. Instances equal those of `predict` up to the rounding of larger sums.

        Raises:
            TypeError: as `predict`.
            ValueError: as `predict`; or another number of depths than of images.
        """
        given = [None] * len(images) if depths_m is None else list(depths_m)
        relative = [None] * len(images) if relative_inverse_depths is None else list(relative_inverse_depths)
        for count in (len(given), len(relative)):
            if count != len(images):
                raise ValueError(f"{len(images)} images, but {count} depths: give one per image, None where unknown")
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold {score_threshold} must lie in 0..1")
        for rgb, depth_m, inverse in zip(images, given, relative, strict=True):  # before anything costly runs
            check_rgb(rgb)
            if depth_m is not None:
                check_depth(depth_m, (rgb.shape[0], rgb.shape[1]))
            if inverse is not None and inverse.shape != rgb.shape[:2]:
                raise ValueError(
                    f"relative inverse depth has {inverse.shape} pixels, the image {rgb.shape[:2]} (height, width): "
                    "make it one of that image"
                )
        if not images:
            return []
        start = time.perf_counter()
        seen = [self._depth(*each, estimate_depth) for each in zip(images, given, relative, strict=True)]
        with_depth = time.perf_counter()
        inputs = [prepare(rgb, depth, self.input_size) for rgb, (depth, _) in zip(images, seen, strict=True)]
        stacked = [torch.cat(tensors) for tensors in zip(*inputs, strict=True)]  # (B, 3, S, S), (B, 1, S, S) twice
        prepared = time.perf_counter()
        device = next(self.network.parameters()).device
        wanted = torch.tensor([float(estimate_depth and source == "none") for _, source in seen], device=device)
        output = self.network(*(tensor.to(device) for tensor in stacked), wanted)
        masks, classes, iou = (
            tensor.float().cpu().numpy()  # waits for a GPU to finish
            for tensor in (output.mask_logits, output.class_logits, output.predicted_iou)
        )
        inferred = time.perf_counter()
        instances = [
            postprocess(
                masks[i],
                classes[i],
                iou[i],
                letterbox=Letterbox(rgb.shape[0], rgb.shape[1], self.input_size),
                class_names=self.class_names,
                score_threshold=score_threshold,
                calibration=self.calibration,
            )
            for i, rgb in enumerate(images)
        ]
        times = (start, with_depth, prepared, inferred, time.perf_counter())
        stages = ("depth", "preprocess", "model", "postprocess")
        stage_ms = {name: (times[i + 1] - times[i]) * 1e3 / len(images) for i, name in enumerate(stages)}
        return [
            Prediction(found, depth, source, stage_ms) for found, (depth, source) in zip(instances, seen, strict=True)
        ]

    def _depth(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32] | None,
        relative_inverse_depth: NDArray[np.float32] | None,
        estimate: bool,
    ) -> tuple[NormalisedDepth | None, DepthSource]:
        if depth_m is not None:
            depth = normalise_depth(depth_m)
            if depth.valid.any():
                return depth, "sensor"
        if relative_inverse_depth is not None:
            return normalise_inverse_depth(relative_inverse_depth), "relative"
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
