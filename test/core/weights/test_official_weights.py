"""Pretrained bases: official files load strictly, the embedding stays SAM's, and what is trained is what is said."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from segment_anything import SamPredictor, sam_model_registry

from spda_sam_core.config import ModelConfig, load_model_config
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder, resize_positions
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import load_checkpoint, save_checkpoint
from spda_sam_core.weights.download import PUBLISHED
from spda_sam_core.weights.files import CheckpointError, file_sha256
from spda_sam_core.weights.official_weights import base_weights, count_weights, load_base

B = 1
VIT_B = load_model_config("sam_vit_b", class_names=("anode", "object"))


def randomise(module: torch.nn.Module) -> None:
    """SAM's own initial position embeddings are zero, which would hide mistakes."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim == 1 or parameter.std() == 0:
            torch.nn.init.normal_(parameter, std=0.1)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as segment-anything publishes it, with random weights."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]()
    randomise(sam)
    path = tmp_path_factory.mktemp("official") / "sam_vit_b.pth"
    torch.save(sam.state_dict(), path)
    return path


def loaded(official: Path, **changes: object):
    torch.manual_seed(1)
    network = build_network(dataclasses.replace(VIT_B, **changes)).eval()
    return network, load_base(network, official)


def sam_of(official: Path):
    return sam_model_registry["vit_b"](checkpoint=str(official)).eval()


@pytest.mark.timeout(900)  # twice ViT-B at 1024 pixels: minutes where other work shares the cores
def test_untrained_fusion_and_lora_leave_the_image_embedding_of_sam_bit_identical(official: Path) -> None:
    network, base = loaded(official)
    assert base == ("sam_vit_b", file_sha256(official))
    image, depth = torch.randint(0, 256, (1, 1024, 1024, 3), dtype=torch.uint8), torch.rand(1, 1, 1024, 1024)
    with torch.inference_mode():
        embedding = network.encode(image, depth, torch.ones_like(depth), torch.zeros(1)).fused[2]
        assert torch.equal(embedding, sam_of(official).image_encoder(network.normalise(image)))


def test_other_input_sizes_interpolate_positions_and_keep_strides(official: Path) -> None:
    network, _ = loaded(official, input_size=256)
    with torch.inference_mode():
        taps = network.rgb_path(torch.randn(B, 3, 256, 256))
    assert [tuple(t.shape[1:]) for t in taps] == [(48, 64, 64), (96, 32, 32), (256, 16, 16)]
    # a linear ramp over the image stays that ramp on a coarser grid, away from the border
    ramp = torch.linspace(0, 1, 64)[None, None, :, None].expand(1, 64, 64, 2)
    coarse = resize_positions(ramp, 16)
    expected = (torch.arange(16) * 4 + 1.5) / 63
    torch.testing.assert_close(coarse[0, 8, 3:13, 0], expected[3:13], atol=1e-4, rtol=0)
    assert resize_positions(ramp, 64) is ramp


