"""What training minimises: classes, boxes and quality of the places, masks of both decoder passes, and depth.

Every loss is a mean over the pictures of all processes: with W of them each returns its pictures' part times W, so that
the mean over processes, which `DistributedDataParallel` takes of gradients, is that of one process with all pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from spda_sam_core.network.layers import separable_conv
from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.network.proposals import STRIDES, Proposals, place_centres
from spda_sam_core.network.suppression import best_unique
from spda_sam_core.settings import settings
from training.learning.assignment import Assignment, assign
from training.learning.depth_losses import depth_loss
from training.learning.distributed import normaliser
from training.learning.mask_losses import mask_losses

PLACES_PER_INSTANCE = 8
"""Of the one-to-many assignment."""
SHOWS_IT = 0.5
"""Box IoU from which on a place shows an instance, matched or not."""


@settings
class LossWeights:
    """Weight of each term in the total."""

    classes: float = 1.0
    classes_one_to_many: float = 1.0
    boxes: float = 2.0
    quality: float = 0.5
    mask_bce: float = 2.0
    mask_dice: float = 2.0
    iou: float = 1.0
    depth: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if weight < 0:
                raise ValueError(f"{name} {weight} must be at least 0")


class OneToManyHead(nn.Module):
    """Second class head, for training only: many places per instance teach the features faster than one."""

    def __init__(self, model: SpdaSamNetwork) -> None:
        super().__init__()
        config = model.config
        self.input_size = config.input_size
        self.classes = nn.Sequential(
            separable_conv(config.width, config.width), nn.Conv2d(config.width, len(config.class_names), 1)
        )
        nn.init.constant_(self.classes[-1].bias, -4.6)  # as in ProposalHead

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, D) of the places to (B, N, C) logits."""
        sides = [self.input_size // stride for stride in STRIDES]
        levels = features.transpose(1, 2).split([side**2 for side in sides], dim=2)
        logits = [
            self.classes(level.unflatten(2, (side, side))).flatten(2) for level, side in zip(levels, sides, strict=True)
        ]
        return torch.cat(logits, dim=2).transpose(1, 2)


@dataclass(frozen=True)
class Targets:
    """Labels of a batch of B pictures, one entry each; depth is stacked.

    Attributes:
        masks: (M, S, S) bool.
        boxes_xyxy: (M, 4) float32 network pixels.
        class_ids: (M,) int64.
        inverse_depth: (1, S, S) float32 in [0, 1], the true one, whatever the network is shown.
        depth_valid: (1, S, S) float32, 1 where it is known.
        labelled: (B, C) bool, the classes that the set of each picture labels; (B, 1) for all or none.
        complete: (B,) bool, whether every thing in the picture is labelled as something.
    """

    masks: list[Tensor]
    boxes_xyxy: list[Tensor]
    class_ids: list[Tensor]
    inverse_depth: Tensor
    depth_valid: Tensor
    labelled: Tensor
    complete: Tensor


class TrainingLosses(nn.Module):
    """One forward pass with all losses; a module, for `DistributedDataParallel` to wrap.

    Args:
        model: in training mode.
        one_to_many: its training head.
        decoded: P, places per picture whose masks are decoded; the matched ones first.
        weights: of the terms.
        catch_all: class of things of which no more is said; None: there is none.
    """

    def __init__(
        self,
        model: SpdaSamNetwork,
        one_to_many: OneToManyHead,
        *,
        decoded: int,
        weights: LossWeights,
        catch_all: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.one_to_many = model, one_to_many
        self.decoded, self.weights, self.catch_all = decoded, weights, catch_all

    def forward(
        self,
        image: Tensor,
        inverse_depth: Tensor,
        depth_valid: Tensor,
        estimate: Tensor,
        targets: Targets,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        Args:
            image: (B, S, S, 3) uint8.
            inverse_depth: (B, 1, S, S), what the network is shown.
            depth_valid: (B, 1, S, S).
            estimate: (B,) 1 where the network shall see its own estimate.
            targets: what is in the pictures.
            generators: one per picture, so that it does not matter which process has which other pictures.

        Returns:
            The terms, unweighted, and `total`.
        """
        model = self.model
        features = model.encode(image, inverse_depth, depth_valid, estimate)
        pyramid = model.pyramid(features.fused)
        proposals = model.proposal_head(pyramid)
        many_logits = self.one_to_many(proposals.features)
        one, many = assign_batch(proposals, many_logits, targets, model.config.input_size)
        best, _ = best_unique(proposals.scores().detach(), proposals.boxes_xyxy.detach(), self.decoded)
        index, owners = choose_decoded(one, many, best, targets.complete, generators)
        shift = displacements(owners, generators)
        masks, ious = model.segment(features.fused, pyramid, proposals.pick(index), shift)
        named = named_places(proposals.boxes_xyxy, targets, self.catch_all)
        losses = {
            "classes": class_loss(proposals.class_logits, one, targets, named),
            "classes_one_to_many": class_loss(many_logits, many, targets, named),
            "boxes": 0.5 * (box_loss(proposals, one, targets) + box_loss(proposals, many, targets)),
            "quality": quality_loss(proposals, many, targets),
            **mask_losses(masks, ious, owners, targets.masks, targets.boxes_xyxy, targets.complete),
            "depth": depth_loss(features.depth_logits, targets.inverse_depth, targets.depth_valid),
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
    one: list[Assignment],
    many: list[Assignment],
    best: Tensor,
    complete: Tensor,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Places whose masks are decoded: all one-to-one matches, then as many one-to-many ones as of the best places.

    In a picture that is not complete the best places teach nothing, and one-to-many ones take all of the room.

    Args:
        one: matches of each picture.
        many: the same, one-to-many.
        best: (B, P) the places that would be decoded when running, best first.
        complete: (B,), see `Targets`.
        generators: one per picture.

    Returns:
        Places (B, P), none of them twice while there are others, and the instances they stand for (B, P), -1 for places
        that were not matched.
    """
    index, decoded = best.clone(), best.shape[1]
    owners = torch.full_like(index, -1)
    for i, (*pair, generator) in enumerate(zip(one, many, generators, strict=True)):
        shuffled = [torch.randperm(len(a.places), generator=generator).to(index.device) for a in pair]
        new = ~torch.isin(pair[1].places[shuffled[1]], pair[0].places)
        room = max(0, (decoded - len(shuffled[0])) // (2 if complete[i] else 1))
        shuffled[1] = shuffled[1][new][:room]
        places = torch.cat([a.places[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        instances = torch.cat([a.instances[order] for a, order in zip(pair, shuffled, strict=True)])[:decoded]
        others = torch.isin(best[i], places)
        # a place that was matched already comes again only where nothing else is left
        rest = torch.cat([best[i][~others], best[i][others]])
        index[i] = torch.cat([places, rest])[:decoded]
        owners[i, : len(places)] = instances
    return index, owners


DISPLACED = 0.2
"""Share of the masks of pass 1 that are moved before pass 2 sees them."""
FARTHEST_CELLS = 10


def displacements(owners: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """(B, P, 2) cells, rows and columns, by which masks of pass 1 are moved; most are not."""
    moves = []
    for generator in generators:
        size = (owners.shape[1], 2)
        cells = torch.randint(-FARTHEST_CELLS, FARTHEST_CELLS + 1, size, generator=generator)
        chosen = torch.rand(owners.shape[1], 1, generator=generator) < DISPLACED
        moves.append(cells * chosen)
    return torch.stack(moves).to(owners.device)


@torch.no_grad()
def named_places(boxes_xyxy: Tensor, targets: Targets, catch_all: int | None) -> Tensor:
    """Places that show a thing whose class is known, so that they show nothing of any other class.

    Args:
        boxes_xyxy: (B, N, 4) predicted, network pixels.
        targets: what is in the pictures.
        catch_all: what is of this class may be of any other class too; None: classes exclude each other.

    Returns:
        (B, N) bool.
    """
    shown = torch.zeros_like(boxes_xyxy[..., 0], dtype=torch.bool)
    for i, (true, classes) in enumerate(zip(targets.boxes_xyxy, targets.class_ids, strict=True)):
        of_known_class = true[classes != catch_all] if catch_all is not None else true
        if len(of_known_class):
            shown[i] = box_iou(of_known_class, boxes_xyxy[i].float()).amax(dim=0) >= SHOWS_IT
    return shown


def class_loss(class_logits: Tensor, assignments: list[Assignment], targets: Targets, named: Tensor) -> Tensor:
    """Varifocal loss (Zhang et al., CVPR 2021) towards the assignment's quality, per unit of quality in the batch.

    Federated, as LVIS has it (Gupta et al., CVPR 2019): that a place is not of a class is taught only for classes that
    the picture's set labels, that it is of its instance's class always. What is known to be a fish is no plant,
    though, whoever labels plants: places of `named` (B, N) learn of all classes.
    """
    wanted = torch.zeros_like(class_logits, dtype=torch.float32)  # (B, N, C)
    for i, a in enumerate(assignments):
        wanted[i, a.places, targets.class_ids[i][a.instances]] = a.quality.float()
    logits = class_logits.float()
    # nearly all places show nothing of a class: only those that claim otherwise count
    doubted = 0.75 * logits.detach().sigmoid().square() * (targets.labelled[:, None] | named[..., None])
    weight = torch.where(wanted > 0, wanted, doubted)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return loss / normaliser(wanted.sum())


def box_loss(proposals: Proposals, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Generalised IoU loss (Rezatofighi et al., CVPR 2019), weighted by quality with a floor to begin from."""
    predicted = torch.cat([proposals.boxes_xyxy[i, a.places] for i, a in enumerate(assignments)])
    true = torch.cat([boxes[a.instances] for boxes, a in zip(targets.boxes_xyxy, assignments, strict=True)])
    weight = torch.cat([a.quality for a in assignments]).float().clamp(min=0.1)
    loss = generalized_box_iou_loss(predicted.float(), true, reduction="none")
    return (loss * weight).sum() / normaliser(weight.sum())


def quality_loss(proposals: Proposals, assignments: list[Assignment], targets: Targets) -> Tensor:
    """Cross-entropy of the predicted with the actual IoU of matched boxes; what is no match teaches nothing.

    So it says how well a box fits whatever it is on, labelled or not (OLN, Kim et al., RA-L 2022).
    """
    predicted = torch.cat([proposals.quality_logits[i, a.places, 0] for i, a in enumerate(assignments)]).float()
    boxes = torch.cat([proposals.boxes_xyxy[i, a.places] for i, a in enumerate(assignments)]).float().detach()
    true = torch.cat([each[a.instances] for each, a in zip(targets.boxes_xyxy, assignments, strict=True)])
    low, high = torch.maximum(boxes[:, :2], true[:, :2]), torch.minimum(boxes[:, 2:], true[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(dim=1) for each in (boxes, true)]
    iou = shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)
    loss = F.binary_cross_entropy_with_logits(predicted, iou, reduction="sum")
    return loss / normaliser(iou.new_tensor(float(len(iou))))
