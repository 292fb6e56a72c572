"""The check picture: its answer does not depend on the order of candidates, and shows what is wrong."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from spda_sam_core.graph.check_picture import CELLS, TOLERANCE, answer, check_inputs, difference
from spda_sam_core.runtimes.runtime import RawOutput


def output(seed: int = 0) -> RawOutput:
    rng = np.random.default_rng(seed)
    return RawOutput(
        rng.normal(size=(1, 4, 24, 24)).astype(np.float32),
        rng.normal(size=(1, 4, 3)).astype(np.float32),
        rng.random((1, 4)).astype(np.float32),
        rng.random((1, 1, 24, 24)).astype(np.float32),
    )


def test_the_picture_is_the_same_everywhere() -> None:
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in check_inputs(384).values()))
    assert digest.hexdigest().startswith("da75f7e7c8efb52e")
    image, inverse_depth, valid, estimate = check_inputs(384).values()
    assert (image.shape, image.dtype, inverse_depth.shape) == ((1, 384, 384, 3), np.uint8, (1, 1, 384, 384))
    assert 0 <= inverse_depth.min() <= inverse_depth.max() <= 1
    assert set(np.unique(valid)) == {0, 1}
    assert estimate.tolist() == [0]


def test_an_answer_is_the_masks_times_their_scores_the_depth_and_the_classes() -> None:
    masks = np.full((1, 2, 24, 24), -1, np.float32)
    masks[0, 0, :2, :2] = 1  # one cell of 2 x 2 pixels
    logits = np.full((1, 2, 3), -80, np.float32)
    logits[0, 0, 1] = 0  # probability 1/2
    found = answer(
        RawOutput(masks, logits, np.full((1, 2), 0.5, np.float32), np.full((1, 1, 24, 24), 0.25, np.float32))
    )
    expected = np.zeros(CELLS * CELLS)
    expected[0] = 0.25
    assert found[: CELLS**2] == expected.tolist()
    assert found[CELLS**2 : 2 * CELLS**2] == [0.25] * CELLS**2
    assert found[2 * CELLS**2 :] == [0, 0.5, 0]


def test_the_order_of_the_candidates_makes_no_difference_and_anything_else_does() -> None:
    expected = output()
    order = np.array([2, 0, 3, 1])
    shuffled = RawOutput(*(array[:, order] for array in expected[:3]), expected.inverse_depth)
    assert difference(answer(expected), answer(shuffled)) < 1e-5
    for wrong in (
        expected._replace(mask_logits=expected.mask_logits[..., ::-1]),
        expected._replace(class_logits=expected.class_logits - 1),
        expected._replace(predicted_iou=expected.predicted_iou[:, ::-1]),
        expected._replace(inverse_depth=expected.inverse_depth.swapaxes(2, 3)),
    ):
        assert difference(answer(expected), answer(wrong)) > TOLERANCE["float32"]


def test_nan_and_answers_of_another_length_differ() -> None:
    assert math.isnan(difference([1.0, 2.0], [1.0, float("nan")]))
    assert difference([1.0], [1.0, 2.0]) == float("inf")
    assert difference([10.0, 0.1], [11.0, 0.15]) == pytest.approx(0.1)
