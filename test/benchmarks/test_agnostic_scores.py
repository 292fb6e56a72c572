"""Rankings for things whose name does not matter."""

from __future__ import annotations

import pytest
import torch
from small_model import SIZE, SMALL

from benchmarks.agnostic_scores import RANKINGS, by_both, by_class, by_quality, ranked
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.network.proposals import Proposals


def test_each_ranking_is_what_it_says() -> None:
    classes, quality = torch.tensor([[[0.2, 0.8], [0.5, 0.1]]]).logit(), torch.tensor([[[0.2], [0.9]]]).logit()
    proposals = Proposals(torch.zeros(1, 2, 1), classes, torch.zeros(1, 2, 4), quality)
    shown = {rank: rank(proposals).sigmoid().flatten().tolist() for rank in (by_class, by_quality, by_both)}
    assert shown[by_class] == pytest.approx([0.8, 0.5])
    assert shown[by_quality] == pytest.approx([0.2, 0.9])
    assert shown[by_both] == pytest.approx([(0.8 * 0.2) ** 0.5, (0.5 * 0.9) ** 0.5])


def test_the_network_scores_by_it_and_by_its_classes_again_afterwards() -> None:
    torch.manual_seed(0)
    network = build_network(load_model_config("tiny", class_names=("fish", "crab"), changes=SMALL)).eval()
    with torch.no_grad():
        network.proposal_head.classes.weight.normal_()
        image = torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
        inputs = (image, *torch.zeros(2, 1, 1, SIZE, SIZE), torch.zeros(1))
        pyramid = network.pyramid(network.encode(*inputs).fused)
        proposals = network.proposal_head(pyramid)
        for ranking in RANKINGS.values():
            with ranked(network, ranking):
                found = network.proposal_head(pyramid).class_logits
            torch.testing.assert_close(found, ranking(proposals).expand(-1, -1, 2))
        torch.testing.assert_close(network.proposal_head(pyramid).class_logits, proposals.class_logits)
