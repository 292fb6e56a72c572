"""`ModelConfig`: every number of the network, from one YAML file per preset in `config/model/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from spda_sam_core.settings import read_yaml, settings, settings_from

Encoder = Literal[
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "sam_vit_b",
    "sam_vit_l",
    "sam_vit_h",
    "mobile_sam",
]
SAM_WIDTH = 256
"""Channels of the image embedding in every SAM."""
MASK_CHANNELS = 16
"""X, channels inside SAM's mask prompt encoder and of dense prompts."""
MASK_FEATURES = 32
"""F, channels of the features that masks are drawn with at stride 4."""

_LITE_WIDTHS = {
    "efficientnet_lite0": (24, 40, 112, 320),
    "efficientnet_lite1": (24, 40, 112, 320),
    "efficientnet_lite2": (24, 48, 120, 352),
}

_SAM_NUMBERS = {"width": SAM_WIDTH, "attention_heads": 8, "mlp_width": 2048}
_MOBILE_SAM_TAPS = (64, 128)


@settings
class ModelConfig:
    """What the network is made of. Letters: S input size, G = S/16, D `width`, K, T.

    Attributes:
        preset: name of the preset.
        class_names: the C classes, indexed by class id.
        input_size: side S of the square input in pixels, a multiple of 32.
        encoder: EfficientNet-Lite, trained from ImageNet's weights, or the name of the SAM base that stays frozen.
        encoder_widths: channels of the RGB path at strides 4, 8, 16 and, with EfficientNet-Lite, 32.
        depth_widths: channels of the depth path at the same strides.
        width: channels D of the image embedding, of prompts and of the mask decoder (256 in SAM).
        attention_heads: heads of every attention layer of decoder and pyramid.
        mlp_width: hidden channels of the decoder's MLPs.
        num_proposals: K, proposals that pass 1 draws.
        num_instances: L, of these as many as pass 2 draws again: the most that are found in an image.
        prompt_tokens: T, semantic prompt tokens per proposal.
        spatial_points: confident points per kind (inside, outside) that pass 1 hands to pass 2.
        lora_rank: rank of the trained change to a SAM base; 0 leaves its encoder as it is.
        use_depth: read depth at all; without it C2FFM is left out.
        fusion_coarse: C2FFM's coarse part.
        fusion_fine: C2FFM's fine part; with neither part, depth features are plainly added.
        use_spatial_prompts: decode twice, the second time with the spatial prompts of the first.

    Raises:
        ValueError: values that contradict each other.
    """

    preset: str
    class_names: tuple[str, ...]
    input_size: int
    encoder_widths: tuple[int, ...]
    encoder: Encoder = "efficientnet_lite0"
    depth_widths: tuple[int, ...] = (16, 32, 64, 96)
    width: int = 128
    attention_heads: int = 8
    mlp_width: int = 512
    num_proposals: int = 20
    num_instances: int = 16
    prompt_tokens: int = 4
    spatial_points: int = 2
    lora_rank: int = 0
    use_depth: bool = True
    fusion_coarse: bool = True
    fusion_fine: bool = True
    use_spatial_prompts: bool = True

    def __post_init__(self) -> None:
        if self.input_size < 32 or self.input_size % 32:
            raise ValueError(f"input_size {self.input_size} must be a multiple of 32, such as 384 or 512")
        if not self.class_names or len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"class_names {self.class_names} must be distinct, and at least one")
        # SAM's two-way decoder halves the channels inside its cross-attention, and divides them by 8 in its masks
        for divisor in (2 * self.attention_heads, 16):
            if self.width % divisor:
                raise ValueError(f"width {self.width} must be a multiple of {divisor}")
        cells = (self.input_size // 32) ** 2 * 21  # strides 8, 16 and 32
        if not 1 <= self.num_proposals <= cells:
            raise ValueError(f"num_proposals {self.num_proposals} must lie in 1..{cells}, the places that propose")
        if not 1 <= self.num_instances <= self.num_proposals:
            raise ValueError(f"num_instances {self.num_instances} must lie in 1..{self.num_proposals}, num_proposals")
        if min(self.prompt_tokens, self.spatial_points) < 1:
            raise ValueError(
                f"prompt_tokens {self.prompt_tokens} and spatial_points {self.spatial_points} must be at least 1"
            )
        if len(self.depth_widths) != len(self.encoder_widths):
            raise ValueError(
                f"depth_widths {self.depth_widths} and encoder_widths {self.encoder_widths}: give one entry per stride"
            )
        if self.pretrained:
            self._check_pretrained()
            return
        if self.lora_rank:
            raise ValueError(f"lora_rank {self.lora_rank} needs a SAM base: {self.encoder} is trained whole")
        if self.encoder_widths != _LITE_WIDTHS[self.encoder]:
            raise ValueError(
                f"encoder_widths {self.encoder_widths} must be {_LITE_WIDTHS[self.encoder]}, as in {self.encoder}"
            )

    def _check_pretrained(self) -> None:
        for name, value in _SAM_NUMBERS.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} {getattr(self, name)} must be {value}, as in the weights of {self.encoder}")
        taps = _MOBILE_SAM_TAPS if self.encoder == "mobile_sam" else self.encoder_widths[:2]
        if self.encoder_widths != (*taps, SAM_WIDTH):
            raise ValueError(
                f"encoder_widths {self.encoder_widths} must be {(*taps, SAM_WIDTH)}, as in the weights of "
                f"{self.encoder}"
            )
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank {self.lora_rank} must be at least 0")

    @property
    def pretrained(self) -> bool:
        """Whether the encoder is a frozen base, whose weights come from their own file."""
        return self.encoder not in _LITE_WIDTHS

    @property
    def grid(self) -> int:
        """G, rows and columns of the image embedding."""
        return self.input_size // 16


def load_model_config(
    preset: str | Path, *, class_names: Sequence[str], changes: Mapping[str, Any] | None = None
) -> ModelConfig:
    """Read a preset, which is of no classes, and give it those of the data.

    Args:
        preset: a name such as "tiny" (`config/model/tiny.yaml` of the repository), or a YAML file.
        class_names: of the data.
        changes: fields that differ from the preset.

    Raises:
        FileNotFoundError: no such preset or file.
        ValueError: what `settings_from` refuses, or class names beside those of the data.
    """
    path = Path(preset)
    if path.suffix != ".yaml":
        path = Path(__file__).resolve().parents[1] / "config/model" / f"{preset}.yaml"
    data = {**read_yaml(path, "model configuration"), **(changes or {})}
    if "class_names" in data:
        raise ValueError(f"{path}: class_names are those of the data: leave them out")
    return settings_from(ModelConfig, {**data, "class_names": class_names}, str(path))
