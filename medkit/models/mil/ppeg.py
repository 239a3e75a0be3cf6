"""PPEG, the position encoding of TransMIL: three depthwise convolutions over the tokens laid out as a square.

Shao et al., "TransMIL: Transformer based Correlated Multiple Instance Learning for Whole Slide Image Classification",
NeurIPS 2021 (arXiv 2106.00908), algorithm 3. Command: ``python -m pytest tests/models/mil/test_transmil.py``.
"""

import torch
from torch import Tensor, nn


class PPEG(nn.Module):
    """Tokens plus their 7 x 7, 5 x 5 and 3 x 3 depthwise convolutions with zero padding; the class token stays.

    Args:
        channels: C.
        kernel_sizes: odd sides of the kernels.
    """

    def __init__(self, channels: int, kernel_sizes: tuple[int, ...] = (7, 5, 3)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels) for size in kernel_sizes
        )

    def forward(self, x: Tensor, side: int) -> Tensor:
        """(B, 1 + side * side, C), the class token first, to the same shape."""
        token, rest = x[:, :1], x[:, 1:]
        square = rest.transpose(1, 2).unflatten(2, (side, side))  # (B, C, side, side)
        total = square
        for conv in self.convs:
            total = total + conv(square)
        return torch.cat([token, total.flatten(2).transpose(1, 2)], dim=1)
