"""Losses: zero where all is right, and a gradient for every trained parameter."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.network.semantic_prompts import Proposals
from training.learning.assignment import Assignment
from training.learning.losses import (
    LossWeights,
    OneToManyHead,
    Targets,
    TrainingLosses,
    box_loss,
    choose_decoded,
    class_loss,
    mask_losses,
    true_iou,
)

CONFIG = load_model_config("tiny", class_names=("anode", "object"))
WEIGHTS = LossWeights(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def targets_of(*rectangles, size=384):
    """One picture with an instance of class 0 per rectangle x0, y0, x1, y1."""
    masks = torch.zeros(len(rectangles), size, size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    boxes = torch.tensor(rectangles, dtype=torch.float32).reshape(-1, 4)
    return Targets([masks], [boxes], [torch.zeros(len(rectangles), dtype=torch.int64)])


def chance(pictures):
    return [torch.Generator().manual_seed(i) for i in range(pictures)]


@pytest.mark.parametrize("switched_off", [None, "use_depth", "fusion_coarse", "fusion_fine", "use_spatial_prompts"])
def test_every_trained_parameter_gets_a_gradient(switched_off):
    torch.manual_seed(0)
    config = CONFIG if switched_off is None else dataclasses.replace(CONFIG, **{switched_off: False})
    model = build_network(config).train()
    with torch.no_grad():  # branches that start at zero pass no gradient on before the first step
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.05)
    head = OneToManyHead(model)
    targets = targets_of((40, 60, 200, 240), (250, 250, 330, 300))
    twice = Targets(targets.masks * 2, targets.boxes_xyxy * 2, targets.class_ids * 2)
    losses = TrainingLosses(model, head, decoded=3, weights=WEIGHTS)(
        torch.randn(2, 3, 384, 384),
        torch.rand(2, 1, 384, 384),
        (torch.rand(2, 1, 384, 384) > 0.3).float(),
        twice,
        chance(2),
    )
    losses["total"].backward()
    without = [
        name
        for name, p in [*model.named_parameters(), *head.named_parameters()]
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []


def test_pictures_without_instances_give_finite_losses():
    torch.manual_seed(0)
    model = build_network(CONFIG).train()
    empty = targets_of()
    losses = TrainingLosses(model, OneToManyHead(model), decoded=2, weights=WEIGHTS)(
        torch.randn(2, 3, 384, 384),
        torch.zeros(2, 1, 384, 384),
        torch.zeros(2, 1, 384, 384),
        Targets(empty.masks * 2, empty.boxes_xyxy * 2, empty.class_ids * 2),
        chance(2),
    )
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    assert losses["mask_dice"].item() == losses["boxes"].item() == 0


def test_masks_that_are_right_cost_nothing_and_wrong_ones_do():
    targets = targets_of((40, 80, 200, 240))
    truth = torch.zeros(1, 1, 96, 96)
    truth[0, 0, 20:60, 10:50] = 1
    owners = torch.tensor([[0]])
    right = mask_losses(((truth * 2 - 1) * 30,), (torch.ones(1, 1),), owners, targets)
    assert all(float(loss) < 1e-3 for loss in right.values())
    wrong = mask_losses(((1 - truth * 2) * 30,), (torch.ones(1, 1),), owners, targets)
    assert float(wrong["mask_dice"]) == pytest.approx(1, abs=1e-2)
    assert float(wrong["iou"]) == pytest.approx(1)  # claims 1, is 0
    assert float(wrong["mask_bce"]) == pytest.approx(30, rel=1e-3)


def test_boxes_and_classes_that_are_right_cost_nothing():
    targets = targets_of((40, 80, 200, 240))
    one = [Assignment(torch.tensor([5]), torch.tensor([0]), torch.tensor([1.0]))]
    proposals = Proposals(torch.zeros(1, 9, 1), torch.zeros(1, 9, 3), targets.boxes_xyxy[0].expand(1, 9, 4))
    assert float(box_loss(proposals, one, targets)) == pytest.approx(0, abs=1e-6)
    logits = torch.full((1, 9, 3), -20.0)
    logits[0, 5, 0] = 20
    assert float(class_loss(logits, one, targets)) < 1e-6
    assert float(class_loss(-logits, one, targets)) > 20


def test_matched_places_are_decoded_before_those_that_would_be_when_running():
    one = [Assignment(torch.tensor([7, 9]), torch.tensor([0, 1]), torch.ones(2))]
    many = [Assignment(torch.tensor([1, 2]), torch.tensor([1, 0]), torch.ones(2))]
    index, owners = choose_decoded(one, many, torch.tensor([[7, 5, 6, 8]]), chance(1))
    pairs = list(zip(index[0].tolist(), owners[0].tolist(), strict=True))
    assert set(pairs[:2]) == {(7, 0), (9, 1)}
    assert pairs[2] in {(1, 1), (2, 0)}
    assert pairs[3] == (7, -1)
    nothing = [Assignment(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0))]
    index, owners = choose_decoded(nothing, nothing, torch.tensor([[4, 5]]), chance(1))
    assert (index.tolist(), owners.tolist()) == ([[4, 5]], [[-1, -1]])


def test_a_mask_of_nothing_learns_to_say_so_and_an_unmatched_one_what_it_meets():
    logits = torch.full((3, 96, 96), -5.0)
    logits[0, 0:10, 0:10] = 5  # a quarter of the first instance, whose it is
    logits[1, 0:10, 0:10] = 5  # the same, nobody's: half of the second instance is more
    logits[2, 90:, 90:] = 5  # water
    truth = torch.zeros(2, 96, 96)
    truth[0, 0:20, 0:20] = 1
    truth[1, 0:10, 0:20] = 1
    owners = torch.tensor([0, -1, -1])
    assert true_iou(logits, truth, owners).tolist() == pytest.approx([0.25, 0.5, 0.0])
    assert true_iou(logits, truth[:0], torch.full((3,), -1)).tolist() == [0, 0, 0]
