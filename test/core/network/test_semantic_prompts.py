"""Semantic prompts: each proposal's own, and where it lies."""

from __future__ import annotations

import torch
from network_cases import SMALL
from torch import Tensor

from spda_sam_core.network.proposals import Proposals
from spda_sam_core.network.semantic_prompts import SemanticPrompts, relative_places

D, G = SMALL.width, SMALL.grid


def three_proposals() -> tuple[Proposals, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    low = torch.rand(1, 3, 2) * 60
    boxes = torch.cat([low, low + 40], dim=2)
    proposals = Proposals(torch.randn(1, 3, D), torch.randn(1, 3, 3), boxes, torch.randn(1, 3, 1))
    return proposals, torch.randn(1, 3, 3, D), torch.randn(1, D, G, G), torch.randn(1, D, G, G)


@torch.no_grad()
def test_tokens_of_one_proposal_do_not_depend_on_the_others() -> None:
    proposals, positions, embedding, pe = three_proposals()
    module = SemanticPrompts(SMALL).eval()
    sparse, dense = module(proposals, positions, embedding, pe)
    middle = proposals.pick(torch.tensor([[1]]))
    alone, dense_alone = module(middle, positions[:, 1:2], embedding, pe)
    assert sparse.shape == (1, 3, SMALL.prompt_tokens, D)
    torch.testing.assert_close(sparse[:, 1:2], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense[:, 1:2], dense_alone)


@torch.no_grad()
def test_the_dense_prompt_says_of_each_cell_where_it_lies_in_the_box() -> None:
    proposals, positions, embedding, pe = three_proposals()
    module = SemanticPrompts(SMALL).eval()
    _, dense = module(proposals, positions, embedding, pe)
    places = relative_places(proposals.boxes_xyxy, G, SMALL.input_size)  # (1, 3, G*G, 5), row by row
    for row, column in ((0, 0), (2, 7), (7, 2)):
        expected = module.whereabouts(places[:, :, row * G + column])
        torch.testing.assert_close(dense[..., row, column], expected)


def test_places_are_told_from_the_box() -> None:
    seen = relative_places(torch.tensor([[[0.0, 0, 64, 32]]]), 6, 96)[0, 0].reshape(6, 6, 5)
    # cell centres at 8, 24, ..; the box's centre is at (32, 16), its half sizes are 32 and 16
    torch.testing.assert_close(seen[0, 0], torch.tensor([-0.75, -0.5, 0.25, 2 / 3, 1 / 3]))
    torch.testing.assert_close(seen[1, 1, :3], torch.tensor([-0.25, 0.5, 0.5]))
    torch.testing.assert_close(seen[5, 5, :3], torch.tensor([1.75, 3.0, -2.0]))
