"""`SpdaSamNetwork`: the whole network. `forward` is the map; each line is one block, in its own file."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.decoder import PerPromptDecoder, SelfPromptedDecoder
from spda_sam_core.network.depth_path import DepthPath
from spda_sam_core.network.encoders.build import build_encoder
from spda_sam_core.network.fusion import C2FFM
from spda_sam_core.network.joint_decoder import JointDecoder
from spda_sam_core.network.semantic_prompts import (
    FeaturePyramid,
    ProposalHead,
    Proposals,
    Pyramid,
    SemanticPrompts,
    best_places,
)
from spda_sam_core.network.spatial_prompts import SpatialPrompts

_DECODERS = {"joint": JointDecoder, "per_prompt": PerPromptDecoder}


class SpdaSamOutput(NamedTuple):
    """K candidates per image, surest proposal first.

    Attributes:
        mask_logits: (B, K, S/4, S/4) float32, positive inside.
        class_logits: (B, K, C) float32, before the sigmoid.
        predicted_iou: (B, K) float32, of the mask with the truth; may leave [0, 1].
        boxes_xyxy: (B, K, 4) float32 network pixels, of the proposals.
    """

    mask_logits: Tensor
    class_logits: Tensor
    predicted_iou: Tensor
    boxes_xyxy: Tensor


class Segmentation(NamedTuple):
    """Masks and predicted IoU of each decoder pass, last pass last.

    Attributes:
        mask_logits: one (B, P, S/4, S/4) per pass.
        predicted_iou: one (B, P) per pass.
    """

    mask_logits: tuple[Tensor, ...]
    predicted_iou: tuple[Tensor, ...]


class SpdaSamNetwork(nn.Module):
    """SPDA-SAM (Shang et al., arXiv 2602.06335), reconstructed: see docs/design.md for what is our reading."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.rgb_path = build_encoder(config)
        self.depth_path = DepthPath(config) if config.use_depth else None
        self.fusion = C2FFM(config) if config.use_depth else None
        self.pyramid = FeaturePyramid(config)
        self.proposal_head = ProposalHead(config)
        self.semantic_prompts = SemanticPrompts(config)
        self.spatial_prompts = SpatialPrompts(config)
        self.decoder: SelfPromptedDecoder = _DECODERS[config.decoder](config)

    def train(self, mode: bool = True) -> SpdaSamNetwork:
        """As `nn.Module.train`; a frozen base keeps the statistics of its batch normalisation."""
        super().train(mode)
        if self.config.pretrained:
            self.rgb_path.eval()
        return self

    def forward(self, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor) -> SpdaSamOutput:
        """Find K candidates in each image.

        Args:
            image: (B, 3, S, S) float32, ImageNet mean and deviation taken out, 0 in the padding.
            inverse_depth: (B, 1, S, S) float32 in [0, 1], 0 where unknown.
            depth_valid: (B, 1, S, S) float32, 1 where depth is known.

        Returns:
            The candidates; see `spda_sam_core.results.postprocess` for what becomes of them.
        """
        fused = self.encode(image, inverse_depth, depth_valid)
        pyramid = self.pyramid(fused)
        proposals = self.proposal_head(pyramid)
        picked = proposals.pick(best_places(proposals.class_logits, self.config.num_proposals))
        masks, ious = self.segment(fused, pyramid, picked)
        return SpdaSamOutput(masks[-1], picked.class_logits, ious[-1], picked.boxes_xyxy)

    def encode(self, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor) -> tuple[Tensor, ...]:
        """Dual-path encoder and C2FFM: fused features at strides 4, 8 and 16."""
        rgb: tuple[Tensor, ...] = self.rgb_path(image)
        if self.depth_path is None or self.fusion is None:
            return rgb
        depth = self.depth_path(inverse_depth, depth_valid)
        fused: tuple[Tensor, ...] = self.fusion(rgb, depth, inverse_depth, depth_valid)
        return fused

    def segment(self, fused: tuple[Tensor, ...], pyramid: Pyramid, picked: Proposals) -> Segmentation:
        """Self-prompts and both decoder passes for P picked proposals per image."""
        image_pe = self.spatial_prompts.image_pe()
        # SAM's decoder was trained on its encoder's output; a small encoder's becomes better through the pyramid
        embedding = fused[2] if self.config.pretrained else pyramid.p16  # (B, D, G, G)
        edges = self.decoder.edges(fused[0], pyramid.p8)
        boxes_xyxy = picked.boxes_xyxy.detach()
        positions = self.spatial_prompts.encode_positions(boxes_xyxy)
        semantic, where = self.semantic_prompts(picked, positions, embedding, image_pe)
        unmasked = embedding + self.spatial_prompts.no_mask()
        mask1, iou1 = self.decoder(unmasked, image_pe, semantic, where, edges)
        if not self.config.use_spatial_prompts:
            return Segmentation((mask1,), (iou1,))
        spatial, dense = self.spatial_prompts(mask1, boxes_xyxy)
        both = torch.cat([semantic, spatial], dim=2)  # (B, P, T + 2n + 2, D)
        if isinstance(self.decoder, JointDecoder):  # no instance's mask is added to the embedding, which all share
            mask2, iou2 = self.decoder(unmasked, image_pe, both, dense + where, edges, mask1.detach())
        else:
            mask2, iou2 = self.decoder(embedding, image_pe, both, dense, edges)
        return Segmentation((mask1, mask2), (iou1, iou2))


def build_network(config: ModelConfig) -> SpdaSamNetwork:
    """An untrained model; its weights depend on torch's random state."""
    return SpdaSamNetwork(config)
