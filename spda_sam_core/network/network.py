"""`SpdaSamNetwork`: the whole network. `forward` is the map; each line is one block, in its own file."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.decoder import SelfPromptedDecoder
from spda_sam_core.network.depth_head import DepthHead, fill_missing_depth
from spda_sam_core.network.depth_path import DepthPath
from spda_sam_core.network.encoders.build import build_encoder
from spda_sam_core.network.fusion import C2FFM
from spda_sam_core.network.layers import NormaliseImage
from spda_sam_core.network.proposals import ProposalHead, Proposals, gather_places
from spda_sam_core.network.pyramid import FeaturePyramid, Pyramid
from spda_sam_core.network.semantic_prompts import SemanticPrompts
from spda_sam_core.network.spatial_prompts import SpatialPrompts
from spda_sam_core.network.suppression import best_unique, best_unique_masks

_SILENT = -20.0
"""Class logit of what only fills up the output."""


class SpdaSamOutput(NamedTuple):
    """L candidates per image (`ModelConfig.num_instances`), no two of which show the same.

    Attributes:
        mask_logits: (B, L, S/4, S/4) float32, positive inside.
        class_logits: (B, L, C) float32, before the sigmoid; very low where there are fewer than L things.
        predicted_iou: (B, L) float32, of the mask with the truth; may leave [0, 1].
        boxes_xyxy: (B, L, 4) float32 network pixels, of the proposals.
        inverse_depth: (B, 1, S/4, S/4) float32 in [0, 1], what the network saw of depth: what was given or, in its
            stead, its own estimate; 0 where unknown.
    """

    mask_logits: Tensor
    class_logits: Tensor
    predicted_iou: Tensor
    boxes_xyxy: Tensor
    inverse_depth: Tensor


class Features(NamedTuple):
    """What the dual-path encoder and C2FFM make of an image.

    Attributes:
        fused: features at strides 4, 8, 16 and, if the encoder has it, 32.
        inverse_depth: (B, 1, S, S), what was seen of depth.
        depth_valid: (B, 1, S, S).
        depth_logits: (B, 2, S/4, S/4) of `DepthHead`; None for a network without depth.
    """

    fused: tuple[Tensor, ...]
    inverse_depth: Tensor
    depth_valid: Tensor
    depth_logits: Tensor | None


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
        self.normalise = NormaliseImage()
        self.rgb_path = build_encoder(config)
        self.depth_path = DepthPath(config) if config.use_depth else None
        self.depth_head = DepthHead(config) if config.use_depth else None
        self.fusion = C2FFM(config) if config.use_depth else None
        self.pyramid = FeaturePyramid(config)
        self.proposal_head = ProposalHead(config)
        self.semantic_prompts = SemanticPrompts(config)
        self.spatial_prompts = SpatialPrompts(config)
        self.decoder = SelfPromptedDecoder(config)

    def train(self, mode: bool = True) -> SpdaSamNetwork:
        """As `nn.Module.train`; a frozen base keeps the statistics of its batch normalisation."""
        super().train(mode)
        if self.config.pretrained:
            self.rgb_path.eval()
        return self

    def forward(self, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor, estimate: Tensor) -> SpdaSamOutput:
        """Find L candidates in each image.

        Args:
            image: (B, S, S, 3) uint8, R G B, see `spda_sam_core.preprocess.prepare`.
            inverse_depth: (B, 1, S, S) float32 in [0, 1], 0 where unknown.
            depth_valid: (B, 1, S, S) float32, 1 where depth is known.
            estimate: (B,) float32, 1: where no depth at all is known the network's own estimate stands in; 0: RGB only.

        Returns:
            The candidates; see `spda_sam_core.results.postprocess` for what becomes of them.
        """
        features = self.encode(image, inverse_depth, depth_valid, estimate)
        pyramid = self.pyramid(features.fused)
        proposals = self.proposal_head(pyramid)
        index, unique = best_unique(proposals.scores(), proposals.boxes_xyxy, self.config.num_proposals)
        picked = silence(proposals.pick(index), unique)
        drawn = self.decode(features.fused, pyramid, picked)
        seen = nn.functional.avg_pool2d(features.inverse_depth * features.depth_valid, 4)
        return SpdaSamOutput(*drawn, seen)

    def encode(self, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor, estimate: Tensor) -> Features:
        """Dual-path encoder and C2FFM; arguments as in `forward`."""
        normalised = self.normalise(image)  # (B, 3, S, S)
        rgb: tuple[Tensor, ...] = self.rgb_path(normalised)
        if self.depth_path is None or self.fusion is None or self.depth_head is None:
            unseen = torch.zeros_like(normalised[:, :1])  # whatever was given
            return Features(rgb, unseen, unseen, None)
        logits = self.depth_head(rgb)
        inverse_depth, depth_valid = fill_missing_depth(logits, inverse_depth, depth_valid, estimate)
        depth = self.depth_path(inverse_depth, depth_valid)
        return Features(self.fusion(rgb, depth, inverse_depth, depth_valid), inverse_depth, depth_valid, logits)

    def decode(
        self, fused: tuple[Tensor, ...], pyramid: Pyramid, picked: Proposals
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both passes for K unique proposals, the second for the L best unique masks of the first.

        Returns:
            Mask logits, class logits, predicted IoU and boxes, as in `SpdaSamOutput`.
        """
        prompts = self._first_prompts(fused, pyramid, picked)
        mask1, iou1 = self._first_pass(prompts)
        scores = picked.scores() * iou1.float().clamp(0, 1)
        index, unique = best_unique_masks(scores, mask1, self.config.num_instances)
        chosen, mask1, iou1 = silence(picked.pick(index), unique), *(gather_places(x, index) for x in (mask1, iou1))
        if not self.config.use_spatial_prompts:
            return mask1, chosen.class_logits, iou1, chosen.boxes_xyxy
        mask2, iou2 = self._second_pass(prompts.pick(index), mask1)
        return mask2, chosen.class_logits, iou2, chosen.boxes_xyxy

    def segment(
        self, fused: tuple[Tensor, ...], pyramid: Pyramid, picked: Proposals, shift: Tensor | None = None
    ) -> Segmentation:
        """Both decoder passes for all of P picked proposals per image, as training needs them.

        Args:
            fused: of `Features`.
            pyramid: made of them.
            picked: P proposals per image.
            shift: (B, P, 2) int64: cells down and right by which the mask of pass 1 is moved before pass 2 sees it, so
                that pass 2 learns to mend, and predicted IoU to doubt; None: none.
        """
        prompts = self._first_prompts(fused, pyramid, picked)
        mask1, iou1 = self._first_pass(prompts)
        if not self.config.use_spatial_prompts:
            return Segmentation((mask1,), (iou1,))
        mask2, iou2 = self._second_pass(prompts, mask1 if shift is None else moved(mask1, shift))
        return Segmentation((mask1, mask2), (iou1, iou2))

    def _first_prompts(self, fused: tuple[Tensor, ...], pyramid: Pyramid, picked: Proposals) -> _Prompts:
        image_pe = self.spatial_prompts.image_pe()
        # SAM's decoder was trained on its encoder's output; a small encoder's becomes better through the pyramid
        embedding = fused[2] if self.config.pretrained else pyramid.p16  # (B, D, G, G)
        boxes_xyxy = picked.boxes_xyxy.detach()
        positions = self.spatial_prompts.encode_positions(boxes_xyxy)
        sparse, where = self.semantic_prompts(picked, positions, embedding, image_pe)
        # no instance's mask is ever added to the embedding, which all share
        unmasked = embedding + self.spatial_prompts.no_mask()
        return _Prompts(unmasked, image_pe, sparse, where, pyramid.p4, boxes_xyxy)

    def _first_pass(self, prompts: _Prompts) -> tuple[Tensor, Tensor]:
        mask_logits, predicted_iou = self.decoder(*prompts)
        return mask_logits, predicted_iou

    def _second_pass(self, prompts: _Prompts, mask1: Tensor) -> tuple[Tensor, Tensor]:
        spatial, dense = self.spatial_prompts(mask1, prompts.boxes_xyxy, prompts.mask_features, prompts.embedding)
        both = prompts._replace(
            sparse=torch.cat([prompts.sparse, spatial], dim=2),  # (B, P, T + 2n + 4, D)
            dense=prompts.dense + dense,
        )
        mask_logits, predicted_iou = self.decoder(*both, mask1.detach())
        return mask_logits, predicted_iou


