"""What training minimises: classes and boxes of the places, masks and predicted IoU of both decoder passes.

Every loss is a mean over the pictures of all processes: with W of them each returns its pictures' part times W, so that
the mean over processes, which `DistributedDataParallel` takes of gradients, is that of one process with all pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from spda_sam_core.network.encoders.hierarchical import conv_norm_act
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.network.semantic_prompts import STRIDES, Proposals, best_places, place_centres
from spda_sam_core.settings import settings
from training.learning.assignment import Assignment, assign
from training.learning.distributed import gather, process_count

PLACES_PER_INSTANCE = 8
"""Of the one-to-many assignment."""


@settings
class LossWeights:
    """Weight of each term in the total."""

    classes: float = 1.0
    classes_one_to_many: float = 1.0
    boxes: float = 2.0
    mask_bce: float = 2.0
    mask_dice: float = 2.0
    iou: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if weight < 0:
                raise ValueError(f"{name} {weight} must be at least 0")


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


class TrainingLosses(nn.Module):
    """One forward pass with all losses; a module, for `DistributedDataParallel` to wrap.

    Args:
        model: in training mode.
        one_to_many: its training head.
        decoded: P, places per picture whose masks are decoded; the matched ones first.
        weights: of the terms.
    """

    def __init__(
        self, model: SpdaSamNetwork, one_to_many: OneToManyHead, *, decoded: int, weights: LossWeights
    ) -> None:
        super().__init__()
        self.model, self.one_to_many = model, one_to_many
        self.decoded, self.weights = decoded, weights

    def forward(
        self,
        image: Tensor,
        inverse_depth: Tensor,
        depth_valid: Tensor,
        targets: Targets,
        chance: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            image: (B, 3, S, S).
            inverse_depth: (B, 1, S, S).
            depth_valid: (B, 1, S, S).
            targets: what is in the pictures.
            chance: one per picture, so that it does not matter which process has which other pictures.

        Returns:
            The terms, unweighted, and `total`.
        """
        model = self.model
        fused = model.encode(image, inverse_depth, depth_valid)
        pyramid = model.pyramid(fused)
        proposals = model.proposal_head(pyramid)
        many_logits = self.one_to_many(proposals.features)
        one, many = assign_batch(proposals, many_logits, targets, model.config.input_size)
        index, owners = choose_decoded(one, many, best_places(proposals.class_logits, self.decoded), chance)
        masks, ious = model.segment(fused, pyramid, proposals.pick(index))
        losses = {
            "classes": class_loss(proposals.class_logits, one, targets),
            "classes_one_to_many": class_loss(many_logits, many, targets),
            "boxes": 0.5 * (box_loss(proposals, one, targets) + box_loss(proposals, many, targets)),
            **mask_losses(masks, ious, owners, targets),
        }
        weighted = [losses[name] * getattr(self.weights, name) for name in vars(self.weights)]
        return {**losses, "total": sum(weighted)}  # type: ignore[dict-item]


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


