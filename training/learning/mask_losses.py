"""What masks and their predicted IoU learn from, in both decoder passes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.learning.distributed import normaliser

OUTSIDE = 0.25
"""Weight of all that lies outside the enlarged box, beside 1 for all that lies in it."""
MARGIN = 0.25
"""The box is enlarged by this share of its size on each side, and by two cells."""


def mask_losses(
    masks: tuple[Tensor, ...],
    ious: tuple[Tensor, ...],
    owners: Tensor,
    true_masks: list[Tensor],
    true_boxes_xyxy: list[Tensor],
    complete: Tensor,
) -> dict[str, Tensor]:
    """Cross-entropy and dice of the masks that stand for an instance, and predicted IoU of all.

    Each is the mean over masks and passes. Masks of places that were not matched count with the IoU that they have
    with any instance, so that a mask of nothing learns to say so (as Mask Scoring R-CNN: Huang et al., CVPR 2019). In a
    picture that is not complete they teach nothing: what they show may be a thing that nobody labelled.

    Args:
        masks: logits (B, P, h, h) of each pass.
        ious: predicted IoU (B, P) of each pass.
        owners: (B, P) instance of each mask, -1 for none.
        true_masks: (M, S, S) bool of each picture.
        true_boxes_xyxy: (M, 4) of each picture, network pixels.
        complete: (B,) bool, whether every thing in the picture is labelled.
    """
    used = owners >= 0
    # the share of each cell that the instance covers: the edge lies where a bilinear enlargement puts it
    truth = [F.adaptive_avg_pool2d(each.float(), masks[0].shape[-1]) for each in true_masks]  # (M, h, h)
    wanted = torch.cat([t[owners[i, used[i]]] for i, t in enumerate(truth)])  # (A, h, h)
    pixel = true_masks[0].shape[-1] / masks[0].shape[-1]
    boxes = torch.cat([b[owners[i, used[i]]] for i, b in enumerate(true_boxes_xyxy)]) / pixel  # (A, 4) cells
    weight = pixel_weights(boxes, masks[0].shape[-1])
    count = normaliser(used.sum().float())
    judged = (used | complete[:, None]).float()
    n_judged = normaliser(judged.sum())
    terms = {"mask_bce": masks[0].new_zeros((), dtype=torch.float32)}
    terms |= {"mask_dice": terms["mask_bce"], "iou": terms["mask_bce"]}
    for logits, predicted_iou in zip(masks, ious, strict=True):
        chosen = logits[used].float()
        bce = F.binary_cross_entropy_with_logits(chosen, wanted, weight, reduction="none").sum(dim=(1, 2))
        probability = chosen.sigmoid()
        shared = (probability * wanted).sum(dim=(1, 2))
        dice = 1 - (2 * shared + 1) / (probability.square().sum(dim=(1, 2)) + wanted.square().sum(dim=(1, 2)) + 1)
        terms["mask_bce"] = terms["mask_bce"] + bce.sum() / (count * len(masks))
        terms["mask_dice"] = terms["mask_dice"] + dice.sum() / (count * len(masks))
        iou = torch.stack([true_iou(logits[i], t, owners[i]) for i, t in enumerate(truth)])
        wrong = (predicted_iou.float() - iou).square() * judged
        terms["iou"] = terms["iou"] + wrong.sum() / (n_judged * len(masks))
    return terms


def true_iou(mask_logits: Tensor, truth: Tensor, owners: Tensor) -> Tensor:
    """IoU of each mask with its instance or, where it stands for none, with the instance that it meets best.

    Args:
        mask_logits: (P, h, h).
        truth: (M, h, h) share of each cell that the instance covers.
        owners: (P,) instance of each mask, -1 for none.

    Returns:
        (P,) float32, 0 where the picture has no instance.
    """
    if not len(truth):
        return torch.zeros(len(mask_logits), device=mask_logits.device)
    drawn, true = ((x.flatten(1) > limit).float() for x, limit in ((mask_logits.detach(), 0), (truth, 0.5)))
    shared = drawn @ true.T  # (P, M)
    iou = shared / (drawn.sum(dim=1, keepdim=True) + true.sum(dim=1) - shared).clamp(min=1)
    own = iou.gather(1, owners.clamp(min=0)[:, None])[:, 0]
    return torch.where(owners >= 0, own, iou.amax(dim=1))


def pixel_weights(boxes: Tensor, side: int) -> Tensor:
    """How much each cell of a mask counts: small things would drown in the mean over the whole picture.

    Args:
        boxes: (A, 4) xyxy of the instances, in cells.
        side: h.

    Returns:
        (A, h, h) float32, each summing to 1.
    """
    margin = (boxes[:, 2:] - boxes[:, :2]) * MARGIN + 2
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    cells = torch.arange(side, device=boxes.device) + 0.5
    columns, rows = ((cells > low[:, k, None]) & (cells < high[:, k, None]) for k in (0, 1))  # (A, h) each
    inside = (rows[:, :, None] & columns[:, None]).float()
    outside = 1 - inside
    weight = inside / inside.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    weight = weight + OUTSIDE * outside / outside.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return weight / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
