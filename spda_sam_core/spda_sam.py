"""`SpdaSam`: an image and, where there is one, its depth in; instances out. The node and all tools call it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.preprocess import Letterbox, check_depth, check_rgb, prepare
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.postprocess import inside_letterbox, postprocess
from spda_sam_core.runtimes.backends import load_backend
from spda_sam_core.runtimes.choose import load_chosen
from spda_sam_core.runtimes.runtime import Runtime

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
        seen_depth: the depth that the network saw, without padding, at its own resolution or a quarter of it; None
            where it saw none.
        depth_source: where that depth came from.
        stage_ms: milliseconds spent in "depth", "preprocess", "model" and "postprocess"; of a batch, its share.
    """

    instances: Instances
    seen_depth: NormalisedDepth | None
    depth_source: DepthSource
    stage_ms: dict[str, float]

    @property
    def depth(self) -> NormalisedDepth | None:
        """The depth that the network saw, enlarged to the size of the image at each call; None where it saw none."""
        seen = self.seen_depth
        if seen is None:
            return None
        # beside a hole, a mean would be a surface that is not there
        interpolation = cv2.INTER_LINEAR if seen.valid.all() else cv2.INTER_NEAREST
        size = (self.instances.width, self.instances.height)
        inverse_depth, valid = (
            cv2.resize(array, size, interpolation=interpolation)
            for array in (seen.inverse_depth, seen.valid.view(np.uint8))
        )
        return NormalisedDepth(inverse_depth, valid.view(np.bool_))


