"""The network as a whole: shapes, batches, switches and configuration."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spda_sam_core.config import ModelConfig, load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.settings import settings_from

CONFIG = load_model_config("tiny", class_names=("anode", "object"))


def inputs(batch):
    torch.manual_seed(1)
    return torch.randn(batch, 3, 384, 384), torch.rand(batch, 1, 384, 384), torch.ones(batch, 1, 384, 384)


DECODERS = ["joint", "per_prompt"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_gives_what_its_images_give_alone(decoder):
    torch.manual_seed(0)
    model = build_network(dataclasses.replace(CONFIG, decoder=decoder)).eval()
    image, inverse_depth, valid = inputs(2)
    with torch.no_grad():
        together = model(image, inverse_depth, valid)
        for i in range(2):
            alone = model(image[i : i + 1], inverse_depth[i : i + 1], valid[i : i + 1])
            for a, b in zip(together, alone, strict=True):
                torch.testing.assert_close(a[i : i + 1], b, rtol=1e-3, atol=1e-3)
    k, c = CONFIG.num_proposals, len(CONFIG.class_names)
    assert [tuple(t.shape) for t in together] == [(2, k, 96, 96), (2, k, c), (2, k), (2, k, 4)]


def test_second_pass_changes_the_masks_and_can_be_switched_off():
    torch.manual_seed(0)
    two = build_network(CONFIG).eval()
    one = build_network(dataclasses.replace(CONFIG, use_spatial_prompts=False)).eval()
    unused = one.load_state_dict(two.state_dict(), strict=False)
    assert (unused.missing_keys, unused.unexpected_keys) == ([], ["decoder.keep.weight", "decoder.keep.bias"])
    with torch.no_grad():
        out_two, out_one = (model(*inputs(1)) for model in (two, one))
    assert torch.equal(out_two.class_logits, out_one.class_logits)
    assert not torch.allclose(out_two.mask_logits, out_one.mask_logits, atol=1e-3)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("preset", ["tiny", "sam_vit_b", "mobile_sam"])
def test_every_trained_weight_receives_a_gradient_and_no_frozen_one_does(preset, decoder):
    torch.manual_seed(0)
    config = dataclasses.replace(
        load_model_config(preset, class_names=("anode", "object")), input_size=128, num_proposals=6, decoder=decoder
    )
    network = build_network(config).train()
    with torch.no_grad():  # what begins at zero hides what lies behind it
        for parameter in network.parameters():
            if parameter.requires_grad and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
    image, depth = torch.randn(2, 3, 128, 128), torch.rand(2, 1, 128, 128)
    fused = network.encode(image, depth, torch.ones_like(depth))
    pyramid = network.pyramid(fused)
    proposals = network.proposal_head(pyramid)
    index = torch.arange(6).expand(2, 6)
    masks, ious = network.segment(fused, pyramid, proposals.pick(index))
    parts = [*masks, *ious, proposals.class_logits, proposals.boxes_xyxy]
    sum((part.float() ** 2).mean() for part in parts).backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    moved = [n for n, p in network.named_parameters() if not p.requires_grad and p.grad is not None]
    assert (silent, moved) == ([], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 400}, "input_size 400 must be a multiple of 32"),
        ({"class_names": ("a", "a")}, r"class_names \('a', 'a'\) must be distinct"),
        ({"num_proposals": 0}, r"num_proposals 0 must lie in 1\.\.3024"),
        ({"decoder": "both"}, "decoder: 'both': choose one of joint, per_prompt"),
        ({"width": 100}, "width 100 must be a multiple of 16"),
        ({"num_proposal": 3}, "unknown key 'num_proposal': did you mean 'num_proposals'"),
    ],
)
def test_contradictions_are_refused_with_value_and_limit(change, message):
    with pytest.raises(ValueError, match=message):
        settings_from(ModelConfig, {**dataclasses.asdict(CONFIG), **change}, "a.yaml")


def test_missing_preset_names_the_file():
    with pytest.raises(FileNotFoundError, match=r"config/model/huge\.yaml: no such model configuration"):
        load_model_config("huge", class_names=("anode", "object"))
