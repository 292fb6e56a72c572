"""Spatial prompts: what is read off a mask, and that it is encoded as SAM encodes a person's clicks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.spatial_prompts import SpatialPrompts

CONFIG = load_model_config("tiny", class_names=("anode", "object"))
SIDE = 4 * CONFIG.grid  # 96, four network pixels each


def masks_with(*rectangles):
    """Logits (1, P, 96, 96), 5 inside each rectangle (x0, y0, x1, y1) in mask pixels, -5 outside."""
    logits = torch.full((1, len(rectangles), SIDE, SIDE), -5.0)
    for plane, (x0, y0, x1, y1) in zip(logits[0], rectangles, strict=True):
        plane[y0:y1, x0:x1] = 5.0
    return logits


def test_box_is_that_of_the_mask_in_network_pixels():
    prompt = SpatialPrompts(CONFIG).read_masks(
        masks_with((10, 20, 50, 60), (0, 0, 96, 96), (95, 3, 96, 4)), torch.zeros(1, 3, 4)
    )
    expected = [[40.0, 80, 200, 240], [0, 0, 384, 384], [380, 12, 384, 16]]
    assert prompt.boxes_xyxy[0].tolist() == expected


def test_an_empty_mask_falls_back_to_its_proposal():
    prompt = SpatialPrompts(CONFIG).read_masks(masks_with((0, 0, 0, 0)), torch.tensor([[[-9.0, 16.0, 99.0, 500.0]]]))
    assert prompt.boxes_xyxy[0, 0].tolist() == [0.0, 16.0, 99.0, 384.0]
    assert bool(torch.isfinite(prompt.points_xy).all())


def test_points_lie_inside_and_outside_of_a_ring_and_spread():
    logits = masks_with((16, 16, 80, 80))
    logits[0, 0, 36:60, 36:60] = -5.0  # a hole: inside the box, outside the mask
    points = SpatialPrompts(CONFIG).read_masks(logits, torch.zeros(1, 1, 4)).points_xy[0, 0]
    inside, outside = points.div(4).long().split(CONFIG.spatial_points)
    assert all(logits[0, 0, y, x] > 0 for x, y in inside.tolist())
    assert all(36 <= x < 60 and 36 <= y < 60 for x, y in outside.tolist())
    cells = {(x // 12, y // 12) for x, y in inside.tolist()}
    assert len(cells) == CONFIG.spatial_points


@pytest.mark.parametrize("decoder", ["joint", "per_prompt"])
def test_prompts_equal_those_of_the_upstream_prompt_encoder(decoder):
    torch.manual_seed(0)
    module = SpatialPrompts(dataclasses.replace(CONFIG, decoder=decoder))
    logits = torch.randn(2, 3, SIDE, SIDE)
    logits[:, :, 30:50, 30:50] += 6
    with torch.no_grad():
        sparse, dense = module(logits, torch.zeros(2, 3, 4))
        points_xy, boxes_xyxy = module.read_masks(logits, torch.zeros(2, 3, 4))
        n = CONFIG.spatial_points
        labels = torch.tensor([1] * n + [0] * n).expand(6, -1)
        expected_sparse, expected_dense = module.prompt_encoder(
            points=(points_xy.flatten(0, 1), labels),
            boxes=boxes_xyxy.flatten(0, 1),
            masks=logits.flatten(0, 1)[:, None],
        )
        given_dense = dense.flatten(0, 1)
        if decoder == "joint":  # whose dense prompts are those before SAM's last layer
            given_dense = module.prompt_encoder.mask_downscaling[-1](given_dense)
    torch.testing.assert_close(sparse.flatten(0, 1), expected_sparse)
    torch.testing.assert_close(given_dense, expected_dense)


def test_no_gradient_flows_back_through_prompts():
    logits = torch.randn(1, 1, SIDE, SIDE, requires_grad=True)
    sparse, dense = SpatialPrompts(CONFIG)(logits, torch.zeros(1, 1, 4))
    (sparse.sum() + dense.sum()).backward()
    assert logits.grad is None
