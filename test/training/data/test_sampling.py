"""Sets come by their weights and rare classes more often, and what comes when follows from its number alone."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from mixed_sets import write_set

from training.data.dataset import open_split
from training.data.sampling import Draws, epoch_order, repeat_factors


@pytest.mark.parametrize("seed", range(3))
def test_any_stretch_of_pictures_has_each_set_by_its_weight(seed: int) -> None:
    weights = [6.0, 0.5, 3.0, 0.1]
    draws = Draws(weights, seed)
    sets = np.array([draws[i][0] for i in range(20_000)])
    for first, count in ((0, 20_000), (7, 96), (12_345, 800)):
        counts = np.bincount(sets[first : first + count], minlength=4)
        np.testing.assert_allclose(counts, count * np.array(weights) / sum(weights), atol=4)


def test_a_draw_follows_from_its_number_however_it_is_come_to() -> None:
    weights = [2.0, 1.0, 1.0]
    draws = Draws(weights, 5)
    in_order = [draws[i] for i in range(500)]
    assert [Draws(weights, 5)[i] for i in (499, 3, 260)] == [in_order[i] for i in (499, 3, 260)]
    assert [pickle.loads(pickle.dumps(draws))[i] for i in range(500)] == in_order
    for number in range(3):  # of each set its first, its second, ...
        ranks = [rank for which, rank in in_order if which == number]
        assert ranks == list(range(len(ranks)))
    assert in_order != [Draws(weights, 6)[i] for i in range(500)]


def test_pictures_come_as_often_as_their_factors_say() -> None:
    repeats = np.array([1.0, 1.0, 2.0, 1.3, 3.7])
    counts = np.zeros(5)
    for epoch in range(2000):
        order = epoch_order(repeats, np.random.default_rng(epoch))
        assert len(order) == 9
        times = np.bincount(order, minlength=5)
        assert (times >= np.floor(repeats)).all()
        assert (times <= np.ceil(repeats)).all()
        counts += times
    np.testing.assert_allclose(counts / 2000, repeats, atol=0.04)


def test_rare_classes_are_repeated_by_the_formula_of_the_paper(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sea", ["often", "rare"], pictures=10)
    labels = tmp_path / "sea/labels.json"
    document = json.loads(labels.read_text(encoding="utf-8"))
    for annotation in document["annotations"]:
        annotation["category_id"] = 2 if annotation["image_id"] == 3 else 1
    more = [{**document["annotations"][2], "id": 100 + i} for i in range(2)]  # three rare ones, all in picture 3
    nothing = {**document["images"][0], "id": 11}
    document["annotations"] += more
    document["images"].append(nothing)
    labels.write_text(json.dumps(document), encoding="utf-8")
    factors = repeat_factors(open_split(path, "train"), 0.5)
    # of 11 pictures one shows it, of 12 instances three are of it
    expected = math.sqrt(0.5 / math.sqrt(1 / 11 * 3 / 12))
    assert factors.tolist() == pytest.approx([1, 1, expected, *[1] * 8])
    assert (repeat_factors(open_split(path, "train"), 0.01) == 1).all()
