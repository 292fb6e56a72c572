"""The RGB path on SAM's ViT: which blocks its taps are, and what becomes of positions at other sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from network_cases import CLASSES
from PIL import Image
from torch import Tensor

from spda_sam_core.config import load_model_config
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder, resize_positions

SIDE = 64


def test_the_taps_are_the_first_two_blocks_with_global_attention_and_the_last_output_is_the_neck_of_the_last() -> None:
    torch.manual_seed(0)
    encoder = SamViTEncoder(
        dataclasses.replace(load_model_config("sam_vit_b", class_names=CLASSES), input_size=SIDE)
    ).eval()
    seen: list[Tensor] = []
    for block in encoder.base.blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        actual = encoder(torch.randn(1, 3, SIDE, SIDE))
        assert len(seen) == 12
        of_block = [output.permute(0, 3, 1, 2) for output in seen]  # (1, 768, G, G)
        expected = encoder.to4(of_block[2]), encoder.to8(of_block[5]), encoder.base.neck(of_block[11])
    assert [tuple(x.shape[2:]) for x in actual] == [(SIDE // 4,) * 2, (SIDE // 8,) * 2, (SIDE // 16,) * 2]
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)
    # the blocks differ, so that another one could not pass for these
    assert not torch.allclose(of_block[2], of_block[5], atol=0.01)
    assert not torch.allclose(of_block[2], of_block[8], atol=0.01)


@pytest.mark.parametrize(
    ("preset", "taps", "windowed"), [("sam_vit_b", (2, 5), 8), ("sam_vit_l", (5, 11), 20), ("sam_vit_h", (7, 15), 28)]
)
def test_taps_and_windows_are_those_of_the_published_models(preset, taps, windowed) -> None:
    with torch.device("meta"):  # ViT-H has 2.5 GB of weights
        encoder = SamViTEncoder(load_model_config(preset, class_names=CLASSES))
    assert encoder.taps == taps
    sizes = [block.window_size for block in encoder.base.blocks]
    assert [sizes[i] for i in taps] == [0, 0]
    assert (sizes.count(0), sizes.count(14)) == (4, windowed)


def test_positions_of_another_grid_are_resampled_and_of_their_own_kept() -> None:
    torch.manual_seed(0)
    positions = torch.randn(1, 8, 8, 5)
    assert resize_positions(positions, 8) is positions
    flat = torch.full((1, 8, 8, 5), 0.7)
    torch.testing.assert_close(resize_positions(flat, 3), torch.full((1, 3, 3, 5), 0.7))
    # a plane stays the same plane away from the border: column c of 8 lies at 2 * c' + 0.5 of 4
    ramp = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 8, 8, 5)
    expected = torch.arange(4.0) * 2 + 0.5
    torch.testing.assert_close(resize_positions(ramp, 4)[0, 2, 1:3, 0], expected[1:3], atol=0.05, rtol=0)
    assert resize_positions(positions, 4).shape == (1, 4, 4, 5)


def test_positions_of_a_much_smaller_grid_do_not_alias() -> None:
    """Pillow's bicubic filter widens with the step, too."""
    torch.manual_seed(0)
    positions = torch.randn(1, 16, 16, 2)
    resized = resize_positions(positions, 5)
    for channel in range(2):
        plane = Image.fromarray(positions[0, :, :, channel].numpy())
        expected = np.asarray(plane.resize((5, 5), Image.Resampling.BICUBIC))
        torch.testing.assert_close(resized[0, :, :, channel], torch.from_numpy(expected.copy()), rtol=1e-3, atol=1e-4)
