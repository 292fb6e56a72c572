"""The network as a whole: shapes, batches, switches, and where gradients go."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from network_cases import CLASSES, SMALL, awakened, inputs, small
from torch import Tensor

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.network import Features, SpdaSamNetwork, build_network, moved, silence
from spda_sam_core.network.proposals import Proposals, gather_places
from spda_sam_core.network.pyramid import Pyramid
from spda_sam_core.network.suppression import best_unique, best_unique_masks

_ALWAYS = {"spatial_prompts.prompt_encoder.mask_downscaling.6"}
_WITH_SAM = _ALWAYS | {
    "decoder.mask_decoder.output_hypernetworks_mlps.1",
    "decoder.mask_decoder.output_hypernetworks_mlps.2",
    "decoder.mask_decoder.output_hypernetworks_mlps.3",
    "spatial_prompts.prompt_encoder",
}
FROZEN = {
    "tiny": _ALWAYS | {"rgb_path.base.conv_stem", "rgb_path.base.blocks.0", "rgb_path.base.blocks.1"},
    "sam_vit_b": _WITH_SAM | {"rgb_path.base"},
    "mobile_sam": _WITH_SAM | {"rgb_path"},
}
"""Where the weights lie that are not trained; those of LoRA are trained wherever they lie."""
L, C, SIDE = SMALL.num_instances, len(CLASSES), 32


def network(config: ModelConfig = SMALL, std: float = 0.1) -> SpdaSamNetwork:
    torch.manual_seed(0)
    built = awakened(build_network(config), std).eval()
    assert isinstance(built, SpdaSamNetwork)
    return built


def features_of(net: SpdaSamNetwork, batch: int = 1) -> tuple[Features, Pyramid, Proposals]:
    features = net.encode(*inputs(batch))
    pyramid = net.pyramid(features.fused)
    return features, pyramid, net.proposal_head(pyramid)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])
def test_a_batch_gives_what_its_images_give_alone(preset: str) -> None:
    net = network(small(preset))
    image, depth, valid, _ = inputs(3)
    valid[1, ..., 30:90, 20:70] = 0
    valid[2] = 0  # one with holes, one without depth, for which the estimate stands in
    estimate = torch.tensor([0.0, 1.0, 1.0])
    together = net(image, depth, valid, estimate)
    assert [tuple(x.shape) for x in together] == [(3, L, SIDE, SIDE), (3, L, C), (3, L), (3, L, 4), (3, 1, SIDE, SIDE)]
    assert all(x.dtype == torch.float32 for x in together)
    for i in range(3):
        one = slice(i, i + 1)
        alone = net(image[one], depth[one], valid[one], estimate[one])
        for name, a, b in zip(together._fields, together, alone, strict=True):
            torch.testing.assert_close(a[one], b, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@torch.no_grad()
def test_second_pass_changes_the_masks_alone_and_can_be_switched_off() -> None:
    two = network()
    one = build_network(dataclasses.replace(SMALL, use_spatial_prompts=False)).eval()
    unused = one.load_state_dict(two.state_dict(), strict=False)
    assert unused.missing_keys == []
    assert {name.rsplit(".", 1)[0] for name in unused.unexpected_keys} == {
        "decoder.keep", "spatial_prompts.from_regions"
    }  # fmt: skip
    given_two, given_one = (net(*inputs()) for net in (two, one))
    for name in ("class_logits", "boxes_xyxy", "inverse_depth"):
        assert torch.equal(getattr(given_two, name), getattr(given_one, name))
    for name in ("mask_logits", "predicted_iou"):
        assert not torch.allclose(getattr(given_two, name), getattr(given_one, name), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("use_spatial_prompts", [True, False])
def test_what_comes_out_is_what_training_draws_best_unique_ones_first(use_spatial_prompts: bool) -> None:
    changes = {"num_proposals": 12, "num_instances": 12, "use_spatial_prompts": use_spatial_prompts}
    net = network(dataclasses.replace(SMALL, **changes))
    torch.nn.init.normal_(net.proposal_head.classes.weight)
    torch.nn.init.constant_(net.proposal_head.boxes.bias, 6.0)  # large boxes, of which many are doubles
    features, pyramid, proposals = features_of(net, 2)
    index, unique = best_unique(proposals.scores(), proposals.boxes_xyxy, 12)
    assert bool(unique.any(dim=1).all())
    assert not unique.all()
    picked = silence(proposals.pick(index), unique)
    drawn = net.segment(features.fused, pyramid, picked)
    assert len(drawn.mask_logits) == len(drawn.predicted_iou) == 1 + use_spatial_prompts
    scores = picked.scores() * drawn.predicted_iou[0].clamp(0, 1)
    best, still_unique = best_unique_masks(scores, drawn.mask_logits[0], 12)
    out = net(*inputs(2))
    assert torch.equal(out.boxes_xyxy, gather_places(picked.boxes_xyxy, best))
    assert torch.equal(out.class_logits, silence(picked.pick(best), still_unique).class_logits)
    torch.testing.assert_close(out.mask_logits, gather_places(drawn.mask_logits[-1], best), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(out.predicted_iou, gather_places(drawn.predicted_iou[-1], best), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_second_pass_is_decoded_for_as_many_as_come_out() -> None:
    net = network()
    seen: list[int] = []
    net.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[2].shape[1]))
    net(*inputs())
    assert seen == [SMALL.num_proposals, SMALL.num_instances] == [6, 4]


def test_moved_masks_are_rolled_each_by_its_own_shift() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 16, 16)
    shift = torch.tensor([[[0, 0], [3, 0], [0, -5]], [[-2, 7], [16, 1], [15, -16]]])
    for i in range(2):
        for j in range(3):
            expected = torch.roll(logits[i, j], tuple(shift[i, j].tolist()), dims=(0, 1))
            assert torch.equal(moved(logits, shift)[i, j], expected)


@torch.no_grad()
def test_pass_2_sees_the_mask_of_pass_1_where_it_was_moved_to() -> None:
    net = network()
    features, pyramid, proposals = features_of(net)
    picked = proposals.pick(torch.arange(6)[None] * 50)
    shift = torch.tensor([[[0, 0], [3, 1], [0, -5], [-2, 7], [8, 8], [1, 0]]])
    seen: list[Tensor] = []
    net.spatial_prompts.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.decoder.register_forward_pre_hook(lambda _, given: seen.extend(given[6:]))
    plain, shifted = (net.segment(features.fused, pyramid, picked, s) for s in (None, shift))
    first = plain.mask_logits[0]
    assert torch.equal(shifted.mask_logits[0], first)
    for given, expected in zip(seen, (first, first, moved(first, shift), moved(first, shift)), strict=True):
        assert torch.equal(given, expected)
    assert not torch.allclose(plain.mask_logits[1], shifted.mask_logits[1], atol=1e-2)


def test_pass_2_does_not_teach_the_mask_that_it_begins_with() -> None:
    net = network().train()
    features, pyramid, proposals = features_of(net, 2)
    masks, _ = net.segment(features.fused, pyramid, proposals.pick(torch.arange(6).expand(2, 6) * 50))
    masks[0].retain_grad()
    masks[1].square().mean().backward()
    assert masks[0].grad is None


@torch.no_grad()
@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])
def test_the_decoder_reads_the_embedding_of_sam_or_else_the_pyramid(preset: str) -> None:
    net = network(small(preset))
    features, pyramid, _ = features_of(net)
    seen: list[Tensor] = []
    net.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(*inputs())
    embedding = features.fused[2] if preset == "mobile_sam" else pyramid.p16
    no_mask = net.spatial_prompts.prompt_encoder.no_mask_embed.weight[0, :, None, None]
    assert len(seen) == 2
    for given in seen:
        torch.testing.assert_close(given, embedding + no_mask)


@torch.no_grad()
def test_what_it_saw_of_depth_is_the_mean_of_each_cell_with_0_where_unknown() -> None:
    net = network()
    image, depth, valid, estimate = inputs()
    valid[..., 10:51, 7:33] = 0
    seen = net(image, depth, valid, estimate).inverse_depth[0, 0]
    for row, column in ((0, 0), (2, 1), (5, 5), (12, 3), (31, 31)):
        cell = (0, 0, slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        torch.testing.assert_close(seen[row, column], (depth[cell] * valid[cell]).mean())


@torch.no_grad()
def test_pass_2_hears_all_that_pass_1_heard_and_what_it_drew() -> None:
    net = network()
    features, pyramid, proposals = features_of(net)
    picked = proposals.pick(torch.arange(6)[None] * 50)
    heard: list[tuple[Tensor, ...]] = []
    spatial: list[tuple[Tensor, Tensor]] = []
    net.decoder.register_forward_pre_hook(lambda _, given: heard.append(given))
    net.spatial_prompts.register_forward_hook(lambda _, given, output: spatial.append(output))
    net.segment(features.fused, pyramid, picked)
    (first, second), ((sparse, dense),) = heard, spatial
    assert torch.equal(second[2], torch.cat([first[2], sparse], dim=2))
    assert torch.equal(second[3], first[3] + dense)
    for i in (0, 1, 4, 5):  # embedding, its positions, mask features and boxes
        assert torch.equal(first[i], second[i])


def test_silenced_proposals_say_nothing_and_keep_the_rest() -> None:
    torch.manual_seed(0)
    given = Proposals(torch.randn(2, 3, 8), torch.randn(2, 3, C), torch.rand(2, 3, 4), torch.randn(2, 3, 1))
    unique = torch.tensor([[True, False, True], [False, True, True]])
    silent = silence(given, unique)
    assert torch.equal(silent.class_logits[unique], given.class_logits[unique])
    assert silent.class_logits[~unique].sigmoid().max() < 1e-6
    assert silent.scores()[~unique].max() < 1e-3
    for a, b in zip(silent, given, strict=True):
        assert a is b or a is silent.class_logits


def test_training_leaves_the_statistics_of_a_frozen_base_and_learns_its_own() -> None:
    net = build_network(small("mobile_sam")).train()
    assert not any(module.training for module in net.rgb_path.modules())
    assert net.pyramid.training
    before = {name: value.clone() for name, value in net.state_dict().items() if name.endswith("running_mean")}
    features_of(net, 2)
    after = net.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {name for name in before if not name.startswith("rgb_path.")}


@pytest.mark.parametrize("preset", ["tiny", "sam_vit_b", "mobile_sam"])
def test_every_trained_weight_receives_a_gradient_and_no_frozen_one_does(preset: str) -> None:
    torch.manual_seed(0)
    net = awakened(build_network(small(preset)), std=0.02).train()
    assert isinstance(net, SpdaSamNetwork)
    features, pyramid, proposals = features_of(net, 2)
    assert features.depth_logits is not None
    picked = proposals.pick(torch.arange(6).expand(2, 6) * 50)
    masks, ious = net.segment(features.fused, pyramid, picked)
    # no thing here is so small that it lacks a point
    nothing = torch.full_like(masks[0], -9.0)
    of_nothing, _ = net.spatial_prompts(nothing, picked.boxes_xyxy, pyramid.p4, pyramid.p16)
    said = [proposals.class_logits, proposals.boxes_xyxy, proposals.quality_logits, features.depth_logits, of_nothing]
    sum((part.float() ** 2).mean() for part in (*masks, *ious, *said)).backward()
    silent = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    frozen = [(n, p) for n, p in net.named_parameters() if not p.requires_grad]
    touched = [n for n, p in frozen if p.grad is not None]
    elsewhere = [n for n, _ in frozen if not n.startswith(tuple(f"{place}." for place in FROZEN[preset]))]
    assert (silent, touched, elsewhere) == ([], [], [])
