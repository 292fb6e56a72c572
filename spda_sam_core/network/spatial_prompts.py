"""SSSPM, spatial half: prompts from the mask decoder. What pass 1 drew becomes box, points and mask of pass 2.

The prompts are those a person would click, in SAM's own encoding; that they are read off the first masks in this way is
our reading of the paper. With them goes what pass 1 could not know: the mean features of what it drew and of what lies
around that (as K-Net, Zhang et al., NeurIPS 2021). All operations have static shapes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from spda_sam_core.config import MASK_CHANNELS, MASK_FEATURES, ModelConfig
from spda_sam_core.network.layers import area_pool

CELLS = 8
"""Points are taken from different cells of a grid of this many rows and columns, so that they spread."""
_NEVER = -1e4


class SpatialPrompt(NamedTuple):
    """Prompts read off masks, in network pixels.

    Attributes:
        points_xy: (B, P, 2 * n, 2), the n inside first, then the n outside.
        are_points: (B, P, 2 * n) bool: a small thing has no n places that lie well inside, its box none outside.
        boxes_xyxy: (B, P, 4).
    """

    points_xy: Tensor
    are_points: Tensor
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
        if not config.use_spatial_prompts:  # without pass 2 these are never read
            self.prompt_encoder.point_embeddings.requires_grad_(False)
            self.prompt_encoder.mask_downscaling.requires_grad_(False)
            self.prompt_encoder.not_a_point_embed.requires_grad_(False)
        # SAM widens its encoding of a mask to D at the end; here it is taken before that
        self.prompt_encoder.mask_downscaling[-1].requires_grad_(False)
        # inside and around: features that masks are drawn with, and image embedding
        regions = 2 * (MASK_FEATURES + config.width)
        self.from_regions = nn.Linear(regions, 2 * config.width) if config.use_spatial_prompts else None

    def image_pe(self) -> Tensor:
        """(1, D, G, G) float32 position encoding of the image embedding."""
        positions = self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        with torch.autocast(positions.device.type, enabled=False):
            encoding: Tensor = self.prompt_encoder.get_dense_pe()
        return encoding

    def no_mask(self) -> Tensor:
        """(1, D, 1, 1) that SAM adds to the image embedding where no mask is known."""
        return self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)

    def encode_positions(self, boxes_xyxy: Tensor) -> Tensor:
        """(B, P, 4) boxes in network pixels to (B, P, 3, D): top left, bottom right and centre."""
        corners = boxes_xyxy.clamp(0, self.input_size).reshape(*boxes_xyxy.shape[:2], 2, 2)
        return self._encode(torch.cat([corners, corners.mean(dim=2, keepdim=True)], dim=2))

    def forward(
        self, mask_logits: Tensor, fallback_boxes_xyxy: Tensor, mask_features: Tensor, image_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Prompts of pass 2.

        Args:
            mask_logits: (B, P, 4G, 4G) of pass 1; no gradient flows back through prompts.
            fallback_boxes_xyxy: (B, P, 4) network pixels, for masks without a single pixel.
            mask_features: (B, F, 4G, 4G) of the pyramid.
            image_embedding: (B, D, G, G).

        Returns:
            Sparse prompts (B, P, 2n + 2 + 2, D): points, corners and box as SAM's `PromptEncoder` gives them, then two
            tokens of what was drawn and of what lies around. Dense prompts (B, P, X, G, G), SAM's encoding of a mask
            before its last layer.
        """
        logits = mask_logits.detach().float().clamp(-32, 32)
        points_xy, are_points, boxes_xyxy = self.read_masks(logits, fallback_boxes_xyxy.detach())
        inside, outside, top_left, bottom_right = (self.prompt_encoder.point_embeddings[i].weight for i in (1, 0, 2, 3))
        kinds = torch.cat([*[inside] * self.points, *[outside] * self.points])  # (2n, D)
        points = torch.where(
            are_points[..., None], self._encode(points_xy) + kinds, self.prompt_encoder.not_a_point_embed.weight
        )
        corners_xy = boxes_xyxy.reshape(*boxes_xyxy.shape[:2], 2, 2)
        corners = self._encode(corners_xy) + torch.cat([top_left, bottom_right])
        regions = self._regions(logits, boxes_xyxy, mask_features, image_embedding)
        dense = self.prompt_encoder.mask_downscaling[:-1](logits.flatten(0, 1)[:, None])  # (B*P, X, G, G)
        return torch.cat([points, corners, regions], dim=2), dense.unflatten(0, logits.shape[:2])

    def _regions(
        self, mask_logits: Tensor, boxes_xyxy: Tensor, mask_features: Tensor, image_embedding: Tensor
    ) -> Tensor:
        """(B, P, 2, D) tokens of the mean features inside each mask, and around it within twice its box."""
        assert self.from_regions is not None
        inside = mask_logits.sigmoid()  # (B, P, 4G, 4G)
        middle, half = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2, (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2])
        around = (1 - inside) * self._in_boxes(torch.cat([middle - half, middle + half], dim=2), inside.shape[-1])
        means = []
        for features in (mask_features, image_embedding):
            flat = features.flatten(2).transpose(1, 2)  # (B, h*h, F)
            for region in (inside, around):
                weights = area_pool(region, features.shape[-1]).flatten(2).to(flat.dtype)  # (B, P, h*h)
                means.append((weights @ flat) / weights.sum(dim=2, keepdim=True).clamp(min=1e-3))
        tokens: Tensor = self.from_regions(torch.cat(means, dim=2))
        return tokens.reshape(*tokens.shape[:2], 2, -1)

    def _in_boxes(self, boxes_xyxy: Tensor, side: int) -> Tensor:
        """(B, P, 4) boxes in network pixels to (B, P, side, side) float32, 1 where a cell's centre lies inside."""
        centres = (torch.arange(side, device=boxes_xyxy.device, dtype=torch.float32) + 0.5) * (self.input_size / side)
        in_columns = (centres > boxes_xyxy[..., 0:1]) & (centres < boxes_xyxy[..., 2:3])  # (B, P, side)
        in_rows = (centres > boxes_xyxy[..., 1:2]) & (centres < boxes_xyxy[..., 3:4])
        return (in_rows[..., :, None] & in_columns[..., None, :]).float()

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
        of_columns, of_rows = mask_logits.amax(dim=2), mask_logits.amax(dim=3)  # (B, P, h) each
        x0, x1 = _extent(of_columns > 0)
        y0, y1 = _extent(of_rows > 0)
        found = of_rows.amax(dim=2, keepdim=True) > 0  # (B, P, 1)
        boxes_xyxy = torch.where(
            found,
            torch.stack([x0, y0, x1, y1], dim=2) * pixel,
            fallback_boxes_xyxy.clamp(0, self.input_size),
        )
        in_box = self._in_boxes(boxes_xyxy, side) > 0
        outside = torch.where(in_box, -mask_logits, torch.full_like(mask_logits, _NEVER))
        found_points = [self._best_of_cells(values) for values in (mask_logits, outside)]
        places, surest = (torch.cat(pair, dim=2) for pair in zip(*found_points, strict=True))
        rows = torch.div(places, side, rounding_mode="floor")
        points_xy = (torch.stack([places - rows * side, rows], dim=3).float() + 0.5) * pixel
        return SpatialPrompt(points_xy, surest > 0, boxes_xyxy)

    def _best_of_cells(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Flat indices (B, P, n) of the highest values of (B, P, h, h), at most one from each cell, and these."""
        b, p, side, _ = values.shape
        cell = side // CELLS
        cells = values.reshape(b, p, CELLS, cell, CELLS, cell).transpose(3, 4).reshape(b, p, CELLS**2, cell**2)
        best, within = cells.max(dim=3)
        surest, which = best.topk(self.points, dim=2)  # (B, P, n)
        inside = within.gather(2, which)
        row = torch.div(which, CELLS, rounding_mode="floor") * cell + torch.div(inside, cell, rounding_mode="floor")
        return row * side + which % CELLS * cell + inside % cell, surest

    def _encode(self, xy: Tensor) -> Tensor:
        """(B, P, X, 2) network pixels to SAM's (B, P, X, D), in float32: its sines are of large numbers."""
        with torch.autocast(xy.device.type, enabled=False):
            # `forward_with_coords` does the same in place, which ONNX can only say with ScatterND
            encoded: Tensor = self.prompt_encoder.pe_layer._pe_encoding(xy.float() / self.input_size)
        return encoded


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last true entry along the last axis of (B, P, n), as float32."""
    n = occupied.shape[-1]
    ones = occupied.to(torch.int32)
    return ones.argmax(dim=2).float(), (n - ones.flip(2).argmax(dim=2)).float()
