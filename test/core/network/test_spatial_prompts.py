"""Spatial prompts: what is read off a mask, and that it is encoded as SAM encodes a person's clicks."""

from __future__ import annotations

import math

import pytest
import torch
from network_cases import SMALL
from torch import Tensor

from spda_sam_core.config import MASK_CHANNELS, MASK_FEATURES
from spda_sam_core.network.spatial_prompts import CELLS, SpatialPrompts

SIDE, SIZE, G, D, POINTS = 4 * SMALL.grid, SMALL.input_size, SMALL.grid, SMALL.width, SMALL.spatial_points
Box = tuple[int, int, int, int]


def masks_with(*rectangles: Box) -> Tensor:
    """Logits (1, P, 32, 32), 5 inside each rectangle (x0, y0, x1, y1) in mask cells, -5 outside."""
    logits = torch.full((1, len(rectangles), SIDE, SIDE), -5.0)
    for plane, (x0, y0, x1, y1) in zip(logits[0], rectangles, strict=True):
        plane[y0:y1, x0:x1] = 5.0
    return logits


def module() -> SpatialPrompts:
    torch.manual_seed(0)
    return SpatialPrompts(SMALL).eval()


def features(b: int = 1) -> tuple[Tensor, Tensor]:
    """Mask features and image embedding."""
    g = torch.Generator().manual_seed(1)
    return torch.randn(b, MASK_FEATURES, SIDE, SIDE, generator=g), torch.randn(b, D, G, G, generator=g)


def test_box_is_that_of_the_mask_in_network_pixels() -> None:
    prompt = module().read_masks(masks_with((10, 20, 30, 25), (0, 0, 32, 32), (31, 3, 32, 4)), torch.zeros(1, 3, 4))
    assert prompt.boxes_xyxy[0].tolist() == [[40.0, 80, 120, 100], [0, 0, 128, 128], [124, 12, 128, 16]]


def test_the_box_reaches_around_all_parts_of_a_mask() -> None:
    logits = masks_with((2, 4, 5, 6))
    logits[0, 0, 20, 30] = 0.01
    assert module().read_masks(logits, torch.zeros(1, 1, 4)).boxes_xyxy[0, 0].tolist() == [8.0, 16, 124, 84]


def test_an_empty_mask_falls_back_to_its_proposal_and_has_no_point_inside() -> None:
    prompt = module().read_masks(masks_with((0, 0, 0, 0)), torch.tensor([[[-9.0, 16.0, 99.0, 500.0]]]))
    assert prompt.boxes_xyxy[0, 0].tolist() == [0.0, 16.0, 99.0, 128.0]
    assert bool(torch.isfinite(prompt.points_xy).all())
    assert prompt.are_points[0, 0].tolist() == [False] * POINTS + [True] * POINTS


