"""Doubles: the fixed point against torchvision's greedy suppression and a greedy loop over masks; static shapes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from network_cases import SMALL, awakened, inputs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import box_iou, nms

from spda_sam_core.network.network import build_network
from spda_sam_core.network.suppression import (
    BOX_IOU,
    MASK_IOU,
    POOL,
    ROUNDS,
    best_unique,
    best_unique_masks,
    box_overlaps,
    mask_overlaps,
    stays,
)


def crowd(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Scores (n,) and boxes (n, 4) that gather around a few things."""
    g = torch.Generator().manual_seed(seed)
    things = torch.rand(6, 4, generator=g) * 60
    which = torch.randint(6, (n,), generator=g)
    low = things[which, :2] + torch.randn(n, 2, generator=g) * 4
    sides = 20 + things[which, 2:] / 2 + torch.randn(n, 2, generator=g).abs() * 4
    return torch.rand(n, generator=g), torch.cat([low, low + sides], dim=1)


def longest_chain(double: Tensor) -> int:
    """Of (M, M) doubles, best first: how many candidates stand in the longest row of each beating the next."""
    length = [1] * len(double)
    for i in range(len(double)):
        for j in range(i):
            if double[i, j]:
                length[i] = max(length[i], length[j] + 1)
    return max(length)


def in_a_row(n: int) -> Tensor:
    """(1, n, n) doubles: each candidate is a double of its neighbours alone."""
    return (torch.arange(n)[:, None] - torch.arange(n)).abs()[None] == 1


def test_overlaps_of_boxes_are_those_of_torchvision() -> None:
    _, boxes = crowd(0, 40)
    boxes[3] = torch.tensor([5.0, 5, 5, 9])  # without area
    torch.testing.assert_close(box_overlaps(boxes[None])[0], box_iou(boxes, boxes).nan_to_num(0))


@pytest.mark.parametrize("n", range(1, ROUNDS + 2))
def test_chains_up_to_the_number_of_rounds_are_exact(n: int) -> None:
    # the first beats the second, which then cannot beat the third
    assert stays(in_a_row(n))[0].tolist() == [float(i % 2 == 0) for i in range(n)]


def test_the_k_best_boxes_are_those_of_greedy_suppression() -> None:
    longest, k = 0, 12
    for seed in range(40):
        scores, boxes = crowd(seed, POOL * k)
        order = scores.argsort(descending=True)
        chain = longest_chain(box_iou(boxes[order], boxes[order]) > BOX_IOU)
        if chain > ROUNDS + 1:
            continue
        longest = max(longest, chain)
        index, unique = best_unique(scores[None], boxes[None], k)
        kept = nms(boxes, scores, BOX_IOU)[:k]
        assert index[0][unique[0]].tolist() == kept.tolist()
        assert int(unique.sum()) == len(kept)
    assert longest == ROUNDS + 1  # the hardest that is promised was among them


def test_images_of_a_batch_do_not_know_of_each_other() -> None:
    both = [torch.stack(column) for column in zip(*(crowd(seed, 48) for seed in (1, 2)), strict=True)]
    index, unique = best_unique(*both, 12)
    for i in range(2):
        alone, alone_unique = best_unique(both[0][i : i + 1], both[1][i : i + 1], 12)
        assert torch.equal(index[i : i + 1], alone)
        assert torch.equal(unique[i : i + 1], alone_unique)


def test_doubles_fill_up_and_say_so() -> None:
    # four of one thing and two of another
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 4 + [[50.0, 50, 60, 60]] * 2)[None]
    scores = torch.tensor([[0.5, 0.9, 0.8, 0.7, 0.3, 0.4]])
    index, unique = best_unique(scores, boxes, 5)
    assert index.tolist() == [[1, 5, 2, 3, 0]]
    assert unique.tolist() == [[True, True, False, False, False]]


def test_boxes_at_the_limit_itself_are_both_kept() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 7]]])  # IoU 0.7 but for rounding
    limit = float(box_overlaps(boxes)[0, 0, 1])
    _, unique = best_unique(torch.tensor([[0.9, 0.8]]), boxes, 2)
    assert bool(unique.all()) == (limit <= BOX_IOU)
    _, unique = best_unique(torch.tensor([[0.9, 0.8]]), boxes + torch.tensor([0, 0, 0, 0.2]), 2)
    assert unique.tolist() == [[True, False]]