class SpdaSam:
    """The network, a depth estimator, and the way from image to instances. One thread at a time.

    Args:
        runtime: runs the network.
        depth_estimator: stands in where no depth is given; None: what the network itself estimates stands in.
        backend_reason: see there.

    Attributes:
        runtime: as given.
        backend_reason: why that one, for people.
        calibration: what makes scores of raw ones; that of the network's checkpoint.
    """

    def __init__(
        self, runtime: Runtime, *, depth_estimator: EstimatesDepth | None = None, backend_reason: str = ""
    ) -> None:
        self.runtime = runtime
        self.backend_reason = backend_reason
        self.depth_estimator = depth_estimator
        self.calibration: Calibration = runtime.info.calibration

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path = "tiny",
        *,
        backend: str = "torch",
        device: str = "cpu",
        depth_estimator: str | None = None,
        preset: str | None = None,
        num_threads: int = 0,
    ) -> SpdaSam:
        """Load the network.

        Args:
            checkpoint: a file, or the preset of a shipped checkpoint; a file of `spda-sam export` too, which PyTorch
                does not run.
            backend: what runs it: "torch", "onnxruntime", "openvino", or "auto": the fastest that is installed,
                measured once for this machine and checkpoint, which takes half a minute then.
            device: "cpu", "cuda", "cuda:<n>", or "auto": CUDA where there is one.
            depth_estimator: what `DepthEstimator.from_pretrained` takes; None: the network estimates for itself.
            preset: refuse a checkpoint of another preset.
            num_threads: CPU threads of the backend; 0 leaves it to that.

        Raises:
            BackendError: a backend that is not there, fails, or finds something else than PyTorch.
            CheckpointError: a file that is missing, damaged, or for something else.
            ValueError: a device that this machine or this build of torch does not have.
        """
        if backend == "auto":
            runtime, reason = load_chosen(checkpoint, device=device, preset=preset, num_threads=num_threads)
        else:
            runtime = load_backend(backend, checkpoint, device=device, preset=preset, num_threads=num_threads)
            reason = "as asked for"
        estimator: EstimatesDepth | None = None
        if depth_estimator is not None:
            # here, because it brings transformers along
            from spda_sam_core.depth.estimators import DepthEstimator

            estimator = DepthEstimator.from_pretrained(depth_estimator, runtime.device)
        return cls(runtime, depth_estimator=estimator, backend_reason=reason)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by class id."""
        return self.runtime.info.class_names

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.runtime.info.input_size

    @property
    def preset(self) -> str:
        """Name of the network's preset."""
        return self.runtime.info.preset

    @property
    def checkpoint_sha256(self) -> str:
        """Hash of the network's file, empty where it has none."""
        return self.runtime.info.checkpoint_sha256

    @property
    def terms(self) -> tuple[str, ...]:
        """What the network may be used for; empty: anything that the licence of this package allows."""
        return self.runtime.info.terms

    @property
    def estimates_depth(self) -> bool:
        """Whether missing depth can be estimated, by the network itself or beside it."""
        return self.runtime.info.reads_depth

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
            depth_m: (H, W) float32 metres registered to the image; <= 0, NaN and inf are unknown. Where not a
                single pixel of the network's input has known depth, it counts as missing.
            score_threshold: the lowest score to return, 0..1.
            estimate_depth: estimate missing depth, where `estimates_depth`; else the network sees none.

        Returns:
            The instances, best first.

        Raises:
            TypeError: `rgb` is no uint8 array, or depth no array of floating point.
            ValueError: shapes that do not fit, an image without pixels, or a threshold out of range.
        """
        found = self.predict_batch([rgb], [depth_m], score_threshold=score_threshold, estimate_depth=estimate_depth)
        return found[0].instances

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
        boxes = [Letterbox(rgb.shape[0], rgb.shape[1], self.input_size) for rgb in images]
        seen = [
            self._depth(rgb, depth_m, inverse, size_hw=box.resized_hw, estimate=estimate_depth)
            for rgb, depth_m, inverse, box in zip(images, given, relative, boxes, strict=True)
        ]
        with_depth = time.perf_counter()
        inputs = [prepare(rgb, depth, self.input_size) for rgb, (depth, _) in zip(images, seen, strict=True)]
        image, inverse_depth, depth_valid = (np.concatenate(arrays) for arrays in zip(*inputs, strict=True))
        # (B,): what shall be estimated and is not here is for the network to estimate
        missing = np.array([source == "estimated" and depth is None for depth, source in seen], np.float32)
        prepared = time.perf_counter()
        output = self.runtime.run(image, inverse_depth, depth_valid, missing)
        inferred = time.perf_counter()
        instances = [
            postprocess(
                output.mask_logits[i],
                output.class_logits[i],
                output.predicted_iou[i],
                letterbox=box,
                class_names=self.class_names,
                score_threshold=score_threshold,
                calibration=self.calibration,
            )
            for i, box in enumerate(boxes)
        ]
        times = (start, with_depth, prepared, inferred, time.perf_counter())
        stages = ("depth", "preprocess", "model", "postprocess")
        stage_ms = {name: (times[i + 1] - times[i]) * 1e3 / len(images) for i, name in enumerate(stages)}
        depths = [
            _own_estimate(output.inverse_depth[i], box) if missing[i] else depth
            for i, (box, (depth, _)) in enumerate(zip(boxes, seen, strict=True))
        ]
        return [
            Prediction(found, depth, source, stage_ms)
            for found, depth, (_, source) in zip(instances, depths, seen, strict=True)
        ]

    def _depth(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32] | None,
        relative_inverse_depth: NDArray[np.float32] | None,
        *,
        size_hw: tuple[int, int],
        estimate: bool,
    ) -> tuple[NormalisedDepth | None, DepthSource]:
        """What is known of depth before the network runs, at `size_hw`, and where it comes from."""
        if depth_m is not None:
            depth = normalise_depth(depth_m, size_hw)
            if depth.valid.any():
                return depth, "sensor"
        if relative_inverse_depth is not None:
            return normalise_inverse_depth(relative_inverse_depth, size_hw), "relative"
        if not estimate or not self.estimates_depth:
            return None, "none"
        if self.depth_estimator is None:
            return None, "estimated"
        return normalise_inverse_depth(self.depth_estimator.estimate(rgb), size_hw), "estimated"

    def warm_up(self) -> None:
        """Run once on a black image, estimator included, so that the first real frame is not the slow one."""
        self.predict(np.zeros((self.input_size, self.input_size, 3), np.uint8))


def _own_estimate(inverse_depth: NDArray[np.float32], box: Letterbox) -> NormalisedDepth:
    """The part of the network's own (1, h, w) estimate that shows the image."""
    (inside,) = inside_letterbox(inverse_depth, box)
    return NormalisedDepth(np.clip(inside, 0, 1), np.ones(inside.shape, np.bool_))
