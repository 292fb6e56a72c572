"""Relative depth from one picture, where no sensor gives it: Depth Anything as `transformers` implements it.

Official Depth Anything V2 weights (Yang et al., "Depth Anything V2", NeurIPS 2024, arXiv 2406.09414) load from their
`.pth` file or from a folder in the `transformers` layout. None are shipped, and nothing is ever downloaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation

from spda_sam_core.depth.depth_anything_official import HOW_TO_GET_FILE, read_official
from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD, check_rgb
from spda_sam_core.weights.files import CheckpointError

Estimate = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""What `DepthEstimator.estimate` is: a picture (H, W, 3) to relative inverse depth (H, W)."""
OFFICIAL = "depth-anything/Depth-Anything-V2-Small-hf"
"""The official weights that fit a robot, Apache-2.0; the Base and Large ones are CC-BY-NC-4.0."""

_HOW_TO_GET = (
    f"nothing is downloaded here; on a machine with network `hf download {OFFICIAL} --local-dir DIR` gets a folder, "
    f"{HOW_TO_GET_FILE}: copy either here and give the path of the folder or of the .pth file"
)
_MINIMUM_DEPTH_M = 1e-3


@dataclass(frozen=True)
class DepthInput:
    """How a picture becomes the network's input.

    Attributes:
        side: what the picture's height or width becomes, in pixels: of the two scales that would do that, the
            one nearer to 1 is taken, as in `transformers`' DPTImageProcessor. For a picture larger than `side`
            that is its shorter side.
        multiple_of: height and width are rounded to a multiple of this, the patch size.
        mean: R G B in 0..255, taken out.
        std: R G B in 0..255, divided by.
        shorter: whether `side` is the shorter side of every picture, as in the official code: a small picture is
            enlarged more than by the rule above.
    """

    side: int = 518
    multiple_of: int = 14
    mean: tuple[float, ...] = tuple(float(x) for x in IMAGE_MEAN)
    std: tuple[float, ...] = tuple(float(x) for x in IMAGE_STD)
    shorter: bool = False

    def __post_init__(self) -> None:
        if self.multiple_of < 1 or self.side < self.multiple_of:
            raise ValueError(
                f"side {self.side} must be at least multiple_of {self.multiple_of}, which must be at least 1"
            )

    def size_hw(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for a picture of this size, at least one patch."""
        fit_height, fit_width = self.side / height, self.side / width
        if self.shorter:
            scale, least = max(fit_height, fit_width), math.ceil(self.side / self.multiple_of)
        else:
            scale, least = fit_width if abs(1 - fit_width) < abs(1 - fit_height) else fit_height, 1
        rows, columns = (max(least, round(scale * n / self.multiple_of)) for n in (height, width))
        return rows * self.multiple_of, columns * self.multiple_of

    def prepare(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 to (1, 3, h, w) float32 on the CPU."""
        height, width = self.size_hw(*rgb.shape[:2])
        shrinks = height < rgb.shape[0] or width < rgb.shape[1]
        # averages when it shrinks: marine snow would alias
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        resized = cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=interpolation)
        normalised = (resized.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]


class DepthEstimator:
    """Relative inverse depth from a colour picture.

    Args:
        model: a Depth Anything model; put into evaluation mode here, runs on the device that it is on.
        depth_input: how pictures become its input.
    """

    def __init__(self, model: DepthAnythingForDepthEstimation, depth_input: DepthInput) -> None:
        self.model = model.eval()
        self.depth_input = depth_input

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device = "cpu") -> DepthEstimator:
        """Load an estimator from this machine's disk.

        Args:
            source: an official file of Depth Anything V2 under its own name, such as `depth_anything_v2_vits.pth`,
                see `read_official`; or a folder with `config.json` and `model.safetensors` in the layout of
                `transformers`, as the official repositories named `...-hf` have it.
            device: where to put the model.

        Raises:
            CheckpointError: nothing there, not a Depth Anything model, damaged, or weights that do not fit.
        """
        path = Path(source)
        if not path.exists():
            raise CheckpointError(f"{source}: no such file or folder: {_HOW_TO_GET}")
        model, depth_input = _load_folder(path) if path.is_dir() else _load_official(path)
        model.to(device)
        return cls(model, depth_input)

    @torch.inference_mode()
    def estimate(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Estimate the inverse depth of a picture.

        Args:
            rgb: (H, W, 3) uint8, R G B.

        Returns:
            (H, W) float32, finite, >= 0: inverse depth of unknown scale and offset; larger is nearer. See
            `spda_sam_core.depth.normalisation.normalise_inverse_depth` for what the segmentation network is given.

        Raises:
            TypeError: not uint8.
            ValueError: not (H, W, 3), or without pixels.
        """
        check_rgb(rgb)
        image = self.depth_input.prepare(rgb).to(next(self.model.parameters()).device)
        output = self.model(image).predicted_depth[0].float().cpu().numpy()  # (h, w)
        if self.model.config.depth_estimation_type == "metric":
            output = 1 / np.maximum(output, _MINIMUM_DEPTH_M)
        resized = cv2.resize(output, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(resized, dtype=np.float32)


def _load_official(path: Path) -> tuple[DepthAnythingForDepthEstimation, DepthInput]:
    config, weights = read_official(path)
    model = _load(path, None, config=config, state_dict=weights)
    return model, DepthInput(config.backbone_config.image_size, config.patch_size, shorter=True)


def _load_folder(folder: Path) -> tuple[DepthAnythingForDepthEstimation, DepthInput]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: no usable config.json ({error}): {_HOW_TO_GET}") from error
    if config.get("model_type") != "depth_anything":
        raise CheckpointError(
            f"{folder}: config.json is for model_type {config.get('model_type')!r}, expected 'depth_anything': "
            f"{_HOW_TO_GET}"
        )
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder}: no .safetensors file beside config.json: {_HOW_TO_GET}")
    model = _load(folder, folder, local_files_only=True, use_safetensors=True)
    return model, _read_input(folder / "preprocessor_config.json")


def _read_input(path: Path) -> DepthInput:
    """What a `preprocessor_config.json` says, or Depth Anything V2's values where there is none."""
    if not path.exists():
        return DepthInput()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return DepthInput(
            side=int(entries["size"]["height"]),
            multiple_of=int(entries["ensure_multiple_of"]),
            mean=tuple(255 * float(x) for x in entries["image_mean"]),
            std=tuple(255 * float(x) for x in entries["image_std"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be used ({error!r}): copy the file again or remove it") from error


def _load(path: Path, source: Path | None, **options: Any) -> DepthAnythingForDepthEstimation:
    try:
        with _quiet():
            model, found = DepthAnythingForDepthEstimation.from_pretrained(
                source, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: weights cannot be loaded ({reason}): copy it again") from error
    wrong = [f"'{name}', which is missing" for name in sorted(found["missing_keys"])]
    # "ignored" above only so that the message can name it
    wrong += [f"'{n}' of {tuple(has)}, not {tuple(needs)}" for n, has, needs in sorted(found["mismatched_keys"])]
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} weights do not fit the configuration, the first is {wrong[0]}: copy config and "
            "weights again, both from the same place"
        )
    return model.float()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading bar and report of `transformers` off the terminal: errors here say what matters."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
