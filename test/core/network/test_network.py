"""The network as a whole: shapes, batches, switches, gradients and configuration."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from network_cases import CLASSES, SMALL, awakened, inputs, small

from spda_sam_core.config import ModelConfig, load_model_config
from spda_sam_core.network.network import build_network, moved, silence
from spda_sam_core.network.proposals import Proposals
from spda_sam_core.settings import settings_from

FROZEN_BOTH = {"spatial_prompts.prompt_encoder.mask_downscaling.6"}
FROZEN_SAM = {
    "decoder.mask_decoder.output_hypernetworks_mlps.1",
    "decoder.mask_decoder.output_hypernetworks_mlps.2",
    "decoder.mask_decoder.output_hypernetworks_mlps.3",
    "spatial_prompts.prompt_encoder",
}
FROZEN = {
    "tiny": FROZEN_BOTH | {"rgb_path.base.conv_stem", "rgb_path.base.blocks.0", "rgb_path.base.blocks.1"},
    "sam_vit_b": FROZEN_BOTH | FROZEN_SAM | {"rgb_path.base"},
    "mobile_sam": FROZEN_BOTH | FROZEN_SAM | {"rgb_path"},
}
"""Where the weights lie that are not trained; those of LoRA are trained wherever they lie."""


@torch.no_grad()
def test_a_batch_gives_what_its_images_give_alone() -> None:
    torch.manual_seed(0)
    model = awakened(build_network(SMALL)).eval()
    image, depth, valid, _ = inputs(4)
    valid[1:3] = 0  # the second has an estimate, the third is RGB only, the last has a hole
    valid[3, :, 20:90, 10:50] = 0
    estimate = torch.tensor([1.0, 1, 0, 1])
    depth = depth * valid
    together = model(image, depth, valid, estimate)
    for i in range(4):
        alone = model(*(x[i : i + 1] for x in (image, depth, valid, estimate)))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, rtol=1e-3, atol=1e-3)
    n, c = SMALL.num_instances, len(CLASSES)
    assert [tuple(t.shape) for t in together] == [(4, n, 32, 32), (4, n, c), (4, n), (4, n, 4), (4, 1, 32, 32)]


@torch.no_grad()
def test_second_pass_changes_the_masks_and_can_be_switched_off() -> None:
    torch.manual_seed(0)
    two = awakened(build_network(SMALL)).eval()
    one = build_network(dataclasses.replace(SMALL, use_spatial_prompts=False)).eval()
    unused = one.load_state_dict(two.state_dict(), strict=False)
    assert unused.missing_keys == []
    assert {key.rpartition(".")[0] for key in unused.unexpected_keys} == {
        "decoder.keep",
        "spatial_prompts.from_regions",
    }
    out_two, out_one = (model(*inputs()) for model in (two, one))
    assert torch.equal(out_two.class_logits, out_one.class_logits)
    assert torch.equal(out_two.boxes_xyxy, out_one.boxes_xyxy)
    assert not torch.allclose(out_two.mask_logits, out_one.mask_logits, atol=1e-3)


@pytest.mark.parametrize("preset", ["tiny", "sam_vit_b", "mobile_sam"])
def test_every_trained_weight_receives_a_gradient_and_no_frozen_one_does(preset: str) -> None:
    torch.manual_seed(0)
    network = awakened(build_network(small(preset)), std=0.02).train()
    features = network.encode(*inputs(2))
    pyramid = network.pyramid(features.fused)
    proposals = network.proposal_head(pyramid)
    masks, ious = network.segment(features.fused, pyramid, proposals.pick(torch.arange(6).expand(2, 6)))
    assert features.depth_logits is not None
    nothing_drawn = torch.full((2, 1, 32, 32), -5.0)  # its points are none
    prompts = network.spatial_prompts(nothing_drawn, torch.zeros(2, 1, 4), pyramid.p4, pyramid.p16)
    parts = [*masks, *ious, *prompts, proposals.class_logits, proposals.boxes_xyxy, proposals.quality_logits]
    sum((part.float() ** 2).mean() for part in (*parts, features.depth_logits)).backward()
    silent, frozen_elsewhere, taught = [], [], []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any()):
            silent.append(name)
        if not parameter.requires_grad and not name.startswith(tuple(f"{place}." for place in FROZEN[preset])):
            frozen_elsewhere.append(name)
        if not parameter.requires_grad and parameter.grad is not None:
            taught.append(name)
    assert (silent, frozen_elsewhere, taught) == ([], [], [])


def test_masks_are_moved_as_by_rolling_each() -> None:
    torch.manual_seed(0)
    logits, shift = torch.randn(2, 3, 8, 8), torch.randint(-10, 11, (2, 3, 2))
    result = moved(logits, shift)
    for i in range(2):
        for j in range(3):
            assert torch.equal(result[i, j], torch.roll(logits[i, j], tuple(shift[i, j].tolist()), dims=(0, 1)))


@torch.no_grad()
def test_pass_2_sees_the_mask_where_it_was_moved_to() -> None:
    torch.manual_seed(0)
    model = awakened(build_network(SMALL)).eval()
    features = model.encode(*inputs())
    pyramid = model.pyramid(features.fused)
    picked = model.proposal_head(pyramid).pick(torch.arange(6)[None])
    shift = torch.zeros(1, 6, 2, dtype=torch.int64)
    shift[0, 2] = torch.tensor([3, -4])
    plain, displaced = (model.segment(features.fused, pyramid, picked, s) for s in (None, shift))
    assert torch.equal(plain.mask_logits[0], displaced.mask_logits[0])
    model.decoder.keep.weight.zero_()
    model.decoder.keep.bias.fill_(100.0)  # pass 2 is what it keeps of pass 1
    kept = model.segment(features.fused, pyramid, picked, shift)
    rolled = torch.roll(kept.mask_logits[0][0, 2], (3, -4), dims=(0, 1))
    torch.testing.assert_close(kept.mask_logits[1][0, 2] / 100, rolled, rtol=0.05, atol=0.1)


def test_doubles_are_silenced_and_nothing_else_of_them_changes() -> None:
    picked = Proposals(*(torch.randn(2, 3, n) for n in (5, 4, 4, 1)))
    unique = torch.tensor([[True, False, True], [False, True, True]])
    quiet = silence(picked, unique)
    assert torch.equal(quiet.class_logits[unique], picked.class_logits[unique])
    assert bool((quiet.class_logits[~unique].sigmoid() < 1e-8).all())
    assert all(
        torch.equal(a, b) for a, b, name in zip(quiet, picked, Proposals._fields, strict=True) if name != "class_logits"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 400}, "input_size 400 must be a multiple of 32"),
        ({"class_names": ("a", "a")}, r"class_names \('a', 'a'\) must be distinct"),
        ({"num_proposals": 0}, r"num_proposals 0 must lie in 1\.\.336"),
        ({"num_proposals": 337}, r"num_proposals 337 must lie in 1\.\.336"),
        ({"num_instances": 7}, r"num_instances 7 must lie in 1\.\.6"),
        ({"spatial_points": 0}, "prompt_tokens 4 and spatial_points 0 must be at least 1"),
        ({"width": 100}, "width 100 must be a multiple of 16"),
        ({"depth_widths": (1, 2, 3)}, r"depth_widths \(1, 2, 3\) and encoder_widths \(24, 40, 112, 320\): give one"),
        ({"encoder_widths": (1, 2, 3, 4)}, r"encoder_widths \(1, 2, 3, 4\) must be \(24, 40, 112, 320\)"),
        ({"encoder": "efficientnet_lite2"}, r"must be \(24, 48, 120, 352\), as in efficientnet_lite2"),
        ({"encoder": "resnet"}, "encoder: 'resnet'"),
        ({"encoder": "sam_vit_b"}, "width 128 must be 256, as in the weights of sam_vit_b"),
        ({"lora_rank": 4}, "lora_rank 4 needs a SAM base: efficientnet_lite0 is trained whole"),
        ({"num_proposal": 3}, "unknown key 'num_proposal': did you mean 'num_proposals'"),
    ],
)
def test_contradictions_are_refused_with_value_and_limit(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_from(ModelConfig, {**dataclasses.asdict(SMALL), **change}, "a.yaml")


def test_missing_preset_names_the_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"config/model/huge\.yaml: no such model configuration"):
        load_model_config("huge", class_names=CLASSES)
