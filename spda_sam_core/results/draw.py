"""Pictures for people: instances over the image, depth in colours, contact sheets. RGB in and out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.depth.normalisation import NormalisedDepth
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.text import text_size, with_question_marks, writable, write_text

_PALETTE = (
    (255, 205, 40), (170, 110, 255), (225, 75, 25), (255, 70, 170), (60, 190, 75), (0, 225, 225),
    (245, 245, 245), (255, 160, 130), (190, 240, 70), (90, 130, 200), (235, 140, 0), (150, 90, 60),
)  # fmt: skip
_TINT = 0.45
_GAP_PX = 4
_TITLE_PX = 24
_BACKGROUND = 24


def class_colour(class_id: int) -> tuple[int, int, int]:
    """The R, G, B in 0..255 of a class: the same in every picture."""
    return _PALETTE[class_id % len(_PALETTE)]


def draw_instances(rgb: NDArray[np.uint8], instances: Instances) -> NDArray[np.uint8]:
    """Tint each mask in the colour of its class, draw its contour, and write class and score beside it.

    A class whose name no font can write is shown by its id, as "class 3".

    Args:
        rgb: (H, W, 3) uint8; left as it is.
        instances: found in that image. Where masks overlap the higher score lies on top.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: image and masks differ in size.
    """
    if rgb.shape != (instances.height, instances.width, 3):
        raise ValueError(f"rgb has shape {rgb.shape}, but the masks need {(instances.height, instances.width, 3)}")
    label = instances.to_label_image()
    colours = [class_colour(c) for c in instances.class_ids.tolist()]
    tint = np.array([(0, 0, 0), *colours], np.float32)[label]
    strength = np.where(label > 0, np.float32(_TINT), np.float32(0))[..., None]
    picture: NDArray[np.uint8] = (rgb * (1 - strength) + tint * strength).astype(np.uint8)

    thick = max(1, round(min(rgb.shape[:2]) / 300))
    for k in range(len(instances), 0, -1):
        visible = (label == k).astype(np.uint8)
        contours, _ = cv2.findContours(visible, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, contours, -1, colours[k - 1], thick)
    for k in range(len(instances), 0, -1):
        class_id = int(instances.class_ids[k - 1])
        text = f"{writable(instances.class_names[class_id], f'class {class_id}')} {instances.scores[k - 1]:.2f}"
        x, y = instances.boxes_xyxy[k - 1, :2].astype(int).tolist()
        _write(picture, text, (x, y), colours[k - 1])
    return picture


def colourise_depth(depth: NormalisedDepth) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 R, G, B: red is near, blue is far, black is unknown."""
    near = (depth.inverse_depth * 255).astype(np.uint8)
    colours: NDArray[np.uint8] = cv2.cvtColor(cv2.applyColorMap(near, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colours[~depth.valid] = 0
    return colours


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    columns: int,
    titles: Sequence[str] | None = None,
    *,
    longest_px: int | None = None,
) -> NDArray[np.uint8]:
    """Lay pictures out in rows, left to right.

    Args:
        images: (h, w, 3) uint8 pictures. All cells have the size of the first; others are fitted into it.
        columns: pictures in a row.
        titles: one line above each picture, or none.
        longest_px: cells with a longer side are made smaller; None: the pictures keep their size.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: no pictures, no columns, or another number of titles than pictures.
    """
    if not images or columns < 1:
        raise ValueError(f"{len(images)} images in {columns} columns: at least 1 of each is needed")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images: give one for each")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    if longest_px is not None and longest_px < max(height, width):
        shrunk = longest_px / max(height, width)
        height, width = max(1, round(height * shrunk)), max(1, round(width * shrunk))
    head = _TITLE_PX if titles is not None else 0
    step_y, step_x = height + head + _GAP_PX, width + _GAP_PX
    sheet = np.full((rows * step_y + _GAP_PX, columns * step_x + _GAP_PX, 3), _BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        y, x = _GAP_PX + (i // columns) * step_y, _GAP_PX + (i % columns) * step_x
        if titles is not None:
            bar = sheet[y : y + head, x : x + width]  # a slice, so that a long title ends at its picture
            write_text(bar, with_question_marks(titles[i]), (2, head - 8), 0.5, (235, 235, 235))
        fitted = fit(image, height, width)
        sheet[y + head : y + head + fitted.shape[0], x : x + fitted.shape[1]] = fitted
    return sheet


def fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture so that it just fits into a cell, (H, W, 3) uint8, keeping its proportions."""
    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted: NDArray[np.uint8] = cv2.resize(image, size, interpolation=interpolation)
    return fitted


def _write(picture: NDArray[np.uint8], text: str, corner_xy: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write on a dark plate whose top left lies at `corner_xy`, moved to stay inside the picture."""
    red, green, blue = ((channel + 255) // 2 for channel in colour)
    scale = max(0.35, min(picture.shape[:2]) / 1100)
    width, height, below = text_size(text, scale)
    x = max(0, min(corner_xy[0], picture.shape[1] - width - 4))
    y = max(0, min(corner_xy[1], picture.shape[0] - height - below - 4))
    cv2.rectangle(picture, (x, y), (x + width + 3, y + height + below + 3), (16, 16, 16), -1)
    write_text(picture, text, (x + 2, y + height + 2), scale, (red, green, blue))
