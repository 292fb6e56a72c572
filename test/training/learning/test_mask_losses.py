"""Losses of masks, each against its formula written out; small things count as much as large ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from spda_sam_core.network.network import moved
from training.learning.mask_losses import MARGIN, OUTSIDE, mask_losses, pixel_weights, true_iou

SIDE = 24
PIXEL = 4
WHOLE = torch.tensor([True])
"""A picture in which every thing is labelled."""


def square(x0: int, y0: int, x1: int, y1: int, side: int = SIDE) -> Tensor:
    """(side, side) 0 and 1."""
    mask = torch.zeros(side, side)
    mask[y0:y1, x0:x1] = 1
    return mask


def truth_of(*boxes: tuple[int, int, int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """One picture with an instance for each box in cells: masks and boxes in pixels."""
    masks = torch.zeros(len(boxes), SIDE * PIXEL, SIDE * PIXEL, dtype=torch.bool)
    for mask, box in zip(masks, boxes, strict=True):
        x0, y0, x1, y1 = (PIXEL * value for value in box)
        mask[y0:y1, x0:x1] = True
    return [masks], [torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * PIXEL]


def weights_by_hand(box: tuple[int, int, int, int], side: int) -> np.ndarray:
    """1 spread over the enlarged box, a quarter over the rest, together 1."""
    x0, y0, x1, y1 = box
    wide, high = 0.25 * (x1 - x0) + 2, 0.25 * (y1 - y0) + 2
    inside = np.zeros((side, side), bool)
    for row in range(side):
        for column in range(side):
            in_row = y0 - high < row + 0.5 < y1 + high
            inside[row, column] = in_row and x0 - wide < column + 0.5 < x1 + wide
    if inside.all():
        return np.full((side, side), 1 / side**2)
    weights = np.where(inside, 1 / inside.sum(), 0.25 / (~inside).sum())
    return weights / weights.sum()


BOXES = [(6, 4, 16, 12), (0, 0, 5, 5), (20, 21, 24, 24), (0, 0, 24, 24), (11, 11, 12, 12)]


@pytest.mark.parametrize("box", BOXES)
def test_weights_are_those_of_the_enlarged_box(box: tuple[int, int, int, int]) -> None:
    assert (MARGIN, OUTSIDE) == (0.25, 0.25)
    weights = pixel_weights(torch.tensor([box], dtype=torch.float32), SIDE)[0]
    np.testing.assert_allclose(weights.numpy(), weights_by_hand(box, SIDE), rtol=1e-5)
    assert float(weights.sum()) == pytest.approx(1)


def test_a_thing_of_six_cells_costs_as_much_as_a_large_one() -> None:
    losses = []
    for box in ((40, 40, 46, 46), (10, 20, 70, 80)):
        truth = square(*box, side=96)
        masks = torch.zeros(1, 384, 384, dtype=torch.bool)
        x0, y0, x1, y1 = (PIXEL * value for value in box)
        masks[0, y0:y1, x0:x1] = True
        boxes = [PIXEL * torch.tensor([box], dtype=torch.float32)]
        missed = torch.full((1, 1, 96, 96), -5.0)  # not drawn at all
        terms = mask_losses((missed,), (torch.zeros(1, 1),), torch.tensor([[0]]), [masks], boxes, WHOLE)
        # what a cell of it costs, times the share of the weight that lies on it
        share = float((pixel_weights(boxes[0] / PIXEL, 96)[0] * truth).sum())
        assert float(terms["mask_bce"]) == pytest.approx(
            share * math.log1p(math.exp(5)) + (1 - share) * math.log1p(math.exp(-5)), rel=1e-4
        )
        losses.append(float(terms["mask_bce"]))
    assert losses[0] / losses[1] > 0.5  # in the mean over the whole map it is 0.01


def test_masks_that_say_one_half() -> None:
    true_masks, boxes = truth_of((6, 4, 16, 12))
    terms = mask_losses(
        (torch.zeros(1, 1, SIDE, SIDE),), (torch.full((1, 1), 0.5),), torch.tensor([[0]]), true_masks, boxes, WHOLE
    )
    area = 10 * 8
    assert float(terms["mask_bce"]) == pytest.approx(math.log(2))  # weights sum to 1
    assert float(terms["mask_dice"]) == pytest.approx(1 - (2 * 0.5 * area + 1) / (0.25 * SIDE**2 + area + 1))
    assert float(terms["iou"]) == pytest.approx(0.25)  # nothing is above 0: its IoU is 0, it claims 0.5


def test_losses_are_their_formulas_written_out_over_passes_and_matched_masks() -> None:
    true_masks, boxes = truth_of((6, 4, 16, 12), (0, 0, 5, 5))
    generator = torch.Generator().manual_seed(0)
    passes = tuple(torch.randn(1, 3, SIDE, SIDE, generator=generator) for _ in range(2))
    claims = tuple(torch.rand(1, 3, generator=generator) for _ in range(2))
    owners = [1, 0, -1]
    truth = [square(6, 4, 16, 12).numpy(), square(0, 0, 5, 5).numpy()]
    hand = [(6, 4, 16, 12), (0, 0, 5, 5)]
    bce, dice, iou = [], [], []
    for logits, claim in zip(passes, claims, strict=True):
        for k, owner in enumerate(owners):
            drawn = logits[0, k].numpy().astype(np.float64)
            overlaps = [((drawn > 0) & (t > 0)).sum() / ((drawn > 0) | (t > 0)).sum() for t in truth]
            iou.append((float(claim[0, k]) - (overlaps[owner] if owner >= 0 else max(overlaps))) ** 2)
            if owner < 0:
                continue
            p, t = 1 / (1 + np.exp(-drawn)), truth[owner]
            cells = -(t * np.log(p) + (1 - t) * np.log(1 - p))
            bce.append((cells * weights_by_hand(hand[owner], SIDE)).sum())
            dice.append(1 - (2 * (p * t).sum() + 1) / ((p**2).sum() + (t**2).sum() + 1))
    terms = mask_losses(passes, claims, torch.tensor([owners]), true_masks, boxes, WHOLE)
    for name, values in (("mask_bce", bce), ("mask_dice", dice), ("iou", iou)):
        assert float(terms[name]) == pytest.approx(np.mean(values), rel=1e-4), name


def test_masks_that_are_right_cost_nothing_and_wrong_ones_do() -> None:
    true_masks, boxes = truth_of((6, 4, 16, 12))
    truth = square(6, 4, 16, 12)[None, None]
    owners = torch.tensor([[0]])
    right = mask_losses(((truth * 2 - 1) * 30,), (torch.ones(1, 1),), owners, true_masks, boxes, WHOLE)
    assert all(float(loss) < 1e-3 for loss in right.values())
    wrong = mask_losses(((1 - truth * 2) * 30,), (torch.ones(1, 1),), owners, true_masks, boxes, WHOLE)
    assert float(wrong["mask_dice"]) == pytest.approx(1, abs=1e-2)
    assert float(wrong["iou"]) == pytest.approx(1)  # claims 1, is 0
    assert float(wrong["mask_bce"]) == pytest.approx(30, rel=1e-3)


def test_a_cell_that_is_half_covered_is_wanted_by_half() -> None:
    masks = torch.zeros(1, SIDE * PIXEL, SIDE * PIXEL, dtype=torch.bool)
    masks[0, 16:48, 26:64] = True  # the left edge halves a column of cells
    logits = torch.zeros(1, 1, SIDE, SIDE, requires_grad=True)
    boxes = [torch.tensor([[26.0, 16, 64, 48]])]
    mask_losses((logits,), (torch.zeros(1, 1),), torch.tensor([[0]]), [masks], boxes, WHOLE)["mask_bce"].backward()
    assert logits.grad is not None
    slopes = logits.grad[0, 0, 8]  # of one half: probability minus what is wanted, times a weight
    assert float(slopes[6]) == pytest.approx(0, abs=1e-9)
    assert float(slopes[5]) > 0 > float(slopes[7])


def test_a_mask_of_nothing_learns_to_say_so_and_an_unmatched_one_what_it_meets() -> None:
    logits = torch.full((3, 96, 96), -5.0)
    logits[0, 0:10, 0:10] = 5  # a quarter of the first instance, whose it is
    logits[1, 0:10, 0:10] = 5  # the same, nobody's: half of the second instance is more
    logits[2, 90:, 90:] = 5  # water
    truth = torch.stack([square(0, 0, 20, 20, side=96), square(0, 0, 20, 10, side=96)])
    owners = torch.tensor([0, -1, -1])
    assert true_iou(logits, truth, owners).tolist() == pytest.approx([0.25, 0.5, 0.0])
    assert true_iou(logits, truth[:0], torch.full((3,), -1)).tolist() == [0, 0, 0]


def test_a_displaced_mask_is_worth_the_iou_that_it_still_has() -> None:
    truth = square(20, 30, 50, 50, side=96)
    drawn = moved(((truth * 2 - 1) * 5)[None, None], torch.tensor([[[4, -8]]]))[0]  # 4 down, 8 left
    shared = (30 - 8) * (20 - 4)
    expected = shared / (2 * 30 * 20 - shared)
    assert true_iou(drawn, truth[None], torch.tensor([0])).tolist() == pytest.approx([expected])
    logits, claim = drawn[None], torch.full((1, 1), 0.82)
    masks = torch.nn.functional.interpolate(truth[None, None], scale_factor=4)[0] > 0
    terms = mask_losses(
        (logits,), (claim,), torch.tensor([[0]]), [masks], [torch.tensor([[80.0, 120, 200, 200]])], WHOLE
    )
    assert float(terms["iou"]) == pytest.approx((0.82 - expected) ** 2, rel=1e-4)


def test_a_mask_of_nothing_labelled_is_called_bad_only_where_every_thing_is_labelled() -> None:
    true_masks, boxes = truth_of((6, 4, 16, 12))
    elsewhere = (square(18, 16, 22, 22) * 2 - 1) * 30
    drawn = torch.stack([(square(6, 4, 14, 12) * 2 - 1) * 30, elsewhere])[None]
    owners = torch.tensor([[0, -1]])
    claims = {}
    for complete in (True, False):
        claim = torch.tensor([[0.5, 0.9]], requires_grad=True)
        terms = mask_losses((drawn,), (claim,), owners, true_masks, boxes, torch.tensor([complete]))
        terms["iou"].backward()
        claims[complete] = (float(terms["iou"].detach()), claim.grad)
    loss, slope = claims[True]
    assert loss == pytest.approx((0.3**2 + 0.9**2) / 2)  # 0.8 of the one is there, nothing of the other
    assert slope is not None
    assert slope.tolist()[0] == pytest.approx([-0.3, 0.9])
    loss, slope = claims[False]
    assert loss == pytest.approx(0.3**2)
    assert slope is not None
    assert slope.tolist()[0] == pytest.approx([-0.6, 0.0])
