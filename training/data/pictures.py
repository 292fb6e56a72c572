"""Depth images of a data set from disk, of every kind that data sets store. Damaged ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.metres import metres
from spda_sam_core.picture_file import read_pixels
from spda_sam_core.settings import settings

DepthKind = Literal["millimetres", "disparity", "relative"]
Near = Literal["bright", "dark"]


@settings
class DepthImages:
    """What the numbers in the depth images of a data set mean.

    Attributes:
        kind: "millimetres": 16 bit, 0 unknown. "disparity": 16 bit, 1 + 256 times the pixels of disparity of a stereo
            camera, 0 unknown, as Cityscapes stores it. "relative": 8 or 16 bit, of unknown scale and offset.
        near: what near places are in relative depth images.
        focal_px: focal length in pixels of the camera that disparity belongs to.
        baseline_m: distance in metres between the two eyes of that camera.

    Raises:
        ValueError: an unknown kind, or values that this kind needs or does not have.
    """

    kind: DepthKind
    near: Near | None = None
    focal_px: float | None = None
    baseline_m: float | None = None

    def __post_init__(self) -> None:
        if (self.kind == "relative") != (self.near is not None):
            raise ValueError(
                f"depth kind '{self.kind}' with near '{self.near}': relative depth needs near: bright or near: dark, "
                "the other kinds have none"
            )
        calibrated = all(value is not None and value > 0 for value in (self.focal_px, self.baseline_m))
        if (self.kind == "disparity") != calibrated:
            raise ValueError(
                f"depth kind '{self.kind}' with focal_px {self.focal_px} and baseline_m {self.baseline_m}: disparity "
                "needs both, above 0, the other kinds have neither"
            )


MILLIMETRES = DepthImages("millimetres")


def inside(folder: Path, name: str) -> Path:
    """The path of `name` below `folder`.

    Raises:
        ValueError: the name leads out of the folder. A link inside the folder may: its owner put it there.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ValueError(f"'{name}' leads out of {folder}: give a name relative to that folder, without '..'")
    return folder / path


def depth_file(folder: Path | None, image: Mapping[str, Any]) -> Path | None:
    """The depth image of a picture, None where there is none.

    Args:
        folder: of the depth images, None: there are none.
        image: the picture's entry in the COCO file: `depth_file_name`, or else `file_name` ending in .png.

    Raises:
        ValueError: the name leads out of the folder.
    """
    if folder is None:
        return None
    own = image.get("depth_file_name")
    path = inside(folder, str(own)) if own is not None else inside(folder, image["file_name"]).with_suffix(".png")
    return path if path.exists() else None


def read_depth_m(path: Path, size_hw: tuple[int, int], images: DepthImages) -> NDArray[np.float32]:
    """Read metric depth, of kind "millimetres" or "disparity".

    Returns:
        (H, W) float32 metres, NaN is unknown.

    Raises:
        FileNotFoundError: no such file, or no picture.
        ValueError: another size or type, or cut off.
    """
    stored = read_pixels(path)
    if stored.dtype != np.uint16 or stored.shape != size_hw:
        raise ValueError(
            f"{path}: {stored.dtype} {stored.shape}, expected a uint16 PNG in {images.kind} of size {size_hw}"
        )
    if images.kind == "millimetres":
        return metres(stored)
    assert images.focal_px is not None
    assert images.baseline_m is not None
    disparity_px = (stored.astype(np.float32) - 1) / 256  # -1/256 where unknown
    focal_times_baseline = np.float32(images.focal_px * images.baseline_m)
    return focal_times_baseline / np.where(disparity_px > 0, disparity_px, np.float32(np.nan))


def read_relative_inverse_depth(path: Path, size_hw: tuple[int, int], images: DepthImages) -> NDArray[np.float32]:
    """Read depth of kind "relative".

    Returns:
        (H, W) float32, larger is nearer, of unknown scale and offset.

    Raises:
        FileNotFoundError: no such file, or no picture.
        ValueError: another size or type, colours, or cut off.
    """
    stored = read_pixels(path)
    if stored.ndim == 3 and (stored[..., :3] == stored[..., :1]).all():  # grey, saved as colour
        stored = stored[..., 0]
    if stored.dtype not in (np.uint8, np.uint16) or stored.shape != size_hw:
        raise ValueError(
            f"{path}: {stored.dtype} {stored.shape}, expected a grey PNG of 8 or 16 bit and size {size_hw}"
        )
    highest = np.iinfo(stored.dtype).max
    return (stored if images.near == "bright" else highest - stored).astype(np.float32)
