"""Which places answer for which instance: task-aligned, one-to-many and one-to-one.

Task alignment as in TOOD (Feng et al., ICCV 2021), with the consistent one-to-one twin of YOLOv10 (Wang et al.,
NeurIPS 2024). A place that lies on the instance's mask counts more than one that only lies in its box: hull and growth
fill the boxes of all that sits on them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

CLASS_POWER, IOU_POWER = 0.5, 4.0
OFF_MASK = 0.1
"""Weight of a place in the box but not on the mask."""


class Assignment(NamedTuple):
    """Pairs of place and instance of one picture.

    Attributes:
        places: (A,) int64.
        instances: (A,) int64.
        quality: (A,) float32 in [0, 1], the score to aim for.
    """

    places: Tensor
    instances: Tensor
    quality: Tensor


@torch.no_grad()
def assign(
    class_logits: Tensor,
    boxes_xyxy: Tensor,
    centres: Tensor,
    on_mask: Tensor,
    true_boxes_xyxy: Tensor,
    true_classes: Tensor,
    *,
    per_instance: int,
) -> Assignment:
    """Assign the best places of one picture.

    Args:
        class_logits: (N, C).
        boxes_xyxy: (N, 4) predicted, network pixels.
        centres: (N, 2) of the places, network pixels.
        on_mask: (M, N) bool, the place lies on the instance's mask.
        true_boxes_xyxy: (M, 4).
        true_classes: (M,).
        per_instance: how many places each instance gets at most; 1 is one-to-one.

    Returns:
        The pairs; no place is in two of them.
    """
    m = len(true_classes)
    if m == 0:
        empty = true_classes.new_zeros(0)
        return Assignment(empty, empty, class_logits.new_zeros(0))
    left_top, right_bottom = true_boxes_xyxy[:, None].chunk(2, dim=2)
    in_box = ((centres > left_top) & (centres < right_bottom)).all(dim=2)  # (M, N)
    # a thing smaller than the grid may hold no centre: then the nearest place stands in
    distance = (centres - true_boxes_xyxy.reshape(m, 2, 2).mean(dim=1)[:, None]).square().sum(dim=2)
    nearest = torch.zeros_like(in_box).scatter_(1, distance.argmin(dim=1, keepdim=True), True)
    prior = torch.where(on_mask, 1.0, OFF_MASK) * (in_box | nearest)
    iou = box_iou(true_boxes_xyxy, boxes_xyxy)  # (M, N)
    probability = class_logits.float().sigmoid()[:, true_classes].T  # (M, N)
    # a floor, so that prior and class decide while no box is right yet
    metric = prior * probability.pow(CLASS_POWER) * (iou.pow(IOU_POWER) + 1e-4)
    count = min(per_instance, metric.shape[1])
    top = metric.topk(count, dim=1).indices
    chosen = torch.zeros_like(in_box).scatter_(1, top, True) & (metric > 0)
    # a place wanted by several goes to the one that fits it best
    owner = torch.where(chosen, metric, -1.0).argmax(dim=0)
    chosen &= torch.arange(m, device=owner.device)[:, None] == owner
    instances, places = chosen.nonzero(as_tuple=True)
    best_metric = torch.where(chosen, metric, 0).amax(dim=1).clamp(min=1e-9)
    best_iou = torch.where(chosen, iou, 0).amax(dim=1)
    quality = (metric[instances, places] / best_metric[instances] * best_iou[instances]).clamp(0, 1)
    return Assignment(places, instances, quality)
