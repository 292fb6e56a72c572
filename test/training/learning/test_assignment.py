"""Assignment: who answers for what, on hand-made places."""

from __future__ import annotations

import torch

from training.learning.assignment import assign

CENTRES = torch.tensor([[8.0, 8], [24, 8], [8, 24], [24, 24]])


def run(boxes, true_boxes, classes, *, on_mask=None, logits=None, per_instance=1):
    true_boxes = torch.tensor(true_boxes, dtype=torch.float32).reshape(-1, 4)
    if on_mask is None:
        on_mask = torch.ones(len(true_boxes), 4, dtype=torch.bool)
    return assign(
        torch.zeros(4, 3) if logits is None else logits,
        torch.tensor(boxes, dtype=torch.float32),
        CENTRES,
        on_mask,
        true_boxes,
        torch.tensor(classes, dtype=torch.int64),
        per_instance=per_instance,
    )


def test_the_place_with_the_better_box_wins_and_its_quality_is_its_iou():
    boxes = [[0, 0, 32, 16], [0, 0, 32, 32], [0, 0, 1, 1], [0, 0, 1, 1]]
    result = run(boxes, [[0, 0, 32, 32]], [1])
    assert result.places.tolist() == [1]
    assert result.instances.tolist() == [0]
    torch.testing.assert_close(result.quality, torch.tensor([1.0]))


def test_the_quality_to_aim_for_is_the_iou_of_the_best_place_and_less_for_the_others():
    boxes = [[0, 0, 32, 16], [0, 0, 32, 8], [100, 100, 110, 110], [100, 100, 110, 110]]  # IoU 1/2, 1/4, 0, 0
    result = run(boxes, [[0, 0, 32, 32]], [1], per_instance=2)
    assert result.places.tolist() == [0, 1]
    # alignment is sqrt(class) * IoU^4, and the best place's becomes its IoU
    torch.testing.assert_close(result.quality, torch.tensor([0.5, 0.5 * (1 / 4 / (1 / 2)) ** 4]), rtol=0.03, atol=0)


def test_class_and_mask_decide_while_no_box_is_right_yet():
    logits = torch.zeros(4, 3)
    logits[3, 1] = 2.0
    far = [[100, 100, 110, 110]] * 4
    result = run(far, [[0, 0, 32, 32]], [1], logits=logits)
    assert result.places.tolist() == [3]
    assert result.quality.tolist() == [0]
    on_mask = torch.tensor([[False, True, False, False]])
    assert run(far, [[0, 0, 32, 32]], [1], on_mask=on_mask).places.tolist() == [1]


def test_a_box_that_is_somewhat_right_beats_a_class_that_is_surer():
    logits = torch.full((4, 3), 4.0)
    logits[0, 1] = -1.0  # 0.27 instead of 0.98
    boxes = [[0, 0, 32, 13], *[[100, 100, 110, 110]] * 3]  # IoU 0.4
    assert run(boxes, [[0, 0, 32, 32]], [1], logits=logits).places.tolist() == [0]


def test_the_class_decides_between_equal_boxes():
    logits = torch.zeros(4, 3)
    logits[2, 1] = 3.0
    result = run([[0, 0, 32, 32]] * 4, [[0, 0, 32, 32]], [1], logits=logits)
    assert result.places.tolist() == [2]


def test_a_place_on_the_mask_beats_one_that_is_only_in_the_box():
    on_mask = torch.tensor([[False, False, False, True]])
    result = run([[0, 0, 32, 32]] * 4, [[0, 0, 32, 32]], [0], on_mask=on_mask)
    assert result.places.tolist() == [3]


def test_a_thing_between_the_places_gets_the_nearest():
    result = run([[0, 0, 32, 32]] * 4, [[26, 12, 28, 14]], [0])
    assert result.places.tolist() == [1]


def test_no_place_answers_for_two_and_one_to_many_takes_several():
    result = run([[0, 0, 32, 32]] * 4, [[0, 0, 32, 32], [0, 0, 16, 16]], [0, 1], per_instance=3)
    assert len(set(result.places.tolist())) == len(result.places)
    assert result.instances.tolist().count(0) >= 2
    assert bool(((result.quality > 0) & (result.quality <= 1)).all())


def test_a_picture_without_instances_assigns_nothing():
    result = run([[0, 0, 32, 32]] * 4, [], [])
    assert result.places.tolist() == []
