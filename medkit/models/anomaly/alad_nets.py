"""ALAD's encoder, generator and three critics, for 32 pixels as released and for larger images.

Source: Zenati et al. (ICDM 2018) and the released code (commit 1f1c310), setting of CIFAR and SVHN.
Command: ``python tools/train.py configs/alad_phantom.py``.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from medkit.models.anomaly.gan_nets import SLOPE, doubling, halving, init_normal, widths_for

LARGEST = 4  # times the first layer's channels
STD = 0.01  # of the first weights
DROP = 0.2


def prepared(module: nn.Module, spectral: bool) -> nn.Module:
    """The module with its first weights and, if wanted, spectral norm on all convolutions and linear layers."""
    init_normal(module, STD)
    if spectral:
        for part in list(module.modules()):
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                spectral_norm(part)
    return module


def make_encoder(img_size: int, width: int, latent: int, spectral: bool) -> nn.Module:
    """(B, 3, S, S) to codes (B, latent)."""
    channels = widths_for(img_size, width, LARGEST)
    layers = halving([3, *channels], 4, norm_first=True, bias=True)
    return prepared(nn.Sequential(layers, nn.Conv2d(channels[-1], latent, 4), nn.Flatten()), spectral)


def make_generator(img_size: int, width: int, latent: int) -> nn.Module:
    """Codes (B, latent) to images (B, 3, S, S) in [-1, 1]."""
    channels = widths_for(img_size, width, LARGEST)[::-1]
    first = [nn.ConvTranspose2d(latent, channels[0], 4), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)]
    layers = doubling([*channels, 3], 4, bias=True)
    return prepared(nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), *first, layers, nn.Tanh()), False)


def _hidden(into: int, out: int) -> list[nn.Module]:
    return [nn.Linear(into, out), nn.LeakyReLU(SLOPE), nn.Dropout(DROP)]


class JointCritic(nn.Module):
    """Tells (x, E(x)) from (G(z), z)."""

    def __init__(self, img_size: int, width: int, latent: int, spectral: bool) -> None:
        super().__init__()
        channels = widths_for(img_size, width, LARGEST)
        hidden = LARGEST * width
        self.of_image = nn.Sequential(halving([3, *channels], 4, norm_first=False, bias=True), nn.Flatten())
        self.of_code = nn.Sequential(*_hidden(latent, hidden), *_hidden(hidden, hidden))
        self.joint = nn.Sequential(*_hidden(channels[-1] * 16 + hidden, 2 * hidden), nn.Linear(2 * hidden, 1))
        prepared(self, spectral)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, 3, S, S) and (B, latent) to logits (B,), high = (x, E(x))."""
        return self.joint(torch.cat((self.of_image(x), self.of_code(z)), dim=1)).flatten()


class ImagePairCritic(nn.Module):
    """Tells (x, x) from (x, G(E(x))); its features give the score."""

    def __init__(self, img_size: int, width: int, pairs: str, spectral: bool) -> None:
        super().__init__()
        self.axis = 1 if pairs == "channels" else 2
        into, places = (6, 1) if pairs == "channels" else (3, 2)
        layers: list[nn.Module] = []
        for channels_in, channels in ((into, width), (width, 2 * width)):
            layers += [nn.Conv2d(channels_in, channels, 5, 2, 2), nn.LeakyReLU(SLOPE), nn.Dropout(DROP)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(2 * width * places * (img_size // 4) ** 2, 1)
        prepared(self, spectral)

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, 3, S, S) to logits (B,), high = the same image, and features (B, F)."""
        features = self.features(torch.cat((x, other), dim=self.axis))
        return self.classifier(features).flatten(), features


class LatentPairCritic(nn.Module):
    """Tells (z, z) from (z, E(G(z)))."""

    def __init__(self, latent: int, spectral: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_hidden(2 * latent, 64), *_hidden(64, 32), nn.Linear(32, 1))
        prepared(self, spectral)

    def forward(self, z: Tensor, other: Tensor) -> Tensor:
        """Two (B, latent) to logits (B,), high = the same code."""
        return self.layers(torch.cat((z, other), dim=1)).flatten()
