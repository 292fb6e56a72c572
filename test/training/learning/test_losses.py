"""Losses of places, each against its formula written out; what is decoded; a gradient for all that is trained."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from small_model import SIZE, SMALL
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.network.proposals import Proposals
from training.learning.assignment import Assignment
from training.learning.losses import (
    DISPLACED,
    FARTHEST_CELLS,
    LossWeights,
    OneToManyHead,
    Targets,
    TrainingLosses,
    box_loss,
    choose_decoded,
    class_loss,
    displacements,
    named_places,
    quality_loss,
)

CONFIG = load_model_config("tiny", class_names=("anode", "object"), changes=SMALL)
Box = tuple[int, int, int, int]
UNNAMED = torch.zeros(1, 1, dtype=torch.bool)
"""No place shows a thing of a known class."""
WHOLE = torch.tensor([True])
"""A picture in which every thing is labelled."""


def targets_of(*pictures: list[Box], size: int = SIZE) -> Targets:
    """Pictures with an instance of class 0 per box x0, y0, x1, y1; the upper half of each has a depth."""
    masks, boxes = [], []
    for picture in pictures:
        drawn = torch.zeros(len(picture), size, size, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(drawn, picture, strict=True):
            mask[y0:y1, x0:x1] = True
        masks.append(drawn)
        boxes.append(torch.tensor(picture, dtype=torch.float32).reshape(-1, 4))
    classes = [torch.zeros(len(picture), dtype=torch.int64) for picture in pictures]
    valid = torch.zeros(len(pictures), 1, size, size)
    valid[:, :, : size // 2] = 1
    every = torch.ones(len(pictures), 1, dtype=torch.bool)
    return Targets(masks, boxes, classes, 0.3 * valid, valid, labelled=every, complete=every[:, 0])


def assignment(places: list[int], instances: list[int], quality: list[float]) -> Assignment:
    of_integers = (torch.tensor(values, dtype=torch.int64) for values in (places, instances))
    return Assignment(*of_integers, torch.tensor(quality))


def proposals_of(boxes_xyxy: Tensor, quality_logits: Tensor | None = None) -> Proposals:
    n = boxes_xyxy.shape[:2]
    quality = torch.zeros(*n, 1) if quality_logits is None else quality_logits[..., None]
    return Proposals(torch.zeros(*n, 1), torch.zeros(*n, 3), boxes_xyxy, quality)


def chance(pictures: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(pictures)]


def losses_of(
    model: SpdaSamNetwork,
    head: OneToManyHead,
    targets: Targets,
    valid: Tensor,
    estimate: Tensor,
    catch_all: int | None = None,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    inverse_depth = torch.rand(2, 1, SIZE, SIZE, generator=generator) * valid
    losses: dict[str, Tensor] = TrainingLosses(model, head, decoded=4, weights=LossWeights(), catch_all=catch_all)(
        image, inverse_depth, valid, estimate, targets, chance(2)
    )
    return losses


@pytest.mark.parametrize("switched_off", [None, "use_depth", "fusion_coarse", "fusion_fine", "use_spatial_prompts"])
def test_every_trained_parameter_gets_a_gradient(switched_off: str | None) -> None:
    torch.manual_seed(0)
    config = CONFIG if switched_off is None else dataclasses.replace(CONFIG, **{switched_off: False})
    model = build_network(config).train()
    with torch.no_grad():  # branches that start at zero pass no gradient on before the first step
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.05)
    # one mask is empty, and so has no points: what stands for a missing one learns too
    nothing = torch.tensor([40.0, 0, 0, 0])[:, None, None]
    model.decoder.register_forward_hook(lambda _, __, out: (out[0] - nothing, out[1]))
    head = OneToManyHead(model)
    # the large one has its places at stride 32
    targets = targets_of([(4, 4, 92, 92), (10, 16, 50, 60), (60, 62, 84, 78)], [(4, 20, 30, 52)])
    valid = (torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) > 0.3).float()
    losses_of(model, head, targets, valid, torch.zeros(2))["total"].backward()
    without = [
        name
        for name, p in [*model.named_parameters(), *head.named_parameters()]
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []


@pytest.mark.parametrize("estimate", [0.0, 1.0])
def test_pictures_without_instances_or_depth_give_finite_losses(estimate: float) -> None:
    torch.manual_seed(0)
    model = build_network(CONFIG).train()
    targets = dataclasses.replace(targets_of([], []), depth_valid=torch.zeros(2, 1, SIZE, SIZE))
    head = OneToManyHead(model)
    losses = losses_of(model, head, targets, torch.zeros(2, 1, SIZE, SIZE), torch.full((2,), estimate))
    losses["total"].backward()
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    for name in ("mask_bce", "mask_dice", "boxes", "quality", "depth"):
        assert losses[name].item() == 0, name


def test_the_total_is_the_weighted_sum_of_all_terms() -> None:
    torch.manual_seed(0)
    model = build_network(CONFIG).train()
    targets = targets_of([(10, 16, 50, 60)], [(4, 20, 30, 52)])
    losses = losses_of(model, OneToManyHead(model), targets, targets.depth_valid, torch.zeros(2))
    losses = {name: value.detach() for name, value in losses.items()}
    total = losses.pop("total")
    weights = dataclasses.asdict(LossWeights())
    assert set(weights) == set(losses)
    assert all(float(value) > 0 for value in losses.values())
    assert float(total) == pytest.approx(sum(weights[name] * float(value) for name, value in losses.items()), rel=1e-5)


def test_class_loss_of_places_that_say_one_half() -> None:
    matched = [assignment([5, 2], [0, 1], [0.8, 0.3]), assignment([], [], [])]
    targets = targets_of([(0, 0, 8, 8), (8, 8, 24, 24)], [])
    loss = class_loss(torch.zeros(2, 9, 3), matched, targets, UNNAMED)
    others = 2 * 9 * 3 - 2
    # -q (q log p + (1 - q) log(1 - p)) where there is something, -0.75 p^2 log(1 - p) where not
    assert float(loss) == pytest.approx(math.log(2) * (0.8 + 0.3 + others * 0.75 * 0.5**2) / (0.8 + 0.3), rel=1e-5)


def test_class_loss_is_the_varifocal_loss_written_out() -> None:
    logits = torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(0)) * 2
    targets = targets_of([(0, 0, 8, 8)])
    expected = 0.0
    for place in range(9):
        for name in range(3):
            p = 1 / (1 + math.exp(-float(logits[0, place, name])))
            q = 0.6 if (place, name) == (4, 0) else 0.0
            if q > 0:
                expected -= q * (q * math.log(p) + (1 - q) * math.log(1 - p))
            else:
                expected -= 0.75 * p**2 * math.log(1 - p)
    loss = class_loss(logits, [assignment([4], [0], [0.6])], targets, UNNAMED)
    assert float(loss) == pytest.approx(expected, rel=1e-5)  # per unit of quality, of which one is taken at least


def test_classes_that_are_right_cost_nothing_and_wrong_ones_do() -> None:
    one, targets = [assignment([5], [0], [1.0])], targets_of([(10, 20, 50, 60)])
    logits = torch.full((1, 9, 3), -20.0)
    logits[0, 5, 0] = 20
    assert float(class_loss(logits, one, targets, UNNAMED)) < 1e-6
    assert float(class_loss(-logits, one, targets, UNNAMED)) > 20


def test_box_loss_is_one_minus_generalised_iou_weighted_by_quality_with_a_floor() -> None:
    targets = targets_of([(10, 20, 50, 60), (60, 60, 90, 70)], [(0, 0, 20, 20)])
    boxes = torch.rand(2, 9, 4, generator=torch.Generator().manual_seed(0)) * 40
    boxes[..., 2:] += boxes[..., :2] + 5
    matched = [assignment([1, 7, 3], [0, 0, 1], [0.9, 0.5, 0.0]), assignment([8], [0], [0.02])]
    giou = torch.stack(
        [
            generalized_box_iou(boxes[i, place : place + 1], targets.boxes_xyxy[i][k : k + 1])[0, 0]
            for i, place, k in ((0, 1, 0), (0, 7, 0), (0, 3, 1), (1, 8, 0))
        ]
    )
    weight = torch.tensor([0.9, 0.5, 0.1, 0.1])
    expected = float(((1 - giou) * weight).sum() / weight.sum())
    assert float(box_loss(proposals_of(boxes), matched, targets)) == pytest.approx(expected, rel=1e-5)


def test_boxes_that_fit_nothing_yet_still_learn() -> None:
    targets = targets_of([(10, 20, 50, 60)])
    boxes = torch.tensor([[[70.0, 70, 90, 90]]]).requires_grad_()
    box_loss(proposals_of(boxes), [assignment([0], [0], [0.0])], targets).backward()
    assert boxes.grad is not None
    assert bool((boxes.grad[0, 0] > 0).all())  # downhill is up and left, where the instance is


def test_boxes_that_are_right_cost_nothing() -> None:
    targets = targets_of([(10, 20, 50, 60)])
    right = proposals_of(targets.boxes_xyxy[0].expand(1, 9, 4))
    assert float(box_loss(right, [assignment([5], [0], [1.0])], targets)) == pytest.approx(0, abs=1e-6)


def test_quality_learns_the_iou_of_its_box() -> None:
    targets = targets_of([(0, 0, 40, 40)])
    # IoU 1, 1/4, 0 (beside it), 1/2 (too large), and one that is matched with nothing
    boxes = torch.tensor(
        [[[0.0, 0, 40, 40], [20, 0, 40, 20], [50, 50, 60, 60], [0, 0, 80, 40], [0, 0, 40, 40]]]
    ).requires_grad_()
    logits = torch.zeros(1, 5).requires_grad_()
    loss = quality_loss(proposals_of(boxes, logits), [assignment([0, 1, 2, 3], [0] * 4, [1.0] * 4)], targets)
    assert float(loss.detach()) == pytest.approx(math.log(2))  # cross-entropy of 0.5 with anything
    loss.backward()
    # its slope is probability minus IoU
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5 - 1, 0.5 - 0.25, 0.5, 0, 0]]) / 4)
    assert boxes.grad is None  # boxes do not learn from it


def test_matched_places_are_decoded_first_and_never_again_as_nobodys() -> None:
    one = [assignment([7, 9], [0, 1], [1, 1])]
    many = [assignment([1, 2, 7], [1, 0, 0], [1, 1, 1])]
    index, owners = choose_decoded(one, many, torch.tensor([[7, 5, 9, 8, 3, 1]]), WHOLE, chance(1))
    pairs = list(zip(index[0].tolist(), owners[0].tolist(), strict=True))
    assert set(pairs[:2]) == {(7, 0), (9, 1)}
    # half of the other four places are one-to-many matches, but for those that are decoded already
    assert set(pairs[2:4]) == {(1, 1), (2, 0)}
    assert pairs[4:] == [(5, -1), (8, -1)]  # the best of the others, in order


@pytest.mark.parametrize("seed", range(5))
def test_no_place_is_decoded_twice_while_there_are_others(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(12, generator=generator).tolist()
    one = [assignment(places[:3], [0, 1, 2], [1, 1, 1])]
    many = [assignment(places[:8], [0, 1, 2, 0, 1, 2, 0, 1], [1] * 8)]
    best = torch.randperm(12, generator=generator)[None, :10]
    index, owners = choose_decoded(one, many, best, WHOLE, chance(1, seed))
    # of the 10 best at most 10 - 6 remain when 6 are matched, and 4 are wanted
    assert len(set(index[0].tolist())) == 10
    owner_of = dict(zip(places[:8], [0, 1, 2, 0, 1, 2, 0, 1], strict=True))
    for place, owner in zip(index[0].tolist(), owners[0].tolist(), strict=True):
        assert owner in (owner_of.get(place, -1), -1)
    assert set(index[0, :3].tolist()) == set(places[:3])


def test_without_matches_the_best_places_are_decoded() -> None:
    nothing = [assignment([], [], [])]
    index, owners = choose_decoded(nothing, nothing, torch.tensor([[4, 5]]), WHOLE, chance(1))
    assert (index.tolist(), owners.tolist()) == ([[4, 5]], [[-1, -1]])


def test_more_instances_than_places_are_decoded_in_turn() -> None:
    one = [assignment(list(range(6)), list(range(6)), [1.0] * 6)]
    seen = set()
    for seed in range(40):
        index, owners = choose_decoded(one, one, torch.tensor([[6, 7]]), WHOLE, chance(1, seed))
        assert torch.equal(index, owners)
        seen |= set(owners[0].tolist())
    assert seen == set(range(6))


def test_a_share_of_the_masks_is_moved_by_up_to_ten_cells_either_way() -> None:
    moves = displacements(torch.zeros(200, 50, dtype=torch.int64), chance(200)).reshape(-1, 2)
    moved = (moves != 0).any(dim=1)
    # of the 21 x 21 moves one is none at all; 10 000 draws
    expected = DISPLACED * (1 - 1 / 21**2)
    assert float(moved.float().mean()) == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 10_000))
    for axis in range(2):
        assert set(moves[moved, axis].tolist()) == set(range(-FARTHEST_CELLS, FARTHEST_CELLS + 1))
    assert FARTHEST_CELLS * 4 >= 32  # cells are 4 pixels: as far as a mask was wrong and yet was thought right


def test_the_second_pass_sees_the_moved_mask() -> None:
    torch.manual_seed(0)
    model = build_network(CONFIG).eval()
    image, nothing = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8), torch.zeros(1, 1, SIZE, SIZE)
    features = model.encode(image, nothing, nothing, torch.zeros(1))
    pyramid = model.pyramid(features.fused)
    picked = model.proposal_head(pyramid).pick(torch.tensor([[3, 60]]))
    seen: list[Tensor] = []
    model.spatial_prompts.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    still = model.segment(features.fused, pyramid, picked)
    shift = torch.tensor([[[0, 0], [3, -2]]])
    moved = model.segment(features.fused, pyramid, picked, shift)
    torch.testing.assert_close(still.mask_logits[0], moved.mask_logits[0])
    torch.testing.assert_close(seen[1][0, 0], seen[0][0, 0])
    # 3 cells down, 2 left
    torch.testing.assert_close(seen[1][0, 1, 3:, :-2], seen[0][0, 1, :-3, 2:])


def test_one_to_many_head_reads_each_stride_as_a_grid() -> None:
    torch.manual_seed(0)
    model = build_network(CONFIG)
    head = OneToManyHead(model).eval()
    sides = [SIZE // 8, SIZE // 16, SIZE // 32]
    grids = [torch.randn(2, CONFIG.width, side, side) for side in sides]
    places = torch.cat([F.unfold(grid, 1) for grid in grids], dim=2).transpose(1, 2)  # row by row
    expected = torch.cat([F.unfold(head.classes(grid), 1) for grid in grids], dim=2).transpose(1, 2)
    torch.testing.assert_close(head(places), expected)


def test_a_class_that_a_set_does_not_label_learns_nothing_from_its_unmatched_places() -> None:
    matched = [assignment([5], [0], [0.8]), assignment([2], [0], [0.6])]
    targets = targets_of([(0, 0, 8, 8)], [(8, 8, 24, 24)])
    labelled = torch.tensor([[True, True, True], [True, False, False]])
    targets = dataclasses.replace(targets, labelled=labelled, class_ids=[torch.tensor([0]), torch.tensor([2])])
    logits = torch.zeros(2, 9, 3, requires_grad=True)
    loss = class_loss(logits, matched, targets, UNNAMED)
    loss.backward()
    assert logits.grad is not None
    taught = logits.grad != 0
    assert taught[0].all()  # all of its classes are labelled
    assert taught[1, :, 0].all()
    assert not taught[1, :, 1].any()
    assert taught[1, :, 2].nonzero().tolist() == [[2]]  # a thing of a class that the set does not label otherwise
    counted = 9 * 3 - 1 + 9
    assert float(loss.detach()) == pytest.approx(math.log(2) * (1.4 + counted * 0.75 * 0.5**2) / 1.4, rel=1e-5)


def test_a_place_that_shows_a_thing_of_a_known_class_learns_that_it_is_of_no_other() -> None:
    """Or `object`, which hardly any set labels, would never hear that it is wrong, and win over the right name."""
    targets = targets_of([(0, 0, 8, 8)])
    targets = dataclasses.replace(targets, labelled=torch.tensor([[True, False, False]]))
    logits = torch.zeros(1, 9, 3, requires_grad=True)
    named = torch.arange(9)[None] == 7  # a double of the match, say
    class_loss(logits, [assignment([5], [0], [0.8])], targets, named).backward()
    assert logits.grad is not None
    taught = sorted((logits.grad > 0).nonzero().tolist())
    assert taught == sorted([[0, i, 0] for i in range(9) if i != 5] + [[0, 7, 1], [0, 7, 2]])


def test_places_are_named_by_what_their_boxes_show_but_not_by_the_catch_all() -> None:
    targets = targets_of([(0, 0, 10, 10), (20, 20, 40, 40)], [])
    targets = dataclasses.replace(targets, class_ids=[torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64)])
    boxes = torch.tensor([[0, 0, 10, 5], [0, 0, 10, 4.9], [20, 20, 40, 40], [50, 50, 60, 60]], dtype=torch.float32)
    both = boxes.expand(2, 4, 4)
    assert named_places(both, targets, catch_all=2).tolist() == [[True, False, False, False], [False] * 4]
    assert named_places(both, targets, catch_all=None).tolist() == [[True, False, True, False], [False] * 4]


def test_the_class_rows_of_the_network_learn_as_their_pictures_set_labels() -> None:
    torch.manual_seed(0)
    model = build_network(CONFIG).train()
    head = OneToManyHead(model)
    targets = targets_of([(10, 16, 50, 60)], [(4, 20, 30, 52)])  # both of class 0
    for labelled, learns in (([True, False], False), ([True, True], True)):
        own = dataclasses.replace(targets, labelled=torch.tensor([labelled, labelled]))
        # of the catch-all, so that it depends on what is labelled alone
        losses = losses_of(model, head, own, targets.depth_valid, torch.zeros(2), catch_all=0)
        rows = [layer.weight for name, layer in model.proposal_head.classes.named_modules() if hasattr(layer, "weight")]
        last = next(weight for weight in rows[::-1] if len(weight) == len(CONFIG.class_names))
        for weight in (last, head.classes[-1].weight):
            (gradient,) = torch.autograd.grad(losses["total"], weight, retain_graph=True)
            assert bool(gradient[0].any())
            assert bool(gradient[1].any()) is learns


def test_where_not_every_thing_is_labelled_one_to_many_matches_are_decoded_in_place_of_the_best() -> None:
    one = [assignment([3], [0], [1.0])]
    many = [assignment([3, 11, 12, 13, 14], [0, 0, 0, 0, 0], [1.0] * 5)]
    best = torch.tensor([[7, 5, 9, 8, 1]])
    index, owners = choose_decoded(one, many, best, ~WHOLE, chance(1))
    assert sorted(index[0].tolist()) == [3, 11, 12, 13, 14]
    assert owners[0].tolist() == [0] * 5
    index, owners = choose_decoded(one, many, best, WHOLE, chance(1))
    assert index[0, 3:].tolist() == [7, 5]
    assert owners[0].tolist() == [0, 0, 0, -1, -1]