def test_the_base_is_frozen_but_for_lora_and_the_decoder(official: Path) -> None:
    network, _ = loaded(official, input_size=256)
    frozen = base_weights(network)
    sam = sam_of(official)
    of_encoder = {f"rgb_path.base.{name}" for name in sam.image_encoder.state_dict()}
    of_prompts = {f"spatial_prompts.prompt_encoder.{name}" for name in sam.prompt_encoder.state_dict()}
    assert of_encoder | of_prompts <= frozen
    assert {name.split(".")[1] for name in frozen - of_encoder - of_prompts} == {"mask_decoder"}
    lora = sum(2 * 16 * (768 + 3 * 768) // 2 for _ in range(12))  # rank x (in + out) in each of 12 blocks
    trained_in_base = sum(p.numel() for n, p in network.rgb_path.base.named_parameters() if p.requires_grad)
    assert trained_in_base == lora
    count = count_weights(network)
    assert count.total - count.trained == sum(p.numel() for n, p in network.named_parameters() if n in frozen)


def test_batch_statistics_of_a_frozen_base_do_not_move() -> None:
    config = dataclasses.replace(load_model_config("mobile_sam", class_names=("anode", "object")), input_size=128)
    network = build_network(config).train()
    before = {n: b.clone() for n, b in network.rgb_path.named_buffers()}
    network.rgb_path(torch.randn(2, 3, 128, 128) + 3)
    assert all(torch.equal(before[n], b) for n, b in network.rgb_path.named_buffers())
    assert before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "mask_decoder.iou_token.weight"}, "iou_token"),
        (lambda s: s | {"surprise": torch.zeros(1)}, "surprise"),
        (lambda s: {k.replace("image_encoder", "encoder"): v for k, v in s.items()}, "no official sam_vit_b"),
        (lambda s: {"model": 3}, "no plain state dict of tensors"),
    ],
)
def test_files_that_are_not_this_base_are_refused(official: Path, tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "damaged.pth"
    torch.save(damage(torch.load(official, weights_only=True)), path)
    network = build_network(dataclasses.replace(VIT_B, input_size=256))
    with pytest.raises(CheckpointError, match=message):
        load_base(network, path)


def test_pass_2_equals_sam_predictor_given_the_same_points_and_box(official: Path) -> None:
    network, _ = loaded(official)
    predictor = SamPredictor(sam_of(official))
    predictor.features = torch.randn(1, 256, 64, 64)
    predictor.is_image_set, predictor.original_size, predictor.input_size = True, (1024, 1024), (1024, 1024)
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    # two instances, as pass 1 would draw them: logits fall with the distance from a centre
    drawn = torch.stack([8 - torch.hypot(x - a, y - b) / 5 for a, b in ((70, 90), (180, 150))])[None]
    prompts = network.spatial_prompts
    points_xy, are_points, boxes_xyxy = prompts.read_masks(drawn, torch.zeros(1, 2, 4))
    n = network.config.spatial_points
    labels = torch.tensor([1] * n + [0] * n).where(are_points[0], torch.tensor(-1))
    with torch.inference_mode():
        sparse, _ = prompts(drawn, torch.zeros(1, 2, 4), torch.randn(1, 32, 256, 256), predictor.features)
        embedding = predictor.features + prompts.no_mask()
        for i in range(2):  # SAM's decoder knows one instance at a time
            masks, iou = network.decoder(
                embedding,
                prompts.image_pe(),
                sparse[:, i : i + 1, :-2],  # without the two tokens that SAM has not
                torch.zeros(1, 1, 16, 64, 64),
                torch.randn(1, 32, 256, 256),
                boxes_xyxy[:, i : i + 1],
            )
            # SAM moves coordinates of pixels by half a pixel, to their middle; ours lie there
            _, expected_iou, expected = predictor.predict_torch(
                points_xy[0, i : i + 1] - 0.5,
                labels[i : i + 1],
                boxes=boxes_xyxy[0, i : i + 1] - 0.5,
                multimask_output=False,
            )
            assert expected.std() > 5e-3  # the tolerance is a five-hundredth of what the masks vary by
            torch.testing.assert_close(masks[0], expected[:, 0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou[0], expected_iou[:, 0], rtol=1e-4, atol=1e-5)


def in_cache(folder: Path, official: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the file where `find_weights` looks."""
    monkeypatch.setenv("SPDA_SAM_WEIGHTS", str(folder))
    place = folder / PUBLISHED["sam_vit_b"].file_name
    place.hardlink_to(official)
    return place


def test_a_delta_holds_what_was_trained_and_gives_the_network_back(official: Path, tmp_path: Path, monkeypatch) -> None:
    network, base = loaded(official, input_size=256)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and "lora_up" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    path = tmp_path / "hull.safetensors"
    save_checkpoint(path, network, {}, base=base)
    with safe_open(path, "pt") as file:
        stored = set(file.keys())
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    buffers = {n for n, _ in network.named_buffers()}
    assert trained <= stored
    assert stored - trained <= buffers - base_weights(network)
    assert path.stat().st_size < official.stat().st_size / 8
    in_cache(tmp_path, official, monkeypatch)
    again, info = load_checkpoint(path)
    assert info.base == base
    image, depth = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8), torch.rand(1, 1, 256, 256)
    with torch.inference_mode():
        expected, given = (
            n.encode(image, depth, torch.ones_like(depth), torch.zeros(1)).fused[2] for n in (network, again)
        )
    torch.testing.assert_close(given, expected, rtol=1e-2, atol=1e-2)  # float16 on disk


def test_a_delta_on_another_base_or_without_one_is_refused_by_name(official: Path, tmp_path: Path, monkeypatch) -> None:
    network, base = loaded(official, input_size=256)
    path = tmp_path / "hull.safetensors"
    save_checkpoint(path, network, {}, base=base)
    place = in_cache(tmp_path, official, monkeypatch)
    place.unlink()
    with pytest.raises(CheckpointError, match=rf"{place}: no such file, the weights of sam_vit_b: run python -m"):
        load_checkpoint(path)
    other = {key: tensor + 1e-3 for key, tensor in torch.load(official, weights_only=True).items()}
    torch.save(other, place)
    found = file_sha256(place)[:12]
    message = f"was trained on sam_vit_b with SHA-256 {base.sha256[:12]}, but {place} has {found}"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


class Bomb:
    """What a pickle may hold: code that runs while it is read."""

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))


def test_code_in_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    bomb, path, target = Bomb(), tmp_path / "sam_vit_b.pth", tmp_path / "executed"
    bomb.target = str(target)
    for write in (lambda: torch.save({"a": bomb}, path), lambda: path.write_bytes(pickle.dumps(bomb))):
        write()
        with pytest.raises(CheckpointError, match="refused, it is damaged or holds code"):
            load_base(build_network(dataclasses.replace(VIT_B, input_size=256)), path)
        assert not target.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 128}, "width 128 must be 256, as in the weights of sam_vit_b"),
        ({"encoder_widths": (48, 96, 192)}, r"must be \(48, 96, 256\)"),
        ({"encoder": "sam_vit_g"}, "encoder: 'sam_vit_g': choose one of efficientnet_lite0, "),
        ({"lora_rank": -1}, "lora_rank -1 must be at least 0"),
    ],
)
def test_a_configuration_that_contradicts_its_base_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(VIT_B, **change)


def test_large_and_huge_have_the_sizes_of_the_official_ones() -> None:
    for name, registered in (("sam_vit_l", "vit_l"), ("sam_vit_h", "vit_h")):
        config: ModelConfig = load_model_config(name, class_names=("anode", "object"))
        with torch.device("meta"):
            ours, theirs = SamViTEncoder(config).base, sam_model_registry[registered]().image_encoder
        shapes = [{key: value.shape for key, value in m.state_dict().items()} for m in (ours, theirs)]
        assert shapes[0] == shapes[1]
