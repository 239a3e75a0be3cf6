"""HealthyGAN's two networks, with the parameter names of the released code so that its weights can be loaded.

Source: Rahman Siddiquee et al., "HealthyGAN: Learning from Unannotated Medical Images to Detect Anomalies Associated
with Human Disease" (SASHIMI 2022, arXiv 2209.01822), and the released code (commit 3710a0c, MIT licence). The layers
come from StarGAN. mmpretrain has no image-to-image network, so these are own ones, of torch's layers.
Command: ``python tools/train.py configs/healthygan_covid.py``.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


def _norm(channels: int) -> nn.InstanceNorm2d:
    """Instance statistics in training and in use: the release keeps running ones, but never uses them."""
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=False)


def _block(conv: nn.Module, channels: int) -> list[nn.Module]:
    return [conv, _norm(channels), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), all of one width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.main = nn.Sequential(*_block(first, channels), second, _norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.main(x)


class HealthyGenerator(nn.Module):
    """Translates an image to a healthy one and says by a mask where it wants to change the input.

    Args:
        width: channels of the first layer; 64 as published (8.4 million parameters).
        num_blocks: residual blocks at a quarter of the size; 6 as published.
    """

    def __init__(self, width: int = 64, num_blocks: int = 6) -> None:
        super().__init__()
        layers = _block(nn.Conv2d(3, width, 7, padding=3, bias=False), width)
        for into, out in pairwise((width, width * 2, width * 4)):
            layers += _block(nn.Conv2d(into, out, 4, stride=2, padding=1, bias=False), out)
        layers += [ResidualBlock(width * 4) for _ in range(num_blocks)]
        for into, out in pairwise((width * 4, width * 2, width)):
            layers += _block(nn.ConvTranspose2d(into, out, 4, stride=2, padding=1, bias=False), out)
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 4, 7, padding=3, bias=False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the image (B, 3, H, W) and of the mask (B, 1, H, W) for (B, 3, H, W); H and W divisible by 4."""
        logits = self.main(x)  # (B, 4, H, W)
        return logits[:, :3], logits[:, 3:]


class HealthyDiscriminator(nn.Module):
    """Scores patches of an image as real healthy ones; no normalisation, as gradient penalties want it.

    Args:
        width: channels of the first layer; each further layer has twice as many. 64 as published.
        num_layers: layers that halve the size; 6 as published (44.7 million parameters).
    """

    def __init__(self, width: int = 64, num_layers: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out in pairwise([3, *(width * 2**n for n in range(num_layers))]):
            layers += [nn.Conv2d(into, out, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(width * 2 ** (num_layers - 1), 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to patch scores (B, 1, H / 2^num_layers, W / 2^num_layers)."""
        return self.conv1(self.main(x))


def translate(generator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the generator makes of (B, 3, H, W) images in [-1, 1], in float32.

    Returns:
        The healthy image (B, 3, H, W) = raw * mask + images * (1 - mask), the raw image (B, 3, H, W) in [-1, 1], and
        the mask (B, 1, H, W) in [0, 1].
    """
    image_logits, mask_logits = generator(images)
    raw = torch.tanh(image_logits.float())
    mask = (torch.tanh(mask_logits.float()) + 1) / 2
    return raw * mask + images * (1 - mask), raw, mask