def choose_decoded(
    one: list[Assignment], many: list[Assignment], best: Tensor, chance: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Places whose masks are decoded: all one-to-one matches, then as many one-to-many ones as of the best places.

    Args:
        one: matches of each picture.
        many: the same, one-to-many.
        best: (B, P) the places that would be decoded when running, best first.
        chance: one per picture.

    Returns:
        Places (B, P) and the instances they stand for (B, P), -1 for places that were not matched.
    """
    index, decoded = best.clone(), best.shape[1]
    owners = torch.full_like(index, -1)
    for i, (*pair, generator) in enumerate(zip(one, many, chance, strict=True)):
        shuffled = [torch.randperm(len(a.places), generator=generator).to(index.device) for a in pair]
        room = (decoded - len(shuffled[0])) // 2
        shuffled[1] = shuffled[1][: max(0, room)]
        places = torch.cat([a.places[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        instances = torch.cat([a.instances[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        index[i] = torch.cat([places, best[i]])[:decoded]
        owners[i, : len(places)] = instances
    return index, owners


def normaliser(own: Tensor) -> Tensor:
    """What the part of this process is divided by where a loss is per unit of something in the batch.

    Args:
        own: how much of it there is in the pictures of this process, a number.

    Returns:
        How much there is in those of all W processes, at least 1, divided by W.
    """
    return gather(own).sum(dim=0).clamp(min=1) / process_count()


def class_loss(class_logits: Tensor, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Varifocal loss (Zhang et al., CVPR 2021) towards the assignment's quality, per unit of quality in the batch."""
    wanted = torch.zeros_like(class_logits, dtype=torch.float32)  # (B, N, C)
    for i, a in enumerate(assignments):
        wanted[i, a.places, targets.class_ids[i][a.instances]] = a.quality.float()
    logits = class_logits.float()
    # nearly all places show nothing of a class: only those that claim otherwise count
    weight = torch.where(wanted > 0, wanted, 0.75 * logits.detach().sigmoid().square())
    loss = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return loss / normaliser(wanted.sum())


def box_loss(proposals: Proposals, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Generalised IoU loss (Rezatofighi et al., CVPR 2019), weighted by quality with a floor to begin from."""
    predicted = torch.cat([proposals.boxes_xyxy[i, a.places] for i, a in enumerate(assignments)])
    true = torch.cat([boxes[a.instances] for boxes, a in zip(targets.boxes_xyxy, assignments, strict=True)])
    weight = torch.cat([a.quality for a in assignments]).float().clamp(min=0.1)
    loss = generalized_box_iou_loss(predicted.float(), true, reduction="none")
    return (loss * weight).sum() / normaliser(weight.sum())


def mask_losses(
    masks: tuple[Tensor, ...], ious: tuple[Tensor, ...], owners: Tensor, targets: Targets
) -> dict[str, Tensor]:
    """Cross-entropy and dice of the masks that stand for an instance, and predicted IoU of all.

    Each is the mean over masks and passes. Masks of places that were not matched count with the IoU that they have
    with any instance, so that a mask of nothing learns to say so (as Mask Scoring R-CNN: Huang et al., CVPR 2019).

    Args:
        masks: logits (B, P, h, h) of each pass.
        ious: predicted IoU (B, P) of each pass.
        owners: (B, P) instance of each mask, -1 for none.
        targets: what is in the pictures.
    """
    used = owners >= 0
    # the share of each cell that the instance covers: the edge lies where a bilinear enlargement puts it
    truth = [F.adaptive_avg_pool2d(each.float(), masks[0].shape[-1]) for each in targets.masks]  # (M, h, h)
    wanted = torch.cat([t[owners[i, used[i]]] for i, t in enumerate(truth)])  # (A, h, h)
    count = normaliser(used.sum().float())
    terms = {"mask_bce": masks[0].new_zeros((), dtype=torch.float32)}
    terms |= {"mask_dice": terms["mask_bce"], "iou": terms["mask_bce"]}
    for logits, predicted_iou in zip(masks, ious, strict=True):
        chosen = logits[used].float()
        bce = F.binary_cross_entropy_with_logits(chosen, wanted, reduction="none").mean(dim=(1, 2))
        probability = chosen.sigmoid()
        shared = (probability * wanted).sum(dim=(1, 2))
        dice = 1 - (2 * shared + 1) / (probability.square().sum(dim=(1, 2)) + wanted.square().sum(dim=(1, 2)) + 1)
        terms["mask_bce"] = terms["mask_bce"] + bce.sum() / (count * len(masks))
        terms["mask_dice"] = terms["mask_dice"] + dice.sum() / (count * len(masks))
        iou = torch.stack([true_iou(logits[i], t, owners[i]) for i, t in enumerate(truth)])
        terms["iou"] = terms["iou"] + F.mse_loss(predicted_iou.float(), iou) / len(masks)
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
