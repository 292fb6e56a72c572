"""SSSPM, spatial half: prompts from the mask decoder. What pass 1 drew becomes box, points and mask of pass 2.

The prompts are those a person would click, in SAM's own encoding; that they are read off the first masks in this way is
our reading of the paper. All operations have static shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from spda_sam_core.config import MASK_CHANNELS, ModelConfig

CELLS = 8
"""Points are taken from different cells of a grid of this many rows and columns, so that they spread."""
_NEVER = -1e4


class SpatialPrompt(NamedTuple):
    """Prompts read off masks, in network pixels.

    Attributes:
        points_xy: (B, P, 2 * n, 2), the n inside first, then the n outside.
        boxes_xyxy: (B, P, 4).
    """

    points_xy: Tensor
    boxes_xyxy: Tensor


class SpatialPrompts(nn.Module):
    """SAM's prompt encoder, fed by masks instead of a person."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.points = config.spatial_points
        self.input_size = config.input_size
        self.prompt_encoder = PromptEncoder(
            embed_dim=config.width,
            image_embedding_size=(config.grid, config.grid),
            input_image_size=(config.input_size, config.input_size),
            mask_in_chans=MASK_CHANNELS,
        )
        if config.pretrained:
            self.prompt_encoder.requires_grad_(False)
        # stands for a missing box or point; here neither is ever missing
        self.prompt_encoder.not_a_point_embed.requires_grad_(False)
        if not config.use_spatial_prompts:  # without pass 2 these are never read
            self.prompt_encoder.point_embeddings.requires_grad_(False)
            self.prompt_encoder.mask_downscaling.requires_grad_(False)
        # SAM widens its encoding of a mask to D at the end; joint decoding takes it before
        self.widened = config.decoder == "per_prompt"
        if not self.widened:
            self.prompt_encoder.mask_downscaling[-1].requires_grad_(False)

    def image_pe(self) -> Tensor:
        """(1, D, G, G) position encoding of the image embedding."""
        return self.prompt_encoder.get_dense_pe()

    def no_mask(self) -> Tensor:
        """(1, D, 1, 1) that SAM adds to the image embedding where no mask is known."""
        return self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)

    def encode_positions(self, boxes_xyxy: Tensor) -> Tensor:
        """(B, P, 4) boxes in network pixels to (B, P, 3, D): top left, bottom right and centre."""
        corners = boxes_xyxy.clamp(0, self.input_size).reshape(*boxes_xyxy.shape[:2], 2, 2)
        return self._encode(torch.cat([corners, corners.mean(dim=2, keepdim=True)], dim=2))

    def forward(self, mask_logits: Tensor, fallback_boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts of pass 2.

        Args:
            mask_logits: (B, P, 4G, 4G) of pass 1; no gradient flows back through prompts.
            fallback_boxes_xyxy: (B, P, 4) network pixels, for masks without a single pixel.

        Returns:
            Sparse prompts (B, P, 2n + 2, D) and dense prompts (B, P, X, G, G), as SAM's `PromptEncoder` gives
            them for the same points, boxes and masks; for joint decoding the dense ones before their last layer.
        """
        logits = mask_logits.detach().float().clamp(-32, 32)
        points_xy, boxes_xyxy = self.read_masks(logits, fallback_boxes_xyxy.detach())
        inside, outside, top_left, bottom_right = (self.prompt_encoder.point_embeddings[i].weight for i in (1, 0, 2, 3))
        corners = boxes_xyxy.reshape(*boxes_xyxy.shape[:2], 2, 2)
        kinds = torch.cat([*[inside] * self.points, *[outside] * self.points, top_left, bottom_right])
        # SAM puts points and corners into the middle of their pixel
        sparse = self._encode(torch.cat([points_xy, corners], dim=2) + 0.5) + kinds
        encode_masks = self.prompt_encoder.mask_downscaling[: None if self.widened else -1]
        dense = encode_masks(logits.flatten(0, 1)[:, None])  # (B*P, X, G, G)
        return sparse, dense.unflatten(0, logits.shape[:2])

    def read_masks(self, mask_logits: Tensor, fallback_boxes_xyxy: Tensor) -> SpatialPrompt:
        """Box and surest points of each mask.

        Args:
            mask_logits: (B, P, h, h).
            fallback_boxes_xyxy: (B, P, 4) network pixels.

        Returns:
            The box around all positive pixels. The inside points are the highest logits of the best cells; the
            outside points are the lowest logits within the box, where a wrong inclusion is likely.
        """
        side = mask_logits.shape[-1]
        pixel = self.input_size / side
        positive = mask_logits > 0
        x0, x1 = _extent(positive.any(dim=2))
        y0, y1 = _extent(positive.any(dim=3))
        found = positive.flatten(2).any(dim=2)[..., None]
        boxes_xyxy = torch.where(
            found,
            torch.stack([x0, y0, x1, y1], dim=2) * pixel,
            fallback_boxes_xyxy.clamp(0, self.input_size),
        )
        centres = (torch.arange(side, device=mask_logits.device, dtype=torch.float32) + 0.5) * pixel
        in_columns = (centres > boxes_xyxy[..., 0:1]) & (centres < boxes_xyxy[..., 2:3])  # (B, P, h)
        in_rows = (centres > boxes_xyxy[..., 1:2]) & (centres < boxes_xyxy[..., 3:4])
        in_box = in_rows[..., :, None] & in_columns[..., None, :]
        outside = torch.where(in_box, -mask_logits, torch.full_like(mask_logits, _NEVER))
        places = torch.cat([self._best_of_cells(mask_logits), self._best_of_cells(outside)], dim=2)
        rows = torch.div(places, side, rounding_mode="floor")
        points_xy = torch.stack([places - rows * side, rows], dim=3).float()
        return SpatialPrompt((points_xy + 0.5) * pixel, boxes_xyxy)

    def _best_of_cells(self, values: Tensor) -> Tensor:
        """Flat indices (B, P, n) of the highest values of (B, P, h, h), at most one from each cell."""
        b, p, side, _ = values.shape
        cell = side // CELLS
        cells = values.reshape(b, p, CELLS, cell, CELLS, cell).transpose(3, 4).reshape(b, p, CELLS**2, cell**2)
        best, within = cells.max(dim=3)
        which = best.topk(self.points, dim=2).indices  # (B, P, n)
        inside = within.gather(2, which)
        row = torch.div(which, CELLS, rounding_mode="floor") * cell + torch.div(inside, cell, rounding_mode="floor")
        return row * side + which % CELLS * cell + inside % cell

    def _encode(self, xy: Tensor) -> Tensor:
        """(B, P, X, 2) network pixels to SAM's (B, P, X, D)."""
        size = (self.input_size, self.input_size)
        encoded: Tensor = self.prompt_encoder.pe_layer.forward_with_coords(xy.float().flatten(0, 1), size)
        return encoded.reshape(*xy.shape[:2], *encoded.shape[1:])


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last true entry along the last axis of (B, P, n), as float32."""
    n = occupied.shape[-1]
    ones = occupied.to(torch.int32)
    return ones.argmax(dim=2).float(), (n - ones.flip(2).argmax(dim=2)).float()
