"""RGB path of the dual-path encoder: a small hierarchical image encoder, trained from scratch.

Convolutions first, attention where the grid is small, as in TinyViT (Wu et al., ECCV 2022), the encoder of
MobileSAM: a plain ViT without pretraining learns slowly from few pictures.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig


class HierarchicalEncoder(nn.Module):
    """Image to features at strides 4, 8 and 16."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        narrow, middle, wide = config.encoder_widths
        self.stem = nn.Sequential(conv_norm_act(3, narrow // 2, stride=2), conv_norm_act(narrow // 2, narrow, stride=2))
        self.down8 = conv_norm_act(narrow, middle, stride=2)
        self.down16 = conv_norm_act(middle, wide, stride=2)
        self.stage4, self.stage8, self.stage16 = (
            nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
            for channels, count in zip(config.encoder_widths, config.encoder_blocks, strict=True)
        )
        self.attention = nn.Sequential(
            *(TransformerBlock(wide, config.attention_heads) for _ in range(config.encoder_attention_blocks))
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode normalised images.

        Args:
            image: (B, 3, S, S) float32, ImageNet mean and deviation taken out.

        Returns:
            (B, W4, S/4, S/4), (B, W8, S/8, S/8) and (B, W16, G, G), channels as in `encoder_widths`.
        """
        x4 = self.stage4(self.stem(image))
        x8 = self.stage8(self.down8(x4))
        x16 = self.attention(self.stage16(self.down16(x8)))
        return x4, x8, x16


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_act(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)  # begins as the identity, which trains faster

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.relu(x + self.norm2(self.conv2(self.conv1(x))))


class TransformerBlock(nn.Module):
    """Global self-attention and an MLP on a grid; a depth-wise convolution tells the places apart.

    The convolution stands in for position embeddings (Chu et al., "Conditional Positional Encodings", ICLR 2023).
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, G, G) to the same."""
        b, c, h, w = x.shape
        tokens = (x + self.position(x)).flatten(2).transpose(1, 2)  # (B, G*G, C)
        qkv = self.qkv(self.norm1(tokens)).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, G*G, C/heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


def conv_norm_act(channels_in: int, channels_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; `stride` divides the size."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
