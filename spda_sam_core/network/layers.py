"""Layers that several rooms of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD


class NormaliseImage(nn.Module):
    """Takes ImageNet's mean and deviation out of images, as SAM does; inside the network, so that bytes go in."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(IMAGE_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.from_numpy(IMAGE_STD)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, S, S, 3) uint8, R G B, to (B, 3, S, S) float32."""
        # converted first: TensorRT does not transpose bytes
        return (image.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) / self.std


def conv_norm_act(channels_in: int, channels_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; `stride` divides the size."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def separable_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Depth-wise 5x5 and point-wise convolution (Chollet, "Xception", CVPR 2017), each normalised, then ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 5, padding=2, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        *conv_norm_act(channels_in, channels_out, kernel=1),
    )


def zero_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1x1 convolution that starts as zero (Zhang et al., "ControlNet", ICCV 2023)."""
    conv = nn.Conv2d(channels_in, channels_out, 1)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def zero_linear(channels_in: int, channels_out: int) -> nn.Linear:
    """A linear layer that starts as zero."""
    linear = nn.Linear(channels_in, channels_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


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


def enlarge(x: Tensor, side: int) -> Tensor:
    """(B, C, h, h) to (B, C, side, side), bilinear."""
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def area_pool(x: Tensor, side: int) -> Tensor:
    """(B, C, h, h) to the (B, C, side, side) mean over each cell's area, whatever h; smaller inputs stay as they are.

    Where `side` does not divide h, cells share the rows and columns that they cut, in proportion: nothing is cut off.
    """
    n = x.shape[-1]
    if n <= side:
        return x
    if n % side == 0:
        return F.avg_pool2d(x, n // side)
    share = _area_shares(n, side, x)
    return share @ x @ share.T


def _area_shares(n: int, side: int, like: Tensor) -> Tensor:
    """(side, n) weights: what share of cell i is covered by row j; each row sums to 1."""
    edges = torch.arange(side + 1, device=like.device, dtype=torch.float32) * (n / side)
    rows = torch.arange(n, device=like.device, dtype=torch.float32)
    covered = torch.minimum(edges[1:, None], rows + 1) - torch.maximum(edges[:-1, None], rows)
    return (covered.clamp(min=0) * (side / n)).to(like.dtype)
