"""Doubles are taken out inside the network, with static shapes and plain operators: before they cost anything.

Non-maximum suppression as a fixed point (Cluster-NMS, Zheng et al., IEEE Trans. Cybernetics 2022): a candidate goes
if a better one that stays overlaps it. Each round mends what the round before got wrong further down; a few are exact
but for long chains.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 4
BOX_IOU = 0.6
"""Of two proposals whose boxes overlap more than this the weaker one is not decoded."""
MASK_IOU = 0.8
"""Of two masks of pass 1 that overlap more than this the weaker one is not decoded again."""
POOL = 4
"""So many times K proposals are compared."""


def best_unique(scores: Tensor, boxes_xyxy: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best proposals without doubles.

    Args:
        scores: (B, N) in [0, 1].
        boxes_xyxy: (B, N, 4).
        k: how many.

    Returns:
        Indices (B, k), best first, and whether each is unique (B, k) bool: where fewer than k are, doubles fill up.
    """
    pool = min(POOL * k, scores.shape[1])
    values, index = scores.topk(pool, dim=1)
    boxes = boxes_xyxy.gather(1, index[..., None].expand(-1, -1, 4))
    order, unique = _first_unique(values, box_overlaps(boxes) > BOX_IOU, k)
    return index.gather(1, order), unique


def best_unique_masks(scores: Tensor, mask_logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of P masks without doubles, as `best_unique`.

    Args:
        scores: (B, P).
        mask_logits: (B, P, h, h), positive inside.
        k: how many, at most P.
    """
    values, index = scores.topk(scores.shape[1], dim=1)
    drawn = (mask_logits.flatten(2) > 0).to(torch.float32)
    overlap = mask_overlaps(drawn.gather(1, index[..., None].expand_as(drawn)))
    order, unique = _first_unique(values, overlap > MASK_IOU, k)
    return index.gather(1, order), unique


def _first_unique(scores: Tensor, double: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of (B, M) candidates, best first, the first k that are no (B, M, M) doubles of one that stays."""
    staying = stays(double)
    order = (scores + 2 * (staying - 1)).topk(k, dim=1).indices  # those that go come last
    return order, staying.gather(1, order) > 0.5


def stays(double: Tensor) -> Tensor:
    """(B, M, M) bool, candidates best first, whether two are doubles, to (B, M) float32: 1 stays, 0 goes."""
    m = double.shape[-1]
    rank = torch.arange(m, device=double.device)
    beaten_by = (double & (rank[None, :] < rank[:, None])).to(torch.float32)  # (B, M, M), column beats row
    staying = torch.ones_like(beaten_by[..., :1])
    for _ in range(ROUNDS):
        staying = ((beaten_by @ staying) < 0.5).to(torch.float32)
    return staying[..., 0]


def box_overlaps(boxes_xyxy: Tensor) -> Tensor:
    """IoU (B, M, M) of each of (B, M, 4) boxes with each."""
    low, high = boxes_xyxy.float().chunk(2, dim=2)
    sides = (torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    own = (high - low).clamp(min=0)
    areas = own[..., 0] * own[..., 1]
    return shared / (areas[:, :, None] + areas[:, None] - shared).clamp(min=1e-6)


def mask_overlaps(drawn: Tensor) -> Tensor:
    """IoU (B, M, M) of each of (B, M, h*w) float32 masks of 0 and 1 with each."""
    with torch.autocast(drawn.device.type, enabled=False):  # bfloat16 counts to 256
        shared = drawn @ drawn.transpose(1, 2)
    areas = drawn.sum(dim=2)
    return shared / (areas[:, :, None] + areas[:, None] - shared).clamp(min=1)
