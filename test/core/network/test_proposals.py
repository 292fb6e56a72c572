"""Proposals: places, boxes, scores, and what the masks must not teach the boxes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from network_cases import SMALL, awakened, inputs
from torch import Tensor

from spda_sam_core.network.network import build_network
from spda_sam_core.network.proposals import STRIDES, ProposalHead, Proposals, place_centres
from spda_sam_core.network.pyramid import Pyramid

N = 16**2 + 8**2 + 4**2


def pyramid(batch: int = 2) -> Pyramid:
    torch.manual_seed(1)
    p8, p16, p32 = (torch.randn(batch, SMALL.width, n, n) for n in (16, 8, 4))
    return Pyramid(torch.empty(0), p8, p16, p32)


def new_head() -> ProposalHead:
    torch.manual_seed(0)
    return ProposalHead(SMALL).eval()


def test_centres_are_the_middles_of_the_cells_row_by_row() -> None:
    centres = place_centres(2, 8, torch.device("cpu"))
    assert centres.tolist() == [[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]]


@torch.no_grad()
def test_boxes_surround_their_places_at_every_stride() -> None:
    proposals = new_head()(pyramid())
    centres = torch.cat([place_centres(128 // s, s, torch.device("cpu")) for s in STRIDES])
    assert proposals.boxes_xyxy.shape == (2, N, 4)
    assert bool((proposals.boxes_xyxy[..., :2] < centres).all())
    assert bool((proposals.boxes_xyxy[..., 2:] > centres).all())


@torch.no_grad()
def test_a_box_reaches_as_far_as_the_head_says_in_cells_of_its_stride() -> None:
    head = new_head()
    head.boxes[-1].weight.zero_()
    head.boxes[-1].bias.copy_(torch.tensor([0.0, 1, 2, 3, 5]))
    head.box_scale.copy_(torch.tensor([1.0, 2.0, 0.5]))
    proposals = head(pyramid(1))
    first = 0
    for stride, scale in zip(STRIDES, (1.0, 2.0, 0.5), strict=True):
        left, top, right, bottom = (2 * stride * math.log1p(math.exp(scale * x)) for x in range(4))
        middle = stride / 2  # of the first place
        expected = torch.tensor([middle - left, middle - top, middle + right, middle + bottom])
        torch.testing.assert_close(proposals.boxes_xyxy[0, first], expected)
        first += (128 // stride) ** 2
    torch.testing.assert_close(proposals.quality_logits, torch.full((1, N, 1), 5.0))


@torch.no_grad()
def test_each_place_reads_what_lies_there() -> None:
    """What changes around one place of stride 16 changes proposals of that stride nearby, and no others."""
    levels, head = pyramid(1), new_head()
    before = head(levels).class_logits[0]
    levels.p16[..., 5, 2] += 3
    changed = (head(levels).class_logits[0] != before).any(dim=1)
    of_16 = changed[256:320].reshape(8, 8)
    assert not changed[:256].any()
    assert not changed[320:].any()
    assert bool(of_16[5, 2])
    assert not of_16[0].any()  # two 5x5 convolutions reach 4 cells


def test_the_score_is_the_geometric_mean_of_class_and_quality() -> None:
    classes = torch.tensor([[[0.0, -1.0, -9.0], [2.0, 3.0, 1.0]]])
    quality = torch.tensor([[[math.log(4)], [-1.0]]])  # 0.8 and 1 / (1 + e)
    proposals = Proposals(torch.zeros(1, 2, 4), classes, torch.zeros(1, 2, 4), quality)
    expected = [math.sqrt(0.5 * 0.8), math.sqrt(1 / (1 + math.exp(-3)) / (1 + math.e))]
    assert proposals.scores()[0].tolist() == pytest.approx(expected)


def test_picked_places_keep_what_they_say_in_the_order_asked_for() -> None:
    torch.manual_seed(0)
    proposals = Proposals(*(torch.randn(2, 9, n) for n in (5, 3, 4, 1)))
    index = torch.tensor([[8, 0, 3], [1, 1, 7]])
    for whole, part in zip(proposals, proposals.pick(index), strict=True):
        for i in range(2):
            assert torch.equal(part[i], whole[i, index[i]])


@torch.no_grad()
def test_the_network_decodes_the_best_places_first() -> None:
    torch.manual_seed(0)
    network = awakened(build_network(dataclasses.replace(SMALL, use_spatial_prompts=False))).eval()
    seen: list[Proposals] = []
    network.semantic_prompts.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    proposals: list[Proposals] = []
    network.proposal_head.register_forward_hook(lambda _, given, output: proposals.append(output))
    network(*inputs(2))
    for i in range(2):
        best = proposals[0].scores()[i].max()
        assert seen[0].scores()[i, 0] == best
        unique = seen[0].scores()[i][seen[0].class_logits[i].amax(dim=1) > -19]
        assert len(unique) > 1
        assert unique.tolist() == sorted(unique.tolist(), reverse=True)


def test_masks_do_not_teach_the_boxes_that_they_are_prompted_with() -> None:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).train()
    fused = network.encode(*inputs(2)).fused
    levels = network.pyramid(fused)
    proposals = network.proposal_head(levels)
    picked = proposals.pick(torch.arange(6).expand(2, 6))
    assert picked.boxes_xyxy.requires_grad
    masks, ious = network.segment(fused, levels, picked)
    total: Tensor = sum((part.float() ** 2).mean() for part in (*masks, *ious))
    total.backward()
    head = network.proposal_head
    taught = [name for name, p in head.named_parameters() if p.grad is not None and p.grad.any()]
    assert taught
    assert all(name.startswith("tower.") for name in taught)  # features, which prompts are made of
