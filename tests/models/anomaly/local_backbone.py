"""A small backbone and healthy images for the tests of PaDiM and PatchCore."""

import torch
from torch import Tensor

BACKBONE = dict(
    type="mmpretrain.ResNet",
    depth=18,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(0, 1, 2),
    base_channels=8,
    stem_channels=8,
)


def healthy(num: int, size: int = 64, seed: int = 0) -> Tensor:
    """Images (num, 3, size, size) in [-1, 1]: a fixed pattern and a little noise."""
    drawn = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-0.5, 0.5, size).sin().outer(torch.linspace(0, 3, size).cos())
    return (pattern + 0.05 * torch.randn(num, 3, size, size, generator=drawn)).clamp(-1, 1)


def with_blob(images: Tensor) -> Tensor:
    """The same with a bright square, rows 20 to 31, columns 32 to 43."""
    images = images.clone()
    images[..., 20:32, 32:44] = 1
    return images
