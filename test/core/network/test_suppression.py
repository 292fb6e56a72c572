"""Suppression inside the network against torchvision's NMS and a greedy loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

from spda_sam_core.network.suppression import (
    BOX_IOU,
    MASK_IOU,
    best_unique,
    best_unique_masks,
    box_overlaps,
    mask_overlaps,
    stays,
)


def crowd(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """(2, n) scores and (2, n, 4) boxes in clusters, in which a third or so are doubles."""
    g = torch.Generator().manual_seed(seed)
    middles = 100 * torch.rand(2, 1 + n // 4, 2, generator=g)
    middle = middles.repeat(1, 4, 1)[:, :n] + 4 * torch.randn(2, n, 2, generator=g)
    half = 15 + 3 * torch.randn(2, n, 2, generator=g)
    return torch.rand(2, n, generator=g), torch.cat([middle - half, middle + half], dim=2)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_that_stay_are_those_of_torchvision_in_its_order(seed: int) -> None:
    scores, boxes = crowd(seed, 40)
    expected = [nms(b, s, BOX_IOU).tolist() for b, s in zip(boxes, scores, strict=True)]
    assert 20 <= sum(map(len, expected)) < 80
    index, unique = best_unique(scores, boxes, 40)
    assert [i[u].tolist() for i, u in zip(index, unique, strict=True)] == expected
    few, all_unique = best_unique(scores, boxes, 10)  # of a pool of all 40
    assert few.tolist() == [kept[:10] for kept in expected]
    assert bool(all_unique.all())


def test_boxes_overlap_as_torchvision_says_degenerate_ones_too() -> None:
    _, boxes = crowd(0, 30)
    boxes[0, 3] = torch.tensor([5.0, 5, 5, 9])
    expected = torch.stack([torch.nan_to_num(box_iou(b, b)) for b in boxes])
    torch.testing.assert_close(box_overlaps(boxes), expected)


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_in_a_chain_every_second_one_stays(length: int) -> None:
    """Each overlaps its neighbours only: the second goes, so the third stays, so the fourth goes."""
    left = 20.0 * torch.arange(length)
    boxes = torch.stack([left, torch.zeros(length), left + 120, torch.full((length,), 50.0)], dim=1)
    scores = torch.linspace(0.9, 0.1, length)
    expected = nms(boxes, scores, BOX_IOU).tolist()
    assert expected == list(range(0, length, 2))
    index, unique = best_unique(scores[None], boxes[None], length)
    assert index[0][unique[0]].tolist() == expected


def test_where_fewer_are_unique_doubles_fill_up_and_are_called_so() -> None:
    box = torch.tensor([10.0, 10, 50, 50])
    boxes = torch.stack([box, box + 1, box + 100, box + 2, box + 101])[None]
    scores = torch.tensor([[0.5, 0.6, 0.3, 0.9, 0.8]])
    index, unique = best_unique(scores, boxes, 4)
    assert index.tolist() == [[3, 4, 1, 0]]
    assert unique.tolist() == [[True, True, False, False]]


def test_only_the_best_are_compared() -> None:
    """Four times as many as are wanted, whatever the number of places: what lies below is never looked at."""
    boxes = torch.tensor([0.0, 0, 10, 10]).repeat(9, 1)
    boxes[8] += 500
    scores = torch.linspace(0.9, 0.1, 9)
    _, unique = best_unique(scores[None], boxes[None], 2)
    assert unique.tolist() == [[True, False]]
    boxes[7] += 300
    index, unique = best_unique(scores[None], boxes[None], 2)
    assert (index.tolist(), unique.tolist()) == ([[0, 7]], [[True, True]])


def test_what_is_not_compared_with_a_better_one_stays() -> None:
    """Only the upper half of the matrix counts: a weaker one never beats a better one."""
    double = torch.zeros(1, 3, 3, dtype=torch.bool)
    double[0, 0, 2] = double[0, 1, 2] = True
    assert stays(double).tolist() == [[1, 1, 1]]
    assert stays(double.transpose(1, 2)).tolist() == [[1, 1, 0]]


def blobs(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """(n,) scores and (n, 24, 24) logits: discs, many of them about the same."""
    g = torch.Generator().manual_seed(seed)
    middles = 24 * torch.rand(1 + n // 4, 2, generator=g)
    middle = middles.repeat(4, 1)[:n] + 0.5 * torch.randn(n, 2, generator=g)
    radius = 5 + 0.5 * torch.rand(n, generator=g)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    distance = ((x - middle[:, :1, None]) ** 2 + (y - middle[:, 1:, None]) ** 2).sqrt()
    return torch.rand(n, generator=g), radius[:, None, None] - distance


def greedy(scores: Tensor, mask_logits: Tensor) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i].item()):
        own = mask_logits[i] > 0
        others = [mask_logits[j] > 0 for j in kept]
        if all((own & other).sum() <= MASK_IOU * (own | other).sum() for other in others):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(10))
def test_masks_that_stay_are_those_of_a_greedy_loop(seed: int) -> None:
    cases = [blobs(2 * seed, 20), blobs(2 * seed + 1, 20)]
    scores, logits = (torch.stack(column) for column in zip(*cases, strict=True))
    expected = [greedy(*case) for case in cases]
    assert all(6 <= len(kept) < 20 for kept in expected)
    index, unique = best_unique_masks(scores, logits, 20)
    assert [i[u].tolist() for i, u in zip(index, unique, strict=True)] == expected
    few, _ = best_unique_masks(scores, logits, 6)
    assert few.tolist() == [kept[:6] for kept in expected]


def test_empty_masks_are_no_doubles_of_each_other() -> None:
    drawn = torch.zeros(1, 3, 16)
    drawn[0, 2, :4] = 1
    expected = torch.zeros(1, 3, 3)
    expected[0, 2, 2] = 1
    assert torch.equal(mask_overlaps(drawn), expected)


def test_overlaps_and_what_stays_are_as_exact_under_autocast() -> None:
    """Areas of masks are large counts, of which bfloat16 knows those up to 256."""
    _, boxes = crowd(3, 24)
    drawn = (torch.nn.functional.interpolate(blobs(3, 24)[1][None], scale_factor=4)[0].flatten(1) > 0).float()[None]

    def overlaps() -> list[Tensor]:
        of_masks, of_boxes = mask_overlaps(drawn), box_overlaps(boxes)
        return [of_masks, of_boxes, stays(of_masks > MASK_IOU), stays(of_boxes > BOX_IOU)]

    expected = overlaps()
    with torch.autocast("cpu", torch.bfloat16):
        actual = overlaps()
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, e)


@pytest.mark.parametrize(("more", "unique"), [(6, [True, False]), (9, [True, True])])
def test_masks_are_doubles_from_an_overlap_of_four_fifths(more: int, unique: list[bool]) -> None:
    """30 cells are of both; the second has 6 or 9 more: IoU 0.83 and 0.77."""
    logits = torch.full((1, 2, 8, 8), -1.0)
    logits[0, 0].view(-1)[:30] = 1
    logits[0, 1].view(-1)[: 30 + more] = 1
    assert best_unique_masks(torch.tensor([[0.9, 0.8]]), logits, 2)[1].tolist() == [unique]
