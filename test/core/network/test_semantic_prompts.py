"""Semantic prompts: places, boxes and the choice of the best."""

from __future__ import annotations

import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.semantic_prompts import (
    ProposalHead,
    Pyramid,
    SemanticPrompts,
    best_places,
    place_centres,
    relative_places,
)

CONFIG = load_model_config("tiny", class_names=("anode", "object"))


def test_centres_are_the_middles_of_the_cells_row_by_row():
    centres = place_centres(2, 8, torch.device("cpu"))
    assert centres.tolist() == [[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]]


def test_boxes_surround_their_places_at_every_stride():
    torch.manual_seed(0)
    pyramid = Pyramid(*(torch.randn(2, CONFIG.width, n, n) for n in (48, 24, 12)))
    proposals = ProposalHead(CONFIG).eval()(pyramid)
    centres = torch.cat([place_centres(384 // s, s, torch.device("cpu")) for s in (8, 16, 32)])
    assert proposals.boxes_xyxy.shape == (2, 3024, 4)
    assert bool((proposals.boxes_xyxy[..., :2] < centres).all())
    assert bool((proposals.boxes_xyxy[..., 2:] > centres).all())


def test_best_places_are_picked_best_first_whatever_their_class():
    logits = torch.full((2, 50, 11), -5.0)
    logits[0, 7, 3], logits[0, 30, 10], logits[0, 2, 0] = 2.0, 4.0, 1.0
    logits[1, 49, 5], logits[1, 0, 5], logits[1, 20, 1] = 3.0, 2.0, 1.0
    assert best_places(logits, 3).tolist() == [[30, 7, 2], [49, 0, 20]]


def test_tokens_of_one_proposal_do_not_depend_on_the_others():
    torch.manual_seed(0)
    module = SemanticPrompts(CONFIG).eval()
    pyramid = Pyramid(*(torch.randn(1, CONFIG.width, n, n) for n in (48, 24, 12)))
    proposals = ProposalHead(CONFIG).eval()(pyramid)
    pe = torch.randn(1, CONFIG.width, 24, 24)
    positions = torch.randn(1, 3, 3, CONFIG.width)
    with torch.no_grad():
        all_three, dense = module(proposals.pick(torch.tensor([[5, 900, 3000]])), positions, pyramid.p16, pe)
        alone, dense_alone = module(proposals.pick(torch.tensor([[900]])), positions[:, 1:2], pyramid.p16, pe)
    assert all_three.shape == (1, 3, CONFIG.prompt_tokens, CONFIG.width)
    torch.testing.assert_close(all_three[:, 1:2], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense[:, 1:2], dense_alone)


def test_places_are_told_from_the_box():
    seen = relative_places(torch.tensor([[[0.0, 0, 64, 32]]]), 6, 96)[0, 0].reshape(6, 6, 5)
    # cell centres at 8, 24, ..; the box's centre is at (32, 16), its half sizes are 32 and 16
    torch.testing.assert_close(seen[0, 0], torch.tensor([-0.75, -0.5, 0.25, 2 / 3, 1 / 3]))
    torch.testing.assert_close(seen[1, 1, :3], torch.tensor([-0.25, 0.5, 0.5]))
    torch.testing.assert_close(seen[5, 5, :3], torch.tensor([1.75, 3.0, -2.0]))
