"""Proposals: where places lie, what they say, and which are the best."""

from __future__ import annotations

import math

import torch
from network_cases import SMALL, awakened, inputs

from spda_sam_core.network.network import build_network
from spda_sam_core.network.proposals import STRIDES, ProposalHead, Proposals, gather_places, place_centres
from spda_sam_core.network.pyramid import Pyramid
from spda_sam_core.network.suppression import best_unique

CPU = torch.device("cpu")
N = 16 * 16 + 8 * 8 + 4 * 4  # at 128 pixels


def proposals_at(scale: float = 1.0) -> Proposals:
    torch.manual_seed(0)
    head = ProposalHead(SMALL).eval()
    return head(Pyramid(torch.empty(0), *(scale * torch.randn(2, SMALL.width, n, n) for n in (16, 8, 4))))


def said(probabilities: list[list[list[float]]], qualities: list[list[float]]) -> Proposals:
    """Proposals that say these probabilities (B, N, C) and qualities (B, N)."""
    classes, quality = torch.tensor(probabilities).logit(), torch.tensor(qualities).logit()[..., None]
    b, n = quality.shape[:2]
    return Proposals(torch.randn(b, n, 8), classes, torch.rand(b, n, 4), quality)


def test_centres_are_the_middles_of_the_cells_row_by_row() -> None:
    assert place_centres(2, 8, CPU).tolist() == [[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]]
    assert place_centres(4, 32, CPU)[[1, 4]].tolist() == [[48.0, 16.0], [16.0, 48.0]]


@torch.no_grad()
def test_boxes_surround_their_places_at_every_stride() -> None:
    centres = torch.cat([place_centres(128 // s, s, CPU) for s in STRIDES])
    for scale in (1.0, 100.0):
        boxes_xyxy = proposals_at(scale).boxes_xyxy
        assert boxes_xyxy.shape == (2, N, 4)
        assert bool((boxes_xyxy[..., :2] <= centres).all())
        assert bool((boxes_xyxy[..., 2:] >= centres).all())


@torch.no_grad()
def test_distances_are_counted_in_twice_the_stride_and_logits_belong_to_their_place() -> None:
    torch.manual_seed(0)
    head = ProposalHead(SMALL).eval()
    scales = torch.tensor([0.5, 1.0, 2.0])
    head.box_scale.copy_(scales)
    conv = head.boxes
    conv.weight.zero_()
    conv.bias.copy_(torch.tensor([0.0, 1, 2, 3, 7]))
    levels = [torch.randn(1, SMALL.width, n, n) for n in (16, 8, 4)]
    given = head(Pyramid(torch.empty(0), *levels))
    start = 0
    for i, (stride, level, scale) in enumerate(zip(STRIDES, levels, scales.tolist(), strict=True)):
        left, top, right, bottom = (2 * stride * math.log1p(math.exp(scale * d)) for d in (0, 1, 2, 3))
        side = 128 // stride
        row, column = side - 1, side - 3
        place = start + row * side + column
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        expected = torch.tensor([x - left, y - top, x + right, y + bottom])
        torch.testing.assert_close(given.boxes_xyxy[0, place], expected)
        assert given.quality_logits[0, place].item() == 7
        features = head.tower(level, i)
        torch.testing.assert_close(given.features[0, place], features[0, :, row, column])
        expected_classes = head.classes(head.of_classes(features, i))
        torch.testing.assert_close(given.class_logits[0, place], expected_classes[0, :, row, column])
        start += side * side
    assert start == given.features.shape[1] == N


@torch.no_grad()
def test_what_is_trained_is_what_runs_however_much_the_strides_differ() -> None:
    torch.manual_seed(0)
    head = ProposalHead(SMALL).train()
    # the same pictures again and again: running statistics come to be theirs
    levels = [5 * i + (i + 1) * torch.randn(4, SMALL.width, n, n) for i, n in enumerate((16, 8, 4))]
    for _ in range(80):
        trained = head(Pyramid(torch.empty(0), *levels))
    running = head.eval()(Pyramid(torch.empty(0), *levels))
    for learnt, run in zip(trained, running, strict=True):
        # running variances are unbiased, those of a batch are not
        torch.testing.assert_close(run, learnt, rtol=0.03, atol=0.03 * learnt.std().item())


@torch.no_grad()
def test_untrained_every_class_is_at_one_percent() -> None:
    torch.manual_seed(0)
    head = ProposalHead(SMALL).eval()
    head.classes.weight.zero_()
    logits = head(Pyramid(torch.empty(0), *(torch.randn(1, SMALL.width, n, n) for n in (16, 8, 4)))).class_logits
    torch.testing.assert_close(logits.sigmoid(), torch.full((1, N, 3), 0.01), rtol=0.01, atol=0)


def test_a_score_is_the_root_of_probability_times_quality() -> None:
    given = said([[[0.5, 0.1], [0.04, 0.81]]], [[0.32, 0.25]])
    torch.testing.assert_close(given.scores(), torch.tensor([[0.4, 0.45]]))


def test_the_best_are_picked_best_first_whatever_their_class() -> None:
    probabilities = [[[0.1, 0.2], [0.9, 0.1], [0.1, 0.8], [0.3, 0.3]], [[0.7, 0.1], [0.1, 0.2], [0.5, 0.5], [0.6, 0.9]]]
    qualities = [[0.9, 0.2, 0.9, 0.9], [0.5, 0.9, 0.9, 0.1]]  # products .18 .18 .72 .27 / .35 .18 .45 .09
    given = said(probabilities, qualities)
    apart = given._replace(
        boxes_xyxy=50 * torch.arange(4.0)[None, :, None] + torch.tensor([0.0, 0, 10, 10]).expand(2, 4, 4)
    )
    index, _ = best_unique(apart.scores(), apart.boxes_xyxy, 2)
    assert index.tolist() == [[2, 3], [2, 0]]
    picked = apart.pick(index)
    for values, all_values in zip(picked, apart, strict=True):
        for i, places in enumerate(index.tolist()):
            assert torch.equal(values[i], all_values[i, places])


def test_gathering_keeps_every_further_axis() -> None:
    values = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    index = torch.tensor([[2, 0], [1, 1]])
    assert torch.equal(gather_places(values, index), torch.stack([values[0, [2, 0]], values[1, [1, 1]]]))


def test_masks_teach_the_boxes_nothing() -> None:
    """Boxes have their own loss; that of the masks would bend them to where the mask is easy to draw."""
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).train()
    features = network.encode(*inputs())
    pyramid = network.pyramid(features.fused)
    picked = network.proposal_head(pyramid).pick(torch.arange(6)[None])
    picked.boxes_xyxy.retain_grad()
    given = network.segment(features.fused, pyramid, picked)
    sum((part.float() ** 2).mean() for part in (*given.mask_logits, *given.predicted_iou)).backward()
    assert picked.boxes_xyxy.grad is None
    boxes = (network.proposal_head.of_boxes, network.proposal_head.boxes)
    assert all(parameter.grad is None for part in boxes for parameter in part.parameters())
    assert all(parameter.grad is not None for parameter in network.proposal_head.tower.parameters())
