"""Concat-tile pooling: the feature maps of a study's images side by side, pooled as if they were one image.

The head of most solutions of the Kaggle challenge PANDA (prostate biopsies, 2020; Bulten et al., Nature Medicine
2022): tiles through one backbone, maps (B, N, C, h, w) joined to (B, C, N h, w), global pooling, two linear layers.
Command: ``python -m pytest tests/models/mil/test_image_heads.py``.
"""

import torch
from torch import Tensor, nn

from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_max, masked_mean
from medkit.registry import MODELS


@MODELS.register_module()
class ConcatTileMIL(MILHead):
    """Global average, and maximum, over all pixels of all tiles; Linear, ReLU, Dropout, Linear. No attention.

    Takes maps (B, K, D, h, w), or (B, K, D) pooled before. Published solutions give every slide the same number of
    tiles, the missing ones white; here missing tiles are masked.

    Args:
        in_channels: D.
        num_classes: C.
        hid_channels: width between the linear layers.
        with_max: the maximum beside the average.
        dropout: before the last layer.
    """

    takes_maps = True

    def __init__(
        self, in_channels: int, num_classes: int, hid_channels: int = 512, with_max: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__(in_channels, num_classes)
        self.with_max = with_max
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * (2 if with_max else 1), hid_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hid_channels, num_classes),
        )

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, no attention, pooled features (B, D), or (B, 2 D) with the maximum."""
        pixels = feats.reshape(*feats.shape[:3], -1)  # (B, K, D, h w); tiles are equally large
        embedding = masked_mean(pixels.mean(dim=3), mask)
        if self.with_max:
            embedding = torch.cat([embedding, masked_max(pixels.amax(dim=3), mask)], dim=1)
        return MILOutput(self.classifier(embedding), None, embedding)
