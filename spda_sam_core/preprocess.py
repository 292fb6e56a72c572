"""From a camera image and its depth to the input of the network. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import NormalisedDepth
from spda_sam_core.resize import resize

IMAGE_MEAN: NDArray[np.float32] = np.array([123.675, 116.28, 103.53], np.float32)
"""Mean of ImageNet, R G B in 0..255, as SAM uses it."""
IMAGE_STD: NDArray[np.float32] = np.array([58.395, 57.12, 57.375], np.float32)
"""Standard deviation of ImageNet, R G B in 0..255."""
PADDING_RGB: NDArray[np.uint8] = np.rint(IMAGE_MEAN).astype(np.uint8)
"""What stands beside the image in the network's input: nearly nothing once the mean is taken out."""


@dataclass(frozen=True)
class Letterbox:
    """SAM's way into a square: the longest side becomes `size`, padding is added right and below.

    Attributes:
        height: height of the image in pixels.
        width: width of the image in pixels.
        size: side of the network's square input in pixels.

    Raises:
        ValueError: an image or a square without pixels.
    """

    height: int
    width: int
    size: int

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.size) < 1:
            raise ValueError(
                f"cannot fit an image of {self.height}x{self.width} pixels (height x width) into a square of "
                f"{self.size}: all must be at least 1"
            )

    @property
    def resized_hw(self) -> tuple[int, int]:
        """Height and width that the image fills inside the square."""
        scale = self.size / max(self.height, self.width)
        # rounds as segment_anything.utils.transforms.ResizeLongestSide does, but never to nothing
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Network pixels per image pixel; the two differ by the rounding of `resized_hw`."""
        height, width = self.resized_hw
        return width / self.width, height / self.height

    def boxes_to_network(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 4) boxes in image pixels to network pixels."""
        boxes: NDArray[np.float32] = (boxes_xyxy * np.array(self.scale_xy * 2)).astype(np.float32)
        return boxes

    def boxes_to_image(self, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 4) boxes in network pixels to image pixels."""
        boxes: NDArray[np.float32] = (boxes_xyxy / np.array(self.scale_xy * 2)).astype(np.float32)
        return boxes

    def place(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put (h, w) or (h, w, C) of `resized_hw` into a zero square (size, size[, C])."""
        height, width = self.resized_hw
        square = np.zeros((self.size, self.size, *image.shape[2:]), np.float32)
        square[:height, :width] = image
        return square


def check_rgb(rgb: NDArray[np.uint8]) -> None:
    """Refuse what is no (H, W, 3) uint8 image. That R and B are swapped cannot be seen in an array.

    Raises:
        TypeError: not a NumPy array, or not uint8.
        ValueError: another shape, or no pixels.
    """
    if not isinstance(rgb, np.ndarray):
        raise TypeError(
            f"rgb is a {type(rgb).__name__}: expected a NumPy array; of a PIL image take "
            'np.asarray(image.convert("RGB")); cv2.imread gives None where it could not read the file'
        )
    if rgb.dtype != np.uint8:
        fix = {"uint16": ": divide by 256, 12-bit pictures by 16", "bool": ""}.get(str(rgb.dtype), ": scale to 0..255")
        raise TypeError(f"rgb is {rgb.dtype}: expected uint8 in 0..255{fix} and use astype(np.uint8)")
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb has shape {rgb.shape}: expected (H, W, 3)")
    if rgb.size == 0:
        raise ValueError(f"rgb has shape {rgb.shape}: an image needs at least one pixel")


def check_depth(depth_m: NDArray[np.float32], size_hw: tuple[int, int]) -> None:
    """Refuse what is no depth in metres of an image of this size.

    Raises:
        TypeError: not a NumPy array, or integers, whose unit would have to be guessed.
        ValueError: another size.
    """
    if not isinstance(depth_m, np.ndarray) or not np.issubdtype(depth_m.dtype, np.floating):
        kind = depth_m.dtype if isinstance(depth_m, np.ndarray) else type(depth_m).__name__
        raise TypeError(
            f"depth_m is {kind}: expected a float32 array in metres; of uint16 millimetres (16UC1, REP-118) "
            "take depth.astype(np.float32) / 1000"
        )
    if depth_m.shape != size_hw:
        raise ValueError(
            f"depth has {depth_m.shape} pixels, the image {size_hw} (height, width): register "
            "depth to the image first (depth_image_proc/register)"
        )


class Prepared(NamedTuple):
    """The network's input for one image.

    Attributes:
        image: (1, S, S, 3) uint8, R G B, `PADDING_RGB` in the padding.
        inverse_depth: (1, 1, S, S) float32 in [0, 1], 0 where unknown.
        depth_valid: (1, 1, S, S) float32, 1 where depth is known, else 0.
    """

    image: NDArray[np.uint8]
    inverse_depth: NDArray[np.float32]
    depth_valid: NDArray[np.float32]


def prepare(rgb: NDArray[np.uint8], depth: NormalisedDepth | None, size: int) -> Prepared:
    """Letterbox an image and its depth; the network normalises the image itself.

    Args:
        rgb: (H, W, 3) uint8, R G B.
        depth: normalised depth of the size that the image has in the network's input, `Letterbox.resized_hw`; None
            where there is none.
        size: side S of the network's input in pixels.

    Returns:
        The input; without depth its last two are zero everywhere.

    Raises:
        TypeError: `rgb` is not uint8.
        ValueError: `rgb` is not (H, W, 3) or has no pixels, or depth has another size.
    """
    check_rgb(rgb)
    box = Letterbox(rgb.shape[0], rgb.shape[1], size)
    height, width = box.resized_hw
    image = np.empty((1, size, size, 3), np.uint8)
    image[0, :height, :width] = resize(rgb, box.resized_hw)
    image[0, height:], image[0, :height, width:] = PADDING_RGB, PADDING_RGB
    if depth is None:
        nothing = np.zeros((1, 1, size, size), np.float32)
        return Prepared(image, nothing, nothing)
    if depth.valid.shape != box.resized_hw:
        raise ValueError(
            f"depth has {depth.valid.shape} pixels, the image in the network's input {box.resized_hw} (height, "
            "width): normalise it to Letterbox.resized_hw"
        )
    inverse_depth, depth_valid = box.place(depth.inverse_depth), box.place(depth.valid.astype(np.float32))
    return Prepared(image, inverse_depth[None, None], depth_valid[None, None])