def rectangles(seed: int, n: int, side: int = 24) -> Tensor:
    """Logits (n, side, side) of rectangles around a few things, 3 inside and -3 outside."""
    _, boxes = crowd(seed, n)
    logits = torch.full((n, side, side), -3.0)
    for plane, (x0, y0, x1, y1) in zip(logits, (boxes / 100 * side).round().long().tolist(), strict=True):
        plane[max(y0, 0) : y1, max(x0, 0) : x1] = 3.0
    return logits


def iou(a: Tensor, b: Tensor) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def test_the_k_best_masks_are_those_of_a_greedy_loop() -> None:
    longest, went, k = 0, 0, 8
    for seed in range(20):
        logits = rectangles(seed, 16)
        scores = torch.rand(16, generator=torch.Generator().manual_seed(seed))
        masks = logits > 0
        order = scores.argsort(descending=True).tolist()
        double = torch.tensor([[iou(masks[i], masks[j]) > MASK_IOU for j in order] for i in order])
        chain = longest_chain(double)
        if chain > ROUNDS + 1:
            continue
        kept: list[int] = []
        for i in order:
            if all(iou(masks[i], masks[j]) <= MASK_IOU for j in kept):
                kept.append(i)
        index, unique = best_unique_masks(scores[None], logits[None], k)
        assert index[0][unique[0]].tolist() == kept[:k]
        assert len(set(index[0].tolist())) == k
        longest, went = max(longest, chain), went + 16 - len(kept)
    assert longest >= 3
    assert went > 20


def test_masks_without_a_pixel_are_no_doubles() -> None:
    logits = torch.full((1, 3, 8, 8), -1.0)
    logits[0, 2, :4] = 1.0
    _, unique = best_unique_masks(torch.tensor([[0.9, 0.8, 0.7]]), logits, 3)
    assert bool(unique.all())


@torch.no_grad()
def test_overlaps_are_exact_under_autocast() -> None:
    _, boxes = crowd(3, 24)
    drawn = (rectangles(3, 24, side=96).flatten(1) > 0).float()[None]
    expected = mask_overlaps(drawn), box_overlaps(boxes[None]), stays(box_overlaps(boxes[None]) > BOX_IOU)
    with torch.autocast("cpu", torch.bfloat16):
        actual = mask_overlaps(drawn), box_overlaps(boxes[None]), stays(box_overlaps(boxes[None]) > BOX_IOU)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, e)


@torch.no_grad()
def test_no_two_masks_that_the_network_calls_unique_show_the_same() -> None:
    torch.manual_seed(0)
    one_pass = dataclasses.replace(SMALL, use_spatial_prompts=False, num_instances=6)
    network = awakened(build_network(one_pass)).eval()
    torch.nn.init.normal_(network.decoder.mask_head.linear.weight)  # masks that are not empty
    features = network.encode(*inputs(2))
    pyramid = network.pyramid(features.fused)
    proposals = network.proposal_head(pyramid)
    # three places, each proposed twice: without suppression three pairs of equal masks come out
    picked = proposals.pick(torch.tensor([[0, 0, 200, 200, 330, 330]]).expand(2, -1))
    masks, class_logits, _, _ = network.decode(features.fused, pyramid, picked)
    for drawn, logits in zip(masks > 0, class_logits, strict=True):
        assert all(mask.any() for mask in drawn)
        unique = drawn[logits.amax(dim=1) > -19]
        assert 1 <= len(unique) <= 3
        assert all(iou(unique[i], unique[j]) <= MASK_IOU for i in range(len(unique)) for j in range(i))


class Operators(TorchDispatchMode):
    """Which operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_no_operator_of_the_network_has_a_shape_or_a_branch_that_depends_on_values() -> None:
    network = build_network(SMALL).eval()
    with Operators() as operators:
        network(*inputs())
    assert "topk" in operators.names
    forbidden = {
        "nonzero", "masked_select", "index", "index_put", "index_put_", "nms", "roi_align", "grid_sampler_2d", "triu",
        "tril", "unique_dim", "_unique2", "_local_scalar_dense", "repeat_interleave",
    }  # fmt: skip
    assert operators.names & forbidden == set()
