"""SSSPM, semantic half: prompts from the image encoder, without a click.

Our reading of the paper: proposals over the fused features become T prompt tokens each, which take one look at the
image embedding.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from spda_sam_core.config import MASK_CHANNELS, ModelConfig
from spda_sam_core.network.proposals import Proposals, place_centres


class SemanticPrompts(nn.Module):
    """Places to prompts: sparse tokens refined by one look at the image embedding, and where the proposal lies."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.tokens = config.prompt_tokens
        self.input_size = config.input_size
        self.grid = config.grid
        self.from_features = nn.Linear(width, self.tokens * width)
        self.kinds = nn.Parameter(torch.randn(self.tokens, width) * 0.02)
        self.from_positions = nn.Linear(3 * width, self.tokens * width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, config.attention_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(width)
        self.whereabouts = nn.Sequential(nn.Linear(5, width // 4), nn.ReLU(), nn.Linear(width // 4, MASK_CHANNELS))

    def forward(
        self, picked: Proposals, positions: Tensor, image_embedding: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make the prompts of pass 1.

        Args:
            picked: P proposals per image.
            positions: (B, P, 3, D) SAM position encoding of top left, bottom right and centre of the boxes.
            image_embedding: (B, D, G, G).
            image_pe: (1, D, G, G).

        Returns:
            Sparse prompts (B, P, T, D) and dense prompts (B, P, X, G, G).
        """
        b, p, width = picked.features.shape
        content = self.from_features(picked.features) + self.from_positions(positions.flatten(2))
        tokens = content.reshape(b, p * self.tokens, width) + self.kinds.repeat(p, 1)
        keys = image_embedding.flatten(2).transpose(1, 2)  # (B, G*G, D)
        looked = self.attention(q=self.norm1(tokens), k=keys + image_pe.flatten(2).transpose(1, 2), v=keys)
        sparse = self.norm2(tokens + looked).reshape(b, p, self.tokens, width)
        # told by tokens alone, the decoder first draws all that stands out, and separates instances much later
        near = relative_places(picked.boxes_xyxy.detach(), self.grid, self.input_size)  # (B, P, G*G, 5)
        dense = self.whereabouts(near).transpose(2, 3).reshape(b, p, -1, self.grid, self.grid)
        return sparse, dense


def relative_places(boxes_xyxy: Tensor, grid: int, input_size: int) -> Tensor:
    """Where the cells of the image embedding lie, seen from each box (as CondInst's mask head: Tian et al., ECCV 2020).

    Args:
        boxes_xyxy: (B, P, 4) network pixels.
        grid: G.
        input_size: S.

    Returns:
        (B, P, G*G, 5): x and y from the centre in half sizes of the box, within -3..3; depth inside the box, 1 at its
        centre, 0 on its edge, -2 far outside; half width and half height, 1 for the whole input.
    """
    cells = place_centres(grid, input_size // grid, boxes_xyxy.device)  # (G*G, 2)
    top_left, bottom_right = boxes_xyxy.clamp(0, input_size)[:, :, None].chunk(2, dim=3)  # (B, P, 1, 2)
    half = ((bottom_right - top_left) / 2).clamp(min=4.0)
    offset = ((cells - (top_left + bottom_right) / 2) / half).clamp(-3, 3)
    inside = 1 - offset.abs().amax(dim=3, keepdim=True)
    return torch.cat([offset, inside, (half * 2 / input_size).expand_as(offset)], dim=3)
