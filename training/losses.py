"""What training minimises: classes and boxes of the places, masks and predicted IoU of both decoder passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from spda_sam_core.hierarchical_encoder import conv_norm_act
from spda_sam_core.network import SpdaSamNetwork
from spda_sam_core.semantic_prompts import STRIDES, Proposals, best_places, place_centres
from training.assignment import Assignment, assign

PLACES_PER_INSTANCE = 8
"""Of the one-to-many assignment."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the total."""

    classes: float
    classes_one_to_many: float
    boxes: float
    mask_bce: float
    mask_dice: float
    iou: float
    classes_refined: float = 0.0


class OneToManyHead(nn.Module):
    """Second class head, for training only: many places per instance teach the features faster than one."""

    def __init__(self, model: SpdaSamNetwork) -> None:
        super().__init__()
        config = model.config
        self.classes = nn.Sequential(
            conv_norm_act(config.width, config.width // 2, kernel=1),
            nn.Conv2d(config.width // 2, len(config.class_names), 1),
        )
        nn.init.constant_(self.classes[-1].bias, -4.6)  # as in ProposalHead

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, D) of the places to (B, N, C) logits."""
        return self.classes(features.transpose(1, 2)[..., None]).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Targets:
    """Labels of a batch of B pictures, one entry each.

    Attributes:
        masks: (M, S, S) bool.
        boxes_xyxy: (M, 4) float32 network pixels.
        class_ids: (M,) int64.
    """

    masks: list[Tensor]
    boxes_xyxy: list[Tensor]
    class_ids: list[Tensor]


def training_losses(
    model: SpdaSamNetwork,
    one_to_many: OneToManyHead,
    image: Tensor,
    inverse_depth: Tensor,
    depth_valid: Tensor,
    targets: Targets,
    *,
    decoded: int,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """One forward pass with all losses.

    Args:
        model: in training mode.
        one_to_many: its training head.
        image: (B, 3, S, S).
        inverse_depth: (B, 1, S, S).
        depth_valid: (B, 1, S, S).
        targets: what is in the pictures.
        decoded: P, places per picture whose masks are decoded; the matched ones first.
        weights: of the terms.

    Returns:
        The terms, unweighted, and `total`.
    """
    fused = model.encode(image, inverse_depth, depth_valid)
    pyramid = model.pyramid(fused)
    proposals = model.proposal_head(pyramid)
    many_logits = one_to_many(proposals.features)
    one, many = assign_batch(proposals, many_logits, targets, model.config.input_size)
    index, owners = choose_decoded(one, many, best_places(proposals.class_logits, decoded))
    masks, ious, evidence = model.segment(fused, pyramid, proposals.pick(index))
    losses = {
        "classes": class_loss(proposals.class_logits, one, targets),
        "classes_one_to_many": class_loss(many_logits, many, targets),
        "boxes": 0.5 * (box_loss(proposals, one, targets) + box_loss(proposals, many, targets)),
        **mask_losses(masks, ious, owners, targets),
        "classes_refined": refined_class_loss(evidence, owners, targets),
    }
    losses["total"] = sum(losses[name] * getattr(weights, name) for name in vars(weights))  # type: ignore[assignment]
    return losses


def assign_batch(
    proposals: Proposals, many_logits: Tensor, targets: Targets, size: int
) -> tuple[list[Assignment], list[Assignment]]:
    """One-to-one and one-to-many assignment of every picture of the batch."""
    device = many_logits.device
    centres = torch.cat([place_centres(size // stride, stride, device) for stride in STRIDES])  # (N, 2)
    column, row = centres.long().unbind(dim=1)
    one, many = [], []
    for i, (boxes, classes) in enumerate(zip(targets.boxes_xyxy, targets.class_ids, strict=True)):
        common = (proposals.boxes_xyxy[i], centres, targets.masks[i][:, row, column], boxes, classes)
        one.append(assign(proposals.class_logits[i], *common, per_instance=1))
        many.append(assign(many_logits[i], *common, per_instance=PLACES_PER_INSTANCE))
    return one, many


def choose_decoded(one: list[Assignment], many: list[Assignment], others: Tensor) -> tuple[Tensor, Tensor]:
    """Places whose masks are decoded: one-to-one matches, then one-to-many ones, each in random order.

    Args:
        one: matches of each picture.
        many: the same, one-to-many.
        others: (B, P) places for pictures with too few matches.

    Returns:
        Places (B, P) and the instances they stand for (B, P), -1 for `others`.
    """
    index, decoded = others.clone(), others.shape[1]
    owners = torch.full_like(index, -1)
    for i, pair in enumerate(zip(one, many, strict=True)):
        shuffled = [torch.randperm(len(a.places)).to(index.device) for a in pair]
        places = torch.cat([a.places[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        instances = torch.cat([a.instances[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        index[i, : len(places)] = places
        owners[i, : len(places)] = instances
    return index, owners


def class_loss(class_logits: Tensor, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Varifocal loss (Zhang et al., CVPR 2021) towards the assignment's quality, per unit of quality in the batch."""
    wanted = torch.zeros_like(class_logits, dtype=torch.float32)  # (B, N, C)
    for i, a in enumerate(assignments):
        wanted[i, a.places, targets.class_ids[i][a.instances]] = a.quality.float()
    logits = class_logits.float()
    # nearly all places show nothing of a class: only those that claim otherwise count
    weight = torch.where(wanted > 0, wanted, 0.75 * logits.detach().sigmoid().square())
    loss = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return loss / wanted.sum().clamp(min=1)


def box_loss(proposals: Proposals, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Generalised IoU loss (Rezatofighi et al., CVPR 2019), weighted by quality with a floor to begin from."""
    predicted = torch.cat([proposals.boxes_xyxy[i, a.places] for i, a in enumerate(assignments)])
    true = torch.cat([boxes[a.instances] for boxes, a in zip(targets.boxes_xyxy, assignments, strict=True)])
    weight = torch.cat([a.quality for a in assignments]).float().clamp(min=0.1)
    loss = generalized_box_iou_loss(predicted.float(), true, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def mask_losses(
    masks: tuple[Tensor, ...], ious: tuple[Tensor, ...], owners: Tensor, targets: Targets
) -> dict[str, Tensor]:
    """Cross-entropy, dice and predicted IoU, each the mean over decoded masks and passes.

    Args:
        masks: logits (B, P, h, h) of each pass.
        ious: predicted IoU (B, P) of each pass.
        owners: (B, P) instance of each mask, -1 for none.
        targets: what is in the pictures.
    """
    used = owners >= 0
    side = masks[0].shape[-1]
    truth = [
        # the share of each cell that the instance covers: the edge lies where a bilinear enlargement puts it
        F.adaptive_avg_pool2d(targets.masks[i].float(), side)[owners[i, used[i]]]
        for i in range(len(owners))
    ]
    wanted = torch.cat(truth)  # (A, h, h)
    count = max(1, len(wanted))
    terms = {"mask_bce": masks[0].new_zeros((), dtype=torch.float32)}
    terms |= {"mask_dice": terms["mask_bce"], "iou": terms["mask_bce"]}
    for logits, predicted_iou in zip(masks, ious, strict=True):
        chosen = logits[used].float()
        bce = F.binary_cross_entropy_with_logits(chosen, wanted, reduction="none").mean(dim=(1, 2))
        probability = chosen.sigmoid()
        shared = (probability * wanted).sum(dim=(1, 2))
        dice = 1 - (2 * shared + 1) / (probability.square().sum(dim=(1, 2)) + wanted.square().sum(dim=(1, 2)) + 1)
        hard, true = chosen > 0, wanted > 0.5
        iou = (hard & true).sum(dim=(1, 2)) / (hard | true).sum(dim=(1, 2)).clamp(min=1)
        terms["mask_bce"] = terms["mask_bce"] + bce.sum() / (count * len(masks))
        terms["mask_dice"] = terms["mask_dice"] + dice.sum() / (count * len(masks))
        error = (predicted_iou[used].float() - iou).square().sum()
        terms["iou"] = terms["iou"] + error / (count * len(masks))
    return terms


def refined_class_loss(evidence: tuple[Tensor, ...], owners: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy of the class of each decoded instance, the mean over instances and passes; 0 without passes."""
    used = owners >= 0
    wanted = torch.cat([ids[owners[i, used[i]]] for i, ids in enumerate(targets.class_ids)])  # (A,)
    losses = [F.cross_entropy(logits[used].float(), wanted, reduction="sum") for logits in evidence]
    return sum(losses, torch.zeros((), device=owners.device)) / max(1, len(wanted) * len(losses))
