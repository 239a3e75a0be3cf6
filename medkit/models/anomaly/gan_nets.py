"""Building blocks of the GAN peers: stacks of strided convolutions, weights as published, a loss on logits.

mmpretrain has no image-to-image network and mmagic, which has some, is not a dependency; these are torch's layers.
See docs/anomaly_peers.md for the papers. Command: ``python tools/train.py configs/alad_phantom.py``.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of leaky ReLU, in all of these methods
SMALLEST = 4  # side in pixels at which a stack of halving convolutions ends


def widths_for(img_size: int, width: int, largest: int) -> list[int]:
    """Channels of the layers that halve an image down to 4 x 4: ``width``, doubling, at most ``largest`` times it."""
    stages = (img_size // SMALLEST).bit_length() - 1
    return [width * min(2**stage, largest) for stage in range(stages)]


def halving(channels: Sequence[int], kernel: int, *, norm_first: bool, bias: bool, norm: bool = True) -> nn.Sequential:
    """Convolutions of stride 2 with batch norm and leaky ReLU, from ``channels[0]`` to ``channels[-1]``.

    Args:
        channels: of the input and of each layer.
        kernel: 4 or 5 pixels; either halves the size.
        norm_first: the first layer has a batch norm, too.
        bias: of the convolutions.
        norm: False leaves out all batch norms.
    """
    layers: list[nn.Module] = []
    for number, (into, out) in enumerate(pairwise(channels)):
        layers.append(nn.Conv2d(into, out, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias))
        if norm and (number or norm_first):
            layers.append(nn.BatchNorm2d(out))
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
    return nn.Sequential(*layers)


def doubling(channels: Sequence[int], kernel: int, *, bias: bool) -> nn.Sequential:
    """Transposed convolutions of stride 2 with batch norm and ReLU; the last one has neither."""
    layers: list[nn.Module] = []
    for number, (into, out) in enumerate(pairwise(channels), start=1):
        extra = kernel % 2  # an odd kernel needs it to double the size exactly
        conv = nn.ConvTranspose2d(into, out, kernel, 2, (kernel - 1) // 2, output_padding=extra, bias=bias)
        last = number == len(channels) - 1
        layers += [conv] if last else [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def init_normal(module: nn.Module, std: float, norm_std: float = 0.0) -> None:
    """Weights N(0, std), those of batch norms N(1, norm_std), biases 0; of the module and all below it."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(part.weight, 0.0, std)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, norm_std)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def judged(logits: Tensor, real: float) -> Tensor:
    """Binary cross-entropy, mean over the batch, of logits against all real (1) or all fake (0); in float32."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))
