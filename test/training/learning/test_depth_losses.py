"""Losses of the depth head, each against its formula written out; silent where nothing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.learning.depth_losses import GRADIENT_WEIGHT, SEEN_WEIGHT, depth_loss, gradient_loss

SIDE, SIZE = 16, 64
SURE = 30.0


def logits_of(inverse_depth: Tensor, seen: Tensor) -> Tensor:
    """(B, h, h) in (0, 1) and (B, h, h) bool to (B, 2, h, h)."""
    return torch.stack([torch.logit(inverse_depth), torch.where(seen, SURE, -SURE)], dim=1)


def enlarged(cells: Tensor) -> Tensor:
    """(B, h, h) to (B, 1, S, S)."""
    return cells.repeat_interleave(SIZE // SIDE, dim=1).repeat_interleave(SIZE // SIDE, dim=2)[:, None]


def random_truth(pictures: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(pictures, SIDE, SIDE, generator=generator) * 0.8 + 0.1
    return truth, torch.rand(pictures, SIDE, SIDE, generator=generator) > 0.3


def test_depth_that_is_right_costs_nothing() -> None:
    truth, known = random_truth()
    loss = depth_loss(logits_of(truth, known), enlarged(truth) * enlarged(known), enlarged(known).float())
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_depth_of_one_half_before_an_even_wall() -> None:
    valid = torch.zeros(1, 1, SIZE, SIZE)
    valid[..., : SIZE // 2, :] = 1
    loss = depth_loss(torch.zeros(1, 2, SIDE, SIDE), 0.9 * valid, valid)
    # off by 0.4 wherever it is known, without an edge; one half for "is there anything" costs log 2 whatever is true
    assert float(loss) == pytest.approx(0.4 + SEEN_WEIGHT * math.log(2), rel=1e-5)


def test_it_is_absolute_error_gradients_and_sight_written_out() -> None:
    truth, known = random_truth()
    logits = torch.randn(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    expected = []
    for i in range(2):
        near, seen = (1 / (1 + np.exp(-logits[i, k].numpy().astype(np.float64))) for k in (0, 1))
        k, r = known[i].numpy(), near - truth[i].numpy()
        absolute = np.abs(r[k]).mean()
        gradients = 0.0
        for step in (1, 2, 4):
            rs, ks = r[::step, ::step], k[::step, ::step]
            total = 0.0
            for y in range(len(rs)):
                for x in range(len(rs)):
                    for yy, xx in ((y + 1, x), (y, x + 1)):
                        if yy < len(rs) and xx < len(rs) and ks[y, x] and ks[yy, xx]:
                            total += abs(rs[yy, xx] - rs[y, x])
            gradients += total / ks.sum()
        sight = -(np.log(seen) * k + np.log(1 - seen) * ~k).mean()
        expected.append(absolute + 0.5 * gradients + 0.2 * sight)
    assert (GRADIENT_WEIGHT, SEEN_WEIGHT) == (0.5, 0.2)
    loss = depth_loss(logits, enlarged(truth) * enlarged(known), enlarged(known).float())
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)


def test_gradient_loss_of_a_ramp() -> None:
    residual = 0.25 * torch.arange(16.0).expand(1, 8, 16)
    # at scale s neighbours differ by 0.25 * s, between n - 1 of the n columns
    expected = sum(0.25 * s * (16 // s - 1) / (16 // s) for s in (1, 2))
    loss = gradient_loss(residual, torch.ones(1, 8, 16, dtype=torch.bool), scales=2)
    assert float(loss) == pytest.approx(expected)


def test_a_cell_across_a_hole_is_as_near_as_what_is_known_of_it() -> None:
    valid = torch.zeros(1, 1, SIZE, SIZE)
    valid[..., :3] = 1  # three of the four columns of the first cells
    valid[..., 4:5] = 1  # one of the four of the next: too little
    seen = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    seen[..., 0] = True
    loss = depth_loss(logits_of(torch.full((1, SIDE, SIDE), 0.7), seen), 0.7 * valid, valid)
    assert float(loss) == pytest.approx(0, abs=1e-5)


def test_unknown_places_teach_only_that_nothing_is_seen_there() -> None:
    truth, known = random_truth()
    logits = torch.randn(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    wild = torch.where(enlarged(known), enlarged(truth), torch.rand(2, 1, SIZE, SIZE))
    first = depth_loss(logits, wild, enlarged(known).float())
    first.backward()
    assert logits.grad is not None
    assert not logits.grad[:, 0][~known].any()
    assert bool(logits.grad[:, 0][known].any())
    assert bool((logits.grad[:, 1][~known] > 0).all())
    assert float(depth_loss(logits, enlarged(truth) * enlarged(known), enlarged(known).float())) == float(first)


def test_pictures_without_depth_teach_nothing_and_take_nothing_from_the_others() -> None:
    truth, known = random_truth()
    known[1] = False
    logits = torch.randn(2, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    both = depth_loss(logits, enlarged(truth) * enlarged(known), enlarged(known).float())
    both.backward()
    assert logits.grad is not None
    assert not logits.grad[1].any()
    alone = depth_loss(logits[:1], (enlarged(truth) * enlarged(known))[:1], enlarged(known)[:1].float())
    assert float(both) == pytest.approx(float(alone))


def test_a_batch_without_any_depth_and_a_network_without_a_head_cost_nothing() -> None:
    nothing = torch.zeros(2, 1, SIZE, SIZE)
    logits = torch.randn(2, 2, SIDE, SIDE).requires_grad_()
    loss = depth_loss(logits, nothing, nothing)
    loss.backward()
    assert float(loss) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert float(depth_loss(None, nothing, nothing)) == 0