def test_points_lie_inside_and_outside_of_a_ring_and_spread() -> None:
    logits = masks_with((4, 4, 28, 28))
    logits[0, 0, 10:22, 10:22] = -5.0  # a hole: inside the box, outside the mask
    prompt = module().read_masks(logits, torch.zeros(1, 1, 4))
    assert bool(prompt.are_points.all())
    inside, outside = prompt.points_xy[0, 0].div(4).long().split(POINTS)
    assert all(logits[0, 0, y, x] > 0 for x, y in inside.tolist())
    assert all(10 <= x < 22 and 10 <= y < 22 for x, y in outside.tolist())
    for points in (inside, outside):
        assert len({(x * CELLS // SIDE, y * CELLS // SIDE) for x, y in points.tolist()}) == POINTS


def test_points_are_the_surest_ones_at_the_middle_of_their_cell() -> None:
    logits = masks_with((0, 0, 32, 32))
    logits[0, 0, 7, 19], logits[0, 0, 7, 21] = 9.0, 8.0  # in two of 8 x 8 cells
    logits[0, 0, 7, 18] = 8.5  # better, but beside the best
    logits[0, 0, 20, 21], logits[0, 0, 5, 5] = -8.0, -7.0
    points = module().read_masks(logits, torch.zeros(1, 1, 4)).points_xy[0, 0]
    assert points.tolist() == [[78.0, 30], [86, 30], [86, 82], [22, 22]]


@pytest.mark.parametrize("points", [2, 4])
@pytest.mark.parametrize("side", range(1, 7))
def test_a_small_thing_never_has_a_point_inside_that_lies_outside_of_it(side: int, points: int) -> None:
    """Of 3 cells a side or fewer, it does not have so many places; SAM has a code for what is no point."""
    read = module()
    read.points = points
    corners = [(x, y) for x in range(0, SIDE - side, 5) for y in range(0, SIDE - side, 7)]
    logits = masks_with(*((x, y, x + side, y + side) for x, y in corners))
    prompt = read.read_masks(logits, torch.zeros(1, len(corners), 4))
    cells = prompt.points_xy[0].div(4).long()
    for plane, xy, real in zip(logits[0], cells, prompt.are_points[0], strict=True):
        said = [
            (plane[y, x] > 0).item() for (x, y), is_point in zip(xy[:points].tolist(), real, strict=False) if is_point
        ]
        assert said == [True] * len(said)
        assert len(said) >= 1
        assert not real[points:].any()  # its box is full: nothing in it lies outside


def test_prompts_equal_those_of_the_upstream_prompt_encoder() -> None:
    torch.manual_seed(0)
    own = module()
    logits = torch.randn(2, 3, SIDE, SIDE)
    logits[:, :, 10:16, 10:16] += 6
    logits[1] = masks_with((9, 9, 11, 11), (0, 0, 0, 0), (0, 0, 32, 32))[0]  # these lack some points
    fallback = torch.tensor([8.0, 16, 60, 70]).expand(2, 3, 4)
    with torch.no_grad():
        sparse, dense = own(logits, fallback, *features(2))
        prompt = own.read_masks(logits, fallback)
        assert 3 < (~prompt.are_points).sum() < prompt.are_points.numel() / 2
        labels = torch.tensor([1] * POINTS + [0] * POINTS).expand(2, 3, -1).clone()
        labels[~prompt.are_points] = -1
        # upstream takes pixel indices and adds half a pixel; ours are coordinates already
        expected_sparse, expected_dense = own.prompt_encoder(
            points=((prompt.points_xy - 0.5).flatten(0, 1), labels.flatten(0, 1)),
            boxes=(prompt.boxes_xyxy - 0.5).flatten(0, 1),
            masks=logits.flatten(0, 1)[:, None],
        )
        # dense prompts are those before SAM's last layer
        given_dense = own.prompt_encoder.mask_downscaling[-1](dense.flatten(0, 1))
    assert sparse.shape == (2, 3, 2 * POINTS + 4, D)
    assert dense.shape == (2, 3, MASK_CHANNELS, G, G)
    torch.testing.assert_close(sparse[:, :, :-2].flatten(0, 1), expected_sparse, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(given_dense, expected_dense, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_logits_beyond_what_a_mask_prompt_may_say_are_cut() -> None:
    own = module()
    logits = masks_with((3, 3, 9, 17), (5, 20, 30, 30)) * 6.4  # 32 inside, -32 outside
    expected = own(logits, torch.zeros(1, 2, 4), *features())
    for given, e in zip(own(100 * logits, torch.zeros(1, 2, 4), *features()), expected, strict=True):
        torch.testing.assert_close(given, e)


def pooled(region: Tensor, side: int) -> Tensor:
    """Mean over blocks, one cell at a time."""
    block = region.shape[0] // side
    return torch.tensor(
        [[region[r * block : (r + 1) * block, c * block : (c + 1) * block].mean().item() for c in range(side)]
         for r in range(side)]
    )  # fmt: skip


@torch.no_grad()
def test_region_tokens_say_the_mean_features_inside_and_around() -> None:
    own = module()
    logits = -3 * torch.rand(1, 2, SIDE, SIDE) - 0.1
    logits[0, 0, 8:14, 4:12] += 4
    logits[0, 1, 20:26, 22:32] += 4
    mask_features, embedding = features()
    sparse, _ = own(logits, torch.zeros(1, 2, 4), mask_features, embedding)
    for i in range(2):
        inside = 1 / (1 + (-logits[0, i]).exp())
        rows, columns = torch.nonzero(logits[0, i] > 0, as_tuple=True)
        window = torch.zeros(SIDE, SIDE)
        y0, y1, x0, x1 = rows.min().item(), rows.max().item() + 1, columns.min().item(), columns.max().item() + 1
        for y in range(SIDE):
            for x in range(SIDE):
                near_x = abs(x + 0.5 - (x0 + x1) / 2) < x1 - x0  # twice the box around the same middle
                near_y = abs(y + 0.5 - (y0 + y1) / 2) < y1 - y0
                window[y, x] = float(near_x and near_y)
        means = []
        for values in (mask_features[0], embedding[0]):
            for region in (inside, (1 - inside) * window):
                weights = pooled(region, values.shape[-1])
                means.append((values * weights).sum(dim=(1, 2)) / weights.sum())
        assert own.from_regions is not None
        expected = own.from_regions(torch.cat(means)).reshape(2, D)
        torch.testing.assert_close(sparse[0, i, -2:], expected, rtol=1e-4, atol=1e-4)


def test_positions_of_boxes_are_their_corners_and_middle() -> None:
    own = module()
    boxes = torch.tensor([[[10.0, 20, 50, 100], [-20, 3, 140, 60]]])
    matrix = own.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.double()
    for j, (x0, y0, x1, y1) in enumerate(boxes[0].clamp(0, SIZE).tolist()):
        xy = torch.tensor([[x0, y0], [x1, y1], [(x0 + x1) / 2, (y0 + y1) / 2]], dtype=torch.float64)
        turns = 2 * math.pi * ((2 * xy / SIZE - 1) @ matrix)
        expected = torch.cat([turns.sin(), turns.cos()], dim=1).float()
        torch.testing.assert_close(own.encode_positions(boxes)[0, j], expected, rtol=1e-4, atol=1e-4)


def test_under_autocast_position_codes_stay_float32() -> None:
    """Their sines are of large numbers, of which bfloat16 keeps two digits."""
    own = module()
    boxes = 128 * torch.rand(1, 5, 2, 2).sort(dim=2).values.flatten(2)
    codes, image_pe = own.encode_positions(boxes), own.image_pe()
    with torch.autocast("cpu", torch.bfloat16):
        same, same_pe = own.encode_positions(boxes), own.image_pe()
    assert (same.dtype, same_pe.dtype) == (torch.float32, torch.float32)
    assert torch.equal(same, codes)
    assert torch.equal(same_pe, image_pe)


def test_no_gradient_flows_back_to_pass_1_and_one_to_what_prompts_are_made_with() -> None:
    own = module()
    logits = torch.randn(1, 2, SIDE, SIDE, requires_grad=True)
    boxes = torch.rand(1, 2, 4, requires_grad=True)
    given = [x.requires_grad_(True) for x in features()]
    sparse, dense = own(logits, boxes, *given)
    (sparse.square().sum() + dense.square().sum()).backward()
    assert logits.grad is None
    assert boxes.grad is None
    assert all(x.grad is not None and bool(x.grad.any()) for x in given)
