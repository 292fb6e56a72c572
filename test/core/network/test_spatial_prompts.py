"""Spatial prompts: what is read off a mask, and that it is encoded as SAM encodes a person's clicks."""

from __future__ import annotations

import pytest
import torch
from network_cases import SMALL
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.config import MASK_FEATURES
from spda_sam_core.network.spatial_prompts import SpatialPrompts

S, G, D = SMALL.input_size, SMALL.grid, SMALL.width
SIDE, N = 4 * G, SMALL.spatial_points  # 32 cells of four network pixels


def new_prompts() -> SpatialPrompts:
    torch.manual_seed(0)
    return SpatialPrompts(SMALL).eval()


def masks_with(*rectangles: tuple[int, int, int, int], sure: float = 5.0) -> Tensor:
    """Logits (1, P, 32, 32), `sure` inside each rectangle (x0, y0, x1, y1) in mask pixels, -`sure` outside."""
    logits = torch.full((1, len(rectangles), SIDE, SIDE), -sure)
    for plane, (x0, y0, x1, y1) in zip(logits[0], rectangles, strict=True):
        plane[y0:y1, x0:x1] = sure
    return logits


def features(batch: int = 1) -> tuple[Tensor, Tensor]:
    """Mask features and image embedding."""
    torch.manual_seed(3)
    return torch.randn(batch, MASK_FEATURES, SIDE, SIDE), torch.randn(batch, D, G, G)


def test_box_is_that_of_the_mask_in_network_pixels() -> None:
    prompt = new_prompts().read_masks(masks_with((4, 8, 20, 24), (0, 0, 32, 32), (31, 3, 32, 4)), torch.zeros(1, 3, 4))
    assert prompt.boxes_xyxy[0].tolist() == [[16.0, 32, 80, 96], [0, 0, 128, 128], [124, 12, 128, 16]]


def test_an_empty_mask_falls_back_to_its_proposal_and_has_no_point_inside() -> None:
    prompt = new_prompts().read_masks(masks_with((0, 0, 0, 0)), torch.tensor([[[-9.0, 16.0, 99.0, 500.0]]]))
    assert prompt.boxes_xyxy[0, 0].tolist() == [0.0, 16.0, 99.0, 128.0]
    assert not prompt.are_points[0, 0, :N].any()
    assert bool(prompt.are_points[0, 0, N:].all())
    assert bool(torch.isfinite(prompt.points_xy).all())


