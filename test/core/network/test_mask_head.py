"""The mask head of each instance against CondInst as its paper has it: convolutions, and planes of coordinates."""

from __future__ import annotations

import torch
from network_cases import SMALL, awakened
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.config import MASK_FEATURES
from spda_sam_core.network.mask_head import MaskHead

B, P, SIDE = 2, 3, SMALL.input_size // 4
BOXES = torch.tensor(
    [
        [[10.0, 20, 50, 90], [0, 0, 128, 128], [60, 60, 61, 62]],  # the last is smaller than two cells
        [[-30.0, 40, 20, 300], [100, 100, 128, 128], [3.5, 7.25, 66.75, 30.5]],  # the first leaves the image
    ]
)


def given() -> tuple[MaskHead, Tensor, Tensor]:
    torch.manual_seed(0)
    return MaskHead(SMALL).eval(), torch.randn(B, P, SMALL.width), torch.randn(B, MASK_FEATURES, SIDE, SIDE)


def cond_inst(head: MaskHead, token: Tensor, features: Tensor, box: Tensor) -> Tensor:
    """One instance: (D,), (F, h, h) and (4,) to (h, h)."""
    x0, y0, x1, y1 = box.clamp(0, SMALL.input_size).tolist()
    half_width, half_height = max((x1 - x0) / 2, 4.0), max((y1 - y0) / 2, 4.0)
    planes = torch.empty(2, SIDE, SIDE)
    for row in range(SIDE):
        for column in range(SIDE):
            planes[0, row, column] = (4 * column + 2 - (x0 + x1) / 2) / half_width
            planes[1, row, column] = (4 * row + 2 - (y0 + y1) / 2) / half_height
    x = torch.cat([head.squeeze(features[None]), planes[None]], dim=1)  # (1, 8 + 2, h, h)
    weight1, bias1, weight2, bias2 = head.kernels(token).split([80, 8, 64, 8])
    x = F.relu(F.conv2d(x, weight1.reshape(8, 10, 1, 1), bias1))
    x = F.relu(F.conv2d(x, weight2.reshape(8, 8, 1, 1), bias2))
    last = head.last(token)
    drawn = F.conv2d(x, last[:8].reshape(1, 8, 1, 1), last[8:])
    return (drawn + F.conv2d(features[None], head.linear(token).reshape(1, -1, 1, 1)))[0, 0]


@torch.no_grad()
def test_it_draws_what_cond_inst_and_prototypes_draw_one_instance_at_a_time() -> None:
    head, tokens, features = given()
    awakened(head)
    drawn = head(tokens, features, BOXES)
    assert drawn.shape == (B, P, SIDE, SIDE)
    assert drawn.std() > 0.1
    for i in range(B):
        for j in range(P):
            expected = cond_inst(head, tokens[i, j], features[i], BOXES[i, j])
            torch.testing.assert_close(drawn[i, j], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_untrained_it_draws_nothing() -> None:
    head, tokens, features = given()
    assert torch.equal(head(tokens, features, BOXES), torch.zeros(B, P, SIDE, SIDE))


@torch.no_grad()
def test_under_autocast_it_knows_the_places_of_a_small_box() -> None:
    """There the logits are small differences of large numbers."""
    head, tokens, features = given()
    awakened(head)
    features.zero_()  # leaves the places
    head.squeeze.bias.zero_()
    head.linear.weight.zero_()
    boxes = torch.tensor([100.0, 60, 108, 68]).expand(B, P, 4)
    expected = head(tokens, features, boxes)[..., 14:18, 24:28]
    with torch.autocast("cpu", torch.bfloat16):
        actual = head(tokens, features, boxes)[..., 14:18, 24:28]
    assert (actual - expected).abs().max() < 0.05 * expected.std()
