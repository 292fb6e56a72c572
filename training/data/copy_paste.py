"""Copy-paste (Ghiasi et al., CVPR 2021, arXiv 2012.07177): things of one picture, cut out and put into another."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Sample

MOST_PASTED = 4
"""Things that one picture gets at most."""
SIZES = (0.1, 0.6)
"""Longer side of a pasted thing's box, as a share of the picture's longer side; drawn evenly in its logarithm."""
SMALLEST_PX = 16
"""Things of which the donor has fewer pixels on the longer side are left out."""
MOST_ENLARGED = 2.0
"""Beyond it things are blurred and their edges are stairs."""
IN_FRONT = 0.95
"""Depth of the farthest part of a pasted thing, as a share of that of the nearest part of what it covers."""


def paste_things(sample: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """Put some instances of another picture before what a picture shows.

    A thing of any depth looks the same at half the distance if it is half as large, so a pasted thing with metric depth
    is brought before what it covers. Where it has none, or the picture's depth is relative, it gets unknown depth: that
    of what it covers would be wrong.

    Args:
        sample: the picture that gets them.
        donor: the picture that they are cut out of, with the same classes.
        rng: source of all chance.

    Returns:
        The picture with more instances; those that are covered whole are gone.
    """
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in donor.masks]
    usable = [i for i, (_, _, width, height) in enumerate(boxes) if max(width, height) >= SMALLEST_PX]
    if not usable:
        return sample
    count = int(rng.integers(1, min(MOST_PASTED, len(usable)) + 1))
    for i in rng.permutation(usable)[:count].tolist():
        sample = _paste(sample, donor, i, boxes[i], rng)
    return sample


def _paste(sample: Sample, donor: Sample, i: int, box: tuple[int, int, int, int], rng: np.random.Generator) -> Sample:
    """Put instance `i` of the donor, which lies in `box` (x, y, width, height), anywhere into the picture."""
    height, width = sample.rgb.shape[:2]
    low, high = np.log(SIZES)
    longer = float(np.exp(rng.uniform(low, high))) * max(height, width)
    scale = min(longer / max(box[2:]), MOST_ENLARGED, height / box[3], width / box[2])
    size = max(1, int(box[2] * scale)), max(1, int(box[3] * scale))
    mirror = rng.random() < 0.5
    x, y = int(rng.integers(width - size[0] + 1)), int(rng.integers(height - size[1] + 1))
    place = np.s_[y : y + size[1], x : x + size[0]]

    def cut(array: NDArray, interpolation: int) -> NDArray:
        part = array[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
        return cv2.resize(part[:, ::-1] if mirror else part, size, interpolation=interpolation)

    shape = cut(donor.masks[i].astype(np.uint8), cv2.INTER_NEAREST) > 0
    rgb = sample.rgb.copy()
    rgb[place][shape] = cut(donor.rgb, cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)[shape]
    pasted = np.zeros((height, width), np.bool_)
    pasted[place] = shape
    masks = np.concatenate([sample.masks & ~pasted, pasted[None]])
    kept = masks.any(axis=(1, 2))
    depth_m, relative = sample.depth_m, sample.relative_inverse_depth
    if depth_m is not None:
        depth_m = depth_m.copy()
        thing = None if donor.depth_m is None else cut(donor.depth_m, cv2.INTER_NEAREST)
        depth_m[place][shape] = np.nan if thing is None else _before(thing[shape], depth_m[place][shape])
    if relative is not None:
        relative = np.where(pasted, np.float32(np.nan), relative)
    return replace(
        sample,
        rgb=rgb,
        depth_m=depth_m,
        relative_inverse_depth=relative,
        masks=masks[kept],
        class_ids=np.append(sample.class_ids, donor.class_ids[i])[kept],
    )


def _before(thing_m: NDArray[np.float32], covered_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depths of a thing, by one factor nearer than what it covers; as they are where there is nothing to compare."""
    if not (np.isfinite(thing_m).any() and np.isfinite(covered_m).any()):
        return thing_m
    factor = min(1.0, IN_FRONT * float(np.nanmin(covered_m)) / float(np.nanmax(thing_m)))
    return thing_m * np.float32(factor)
