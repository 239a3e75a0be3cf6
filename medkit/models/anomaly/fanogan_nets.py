"""f-AnoGAN's networks: residual blocks that double or halve an image, and what is built of them.

Source: Schlegl et al. (Medical Image Analysis 54, 2019) and the released code (commit 35b1de9); the blocks are those of
Gulrajani et al., "Improved Training of Wasserstein GANs" (NIPS 2017), for 64 pixels. Other sizes have more or fewer.
Command: ``python tools/train.py configs/fanogan_phantom.py``.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medkit.models.anomaly.gan_nets import SMALLEST, widths_for

LARGEST = 8  # times the first layer's channels


def _norm(kind: str, channels: int) -> nn.Module:
    """Layer norm is over channels and pixels of an image, with a scale for each channel: one group."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


def _conv(into: int, out: int, kernel: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(into, out, kernel, padding=kernel // 2)
    nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu" if kernel == 3 else "linear")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


class UpBlock(nn.Module):
    """conv(relu(norm(conv(double(relu(norm(x))))))) + conv1x1(double(x))."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm("batch", into), _norm("batch", out)
        self.conv1, self.conv2, self.shortcut = _conv(into, out), _conv(out, out), _conv(into, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', 2 H, 2 W)."""
        residual = self.conv1(_double(F.relu(self.norm1(x))))
        return self.conv2(F.relu(self.norm2(residual))) + _double(self.shortcut(x))  # 1 x 1 and doubling commute


class DownBlock(nn.Module):
    """halve(conv(relu(norm(conv(relu(norm(x))))))) + conv1x1(halve(x)), halving by mean."""

    def __init__(self, into: int, out: int, norm: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(norm, into), _norm(norm, into)
        self.conv1, self.conv2, self.shortcut = _conv(into, into), _conv(into, out), _conv(into, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / 2, W / 2)."""
        residual = self.conv1(F.relu(self.norm1(x)))
        return _halve(self.conv2(F.relu(self.norm2(residual)))) + self.shortcut(_halve(x))


class ResidualGenerator(nn.Module):
    """Codes to images: a linear layer, blocks that double, a last convolution."""

    def __init__(self, img_size: int, width: int, latent: int) -> None:
        super().__init__()
        channels = widths_for(2 * img_size, width, LARGEST)[::-1]
        self.first = nn.Linear(latent, channels[0] * SMALLEST**2)
        self.blocks = nn.Sequential(*(UpBlock(into, out) for into, out in pairwise(channels)))
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), _conv(width, 3))

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) to (B, 3, S, S) in [-1, 1], float32."""
        x = self.first(z).unflatten(1, (-1, SMALLEST, SMALLEST))  # (B, C, 4, 4)
        return torch.tanh(self.last(self.blocks(x)).float())


class ImageToVector(nn.Module):
    """Images to vectors, by blocks that halve: the critic (one value, layer norm) and the encoder (batch norm)."""

    def __init__(self, img_size: int, width: int, out_features: int, norm: str) -> None:
        super().__init__()
        channels = widths_for(2 * img_size, width, LARGEST)
        self.first = _conv(3, width)
        self.blocks = nn.Sequential(*(DownBlock(into, out, norm) for into, out in pairwise(channels)))
        self.last = nn.Linear(channels[-1] * SMALLEST**2, out_features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to (B, out_features) and the features before the last layer (B, F)."""
        features = self.blocks(self.first(x)).flatten(1)
        return self.last(features), features
