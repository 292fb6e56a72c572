"""The batched decoder against segment_anything's own, on shared weights."""

from __future__ import annotations

import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.decoder import PerPromptDecoder

CONFIG = load_model_config("tiny", class_names=("anode", "object"))


def test_many_prompts_in_many_images_equal_upstream_one_image_at_a_time():
    torch.manual_seed(0)
    decoder = PerPromptDecoder(CONFIG).eval()
    b, p, t, d, g = 2, 3, 5, CONFIG.width, CONFIG.grid
    embedding, pe = torch.randn(b, d, g, g), torch.randn(1, d, g, g)
    sparse, dense = torch.randn(b, p, t, d), torch.randn(b, p, d, g, g)
    edges = torch.zeros(b, d // 8, 4 * g, 4 * g)
    with torch.no_grad():
        masks, iou = decoder(embedding, pe, sparse, dense, edges)
        for i in range(b):
            expected_masks, expected_iou = decoder.mask_decoder(
                image_embeddings=embedding[i : i + 1],
                image_pe=pe,
                sparse_prompt_embeddings=sparse[i],
                dense_prompt_embeddings=dense[i],
                multimask_output=False,
            )
            torch.testing.assert_close(masks[i], expected_masks[:, 0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(iou[i], expected_iou[:, 0], rtol=1e-4, atol=1e-4)


def test_untrained_skip_adds_nothing():
    decoder = PerPromptDecoder(CONFIG)
    g = CONFIG.grid
    edges = decoder.edges(
        torch.randn(1, CONFIG.encoder_widths[0], 4 * g, 4 * g), torch.randn(1, CONFIG.width, 2 * g, 2 * g)
    )
    assert torch.equal(edges, torch.zeros(1, CONFIG.width // 8, 4 * g, 4 * g))