class _Prompts(NamedTuple):
    """What the decoder takes, in its order."""

    embedding: Tensor
    image_pe: Tensor
    sparse: Tensor
    dense: Tensor
    mask_features: Tensor
    boxes_xyxy: Tensor

    def pick(self, index: Tensor) -> _Prompts:
        """Keep the instances of `index` (B, L), in its order."""
        sparse, dense, boxes_xyxy = (gather_places(x, index) for x in (self.sparse, self.dense, self.boxes_xyxy))
        return self._replace(sparse=sparse, dense=dense, boxes_xyxy=boxes_xyxy)


def silence(picked: Proposals, unique: Tensor) -> Proposals:
    """Let proposals that are doubles of better ones, (B, P) bool, say that they show nothing."""
    logits = torch.where(unique[..., None], picked.class_logits, torch.full_like(picked.class_logits, _SILENT))
    return picked._replace(class_logits=logits)


def moved(mask_logits: Tensor, shift: Tensor) -> Tensor:
    """(B, P, h, h) logits, each moved down and right by its (B, P, 2) cells; what leaves comes in on the other side."""
    h = mask_logits.shape[-1]
    steps = torch.arange(h, device=mask_logits.device)
    rows, columns = ((steps - s[..., None]) % h for s in shift.unbind(dim=2))  # (B, P, h) each
    by_rows = mask_logits.gather(2, rows[..., None].expand_as(mask_logits))
    return by_rows.gather(3, columns[:, :, None].expand_as(mask_logits))


def build_network(config: ModelConfig) -> SpdaSamNetwork:
    """An untrained model; its weights depend on torch's random state."""
    return SpdaSamNetwork(config)
