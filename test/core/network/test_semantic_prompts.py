"""Semantic prompts: what a proposal tells the decoder, and that it hears of itself only."""

from __future__ import annotations

import torch
from network_cases import SMALL

from spda_sam_core.config import MASK_CHANNELS
from spda_sam_core.network.proposals import Proposals
from spda_sam_core.network.semantic_prompts import SemanticPrompts, relative_places

D, G = SMALL.width, SMALL.grid


@torch.no_grad()
def test_prompts_of_one_proposal_do_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    module = SemanticPrompts(SMALL).eval()
    boxes = torch.tensor([[[0.0, 0, 40, 60], [30, 10, 100, 50], [60, 60, 128, 128]]])
    proposals = Proposals(torch.randn(1, 3, D), torch.randn(1, 3, 3), boxes, torch.randn(1, 3, 1))
    positions, embedding, pe = torch.randn(1, 3, 3, D), torch.randn(1, D, G, G), torch.randn(1, D, G, G)
    sparse, dense = module(proposals, positions, embedding, pe)
    assert sparse.shape == (1, 3, SMALL.prompt_tokens, D)
    assert dense.shape == (1, 3, MASK_CHANNELS, G, G)
    alone, dense_alone = module(proposals.pick(torch.tensor([[1]])), positions[:, 1:2], embedding, pe)
    torch.testing.assert_close(sparse[:, 1:2], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense[:, 1:2], dense_alone)
    assert not torch.allclose(sparse[:, 0], sparse[:, 1], atol=0.1)
    for changed in (module(proposals, positions, embedding + torch.randn(1, D, G, G), pe)[0],
                    module(proposals, positions.flip(1), embedding, pe)[0]):  # fmt: skip
        assert not torch.allclose(changed, sparse, atol=0.01)


@torch.no_grad()
def test_tokens_are_content_place_and_kind_that_have_looked_at_the_embedding_once() -> None:
    torch.manual_seed(0)
    module = SemanticPrompts(SMALL).eval()
    torch.nn.init.normal_(module.kinds)
    features, positions = torch.randn(1, 2, D), torch.randn(1, 2, 3, D)
    boxes = torch.tensor([[[0.0, 0, 40, 60], [30, 10, 100, 50]]])
    embedding, pe = torch.randn(1, D, G, G), torch.randn(1, D, G, G)
    proposals = Proposals(features, torch.randn(1, 2, 3), boxes, torch.randn(1, 2, 1))
    sparse, dense = module(proposals, positions, embedding, pe)
    keys = embedding[0].flatten(1).T[None]  # (1, G*G, D)
    for j in range(2):
        content = module.from_features(features[0, j]) + module.from_positions(positions[0, j].flatten())
        for t in range(SMALL.prompt_tokens):
            token = (content[t * D : (t + 1) * D] + module.kinds[t])[None, None]
            looked = module.attention(q=module.norm1(token), k=keys + pe[0].flatten(1).T, v=keys)
            torch.testing.assert_close(sparse[0, j, t], module.norm2(token + looked)[0, 0], rtol=1e-4, atol=1e-5)
        for row, column in ((0, 0), (2, 7), (7, 3)):
            near = relative_places(boxes, G, SMALL.input_size)[0, j, row * G + column]
            torch.testing.assert_close(dense[0, j, :, row, column], module.whereabouts(near), rtol=1e-4, atol=1e-5)


def test_places_are_told_from_the_box() -> None:
    seen = relative_places(torch.tensor([[[0.0, 0, 64, 32]]]), 6, 96)[0, 0].reshape(6, 6, 5)
    # cell centres at 8, 24, ..; the box's centre is at (32, 16), its half sizes are 32 and 16
    torch.testing.assert_close(seen[0, 0], torch.tensor([-0.75, -0.5, 0.25, 2 / 3, 1 / 3]))
    torch.testing.assert_close(seen[1, 1, :3], torch.tensor([-0.25, 0.5, 0.5]))
    torch.testing.assert_close(seen[5, 5, :3], torch.tensor([1.75, 3.0, -2.0]))


def test_a_box_that_leaves_the_image_is_cut_and_one_without_a_size_has_eight_pixels() -> None:
    outside, tiny = relative_places(torch.tensor([[[-64.0, 0, 64, 300], [40, 40, 40, 40]]]), 6, 96)[0]
    inside = relative_places(torch.tensor([[[0.0, 0, 64, 96]]]), 6, 96)[0, 0]
    assert torch.equal(outside, inside)
    torch.testing.assert_close(tiny.reshape(6, 6, 5)[2, 2], torch.tensor([0, 0, 1, 8 / 96, 8 / 96]))