def test_points_are_the_surest_of_different_cells_inside_and_in_the_hole_of_a_ring() -> None:
    torch.manual_seed(0)
    logits = masks_with((6, 6, 28, 28))
    logits[0, 0, 12:20, 12:20] = -5.0  # a hole: inside the box, outside the mask
    logits += torch.rand_like(logits)
    prompt = new_prompts().read_masks(logits, torch.zeros(1, 1, 4))
    assert bool(prompt.are_points.all())
    inside, outside = ((prompt.points_xy[0, 0] - 2) / 4).long().split(N)
    hole = {(x, y): float(logits[0, 0, y, x]) for x in range(12, 20) for y in range(12, 20)}
    ring = {(x, y): float(logits[0, 0, y, x]) for x in range(6, 28) for y in range(6, 28) if (x, y) not in hole}
    for points, values, sign in ((inside, ring, 1), (outside, hole, -1)):
        best_of_cell: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {}
        for (x, y), value in values.items():
            cell = (x // 4, y // 4)
            best_of_cell[cell] = max(best_of_cell.get(cell, (-100.0, (0, 0))), (sign * value, (x, y)))
        expected = [place for _, place in sorted(best_of_cell.values(), reverse=True)[:N]]
        assert [tuple(point) for point in points.tolist()] == expected


@pytest.mark.parametrize("side", [1, 2, 6])
def test_no_point_is_called_inside_a_small_thing_that_it_misses_or_outside_where_it_is_not(side: int) -> None:
    places = [(x, y, x + side, y + side) for x in range(0, SIDE - side, 3) for y in range(0, SIDE - side, 5)]
    places += [(SIDE - side, SIDE - side, SIDE, SIDE)]
    logits = masks_with(*places)
    prompt = new_prompts().read_masks(logits, torch.zeros(1, len(places), 4))
    for i in range(len(places)):
        labelled = zip(prompt.points_xy[0, i].tolist(), prompt.are_points[0, i].tolist(), strict=True)
        for j, ((x, y), is_point) in enumerate(labelled):
            drawn = bool(logits[0, i, int(y / 4), int(x / 4)] > 0)
            assert drawn or not (is_point and j < N), (places[i], x, y)
            # the box of a rectangle holds nothing else
            assert not (is_point and j >= N), (places[i], x, y)
        assert bool(prompt.are_points[0, i, 0])  # it lies in one cell of the grid at least


@torch.no_grad()
def test_prompts_equal_those_of_the_prompt_encoder_of_sam() -> None:
    module = new_prompts()
    torch.manual_seed(1)
    logits = torch.randn(2, 3, SIDE, SIDE)
    logits[:, 0, 10:20, 10:20] += 6
    logits[:, 1] = masks_with((9, 9, 11, 11))[0]  # too small for as many points
    logits[:, 2] = -4  # empty
    fallback = torch.tensor([10.0, 20, 50, 60]).expand(2, 3, 4)
    sparse, dense = module(logits, fallback, *features(2))
    prompt = module.read_masks(logits, fallback)
    assert prompt.are_points.float().mean() not in (0, 1)
    labels = torch.tensor([1] * N + [0] * N).expand(6, -1)
    labels = torch.where(prompt.are_points.flatten(0, 1), labels, -1)
    expected_sparse, expected_dense = module.prompt_encoder(
        # SAM adds half a pixel to what it takes for indices; ours are middles of cells and edges of boxes
        points=(prompt.points_xy.flatten(0, 1) - 0.5, labels),
        boxes=prompt.boxes_xyxy.flatten(0, 1) - 0.5,
        masks=logits.flatten(0, 1)[:, None],
    )
    torch.testing.assert_close(sparse[:, :, :-2].flatten(0, 1), expected_sparse)
    # our dense prompts are those before SAM's last layer
    widened = module.prompt_encoder.mask_downscaling[-1](dense.flatten(0, 1))
    torch.testing.assert_close(widened, expected_dense)


@torch.no_grad()
def test_positions_of_a_box_are_those_of_sam() -> None:
    module = new_prompts()
    codes = module.encode_positions(torch.tensor([[[-20.0, 8, 64, 500]]]))  # within the image: 0, 8, 64, 128
    none = torch.zeros(1, 3)
    xy = torch.tensor([[[0.0, 8], [64, 128], [32, 68]]]) - 0.5
    for kind, label in ((0, 0), (1, 1)):
        expected = module.prompt_encoder._embed_points(xy, none + label, pad=False)
        torch.testing.assert_close(codes[0] + module.prompt_encoder.point_embeddings[kind].weight, expected)


@torch.no_grad()
def test_region_tokens_are_of_the_mean_features_inside_and_around_each_mask() -> None:
    module = new_prompts()
    mask_features, embedding = features(2)
    # the second mask does not fill the cells of the embedding that it touches, and its surroundings leave the image
    logits = masks_with((8, 12, 16, 24), (1, 3, 7, 10), sure=32.0).repeat(2, 1, 1, 1)
    sparse, _ = module(logits, torch.zeros(2, 2, 4), mask_features, embedding)
    around_xyxy = [(4, 6, 20, 30), (-2, 0, 10, 13)]  # cells whose middles lie in twice the box
    for i in range(2):
        for j, (x0, y0, x1, y1) in enumerate(around_xyxy):
            inside = logits[i, j] > 0
            around = torch.zeros(SIDE, SIDE, dtype=torch.bool)
            around[max(y0, 0) : y1, max(x0, 0) : x1] = True
            around &= ~inside
            means = [mask_features[i][:, region].mean(dim=1) for region in (inside, around)]
            # a cell of the embedding counts by what share of it the region covers
            fine = F.interpolate(embedding[i][None], scale_factor=4, mode="nearest")[0]
            means += [fine[:, region].mean(dim=1) for region in (inside, around)]
            expected = module.from_regions(torch.cat(means)).reshape(2, D)
            torch.testing.assert_close(sparse[i, j, -2:], expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_flows_back_through_prompts_but_to_the_features_of_regions() -> None:
    logits = torch.randn(1, 2, SIDE, SIDE, requires_grad=True)
    boxes = torch.rand(1, 2, 4, requires_grad=True)
    mask_features, embedding = (x.requires_grad_() for x in features())
    sparse, dense = new_prompts()(logits, boxes, mask_features, embedding)
    (sparse.square().sum() + dense.sum()).backward()
    assert (logits.grad, boxes.grad) == (None, None)
    assert mask_features.grad is not None
    assert embedding.grad is not None


@torch.no_grad()
def test_position_codes_are_as_exact_under_autocast() -> None:
    module = new_prompts()
    boxes = torch.tensor([[[3.0, 8, 64.5, 101], [0, 0, 128, 128]]])
    expected = module.encode_positions(boxes), module.image_pe()
    with torch.autocast("cpu", torch.bfloat16):
        actual = module.encode_positions(boxes), module.image_pe()
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


@torch.no_grad()
def test_the_code_of_a_cell_of_the_embedding_is_that_of_its_middle() -> None:
    module = new_prompts()
    row, column = 2, 5
    x, y = 16 * column + 8.0, 16 * row + 8.0
    middle = module.encode_positions(torch.tensor([[[x, y, x, y]]]))[0, 0, 2]
    torch.testing.assert_close(module.image_pe()[0, :, row, column], middle, rtol=1e-4, atol=1e-5)
