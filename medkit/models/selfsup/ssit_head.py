"""SSiT's predictor and saliency segmentor, and their two losses (arXiv 2210.10969).

Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from medkit.registry import MODELS


def saliency_loss(logits: Tensor, saliency: Tensor, threshold: float = 0.5) -> Tensor:
    """Mean binary cross-entropy, in float32, of logits (B, 1, H, W) against maps (B, 1, H, W) above ``threshold``."""
    return F.binary_cross_entropy_with_logits(logits.float(), (saliency > threshold).float())


class SaliencySegmentor(nn.Sequential):
    """A 1x1 convolution to patch_size² channels and a pixel shuffle: patch tokens to pixels."""

    def __init__(self, in_channels: int, patch_size: int) -> None:
        super().__init__(nn.Conv2d(in_channels, patch_size**2, kernel_size=1), nn.PixelShuffle(patch_size))

    def forward(self, tokens: Tensor, resolution: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Logits (B, 1, h*patch, w*patch) of patch tokens (B, h*w, D), class token left out."""
        return super().forward(tokens.transpose(1, 2).unflatten(2, resolution))


@MODELS.register_module()
class SSiTHead(BaseModule):
    """What SSiT puts on its query encoder, both parts trained and thrown away afterwards.

    Args:
        predictor: neck from the projector's output to its size.
        in_channels: D of the tokens.
        patch_size: pixels per patch.
        loss: contrastive loss of queries and keys.
        saliency_threshold: a pixel is salient above it.
    """

    def __init__(
        self,
        predictor: dict,
        in_channels: int = 384,
        patch_size: int = 16,
        loss: dict | None = None,
        saliency_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.predictor = MODELS.build(predictor)
        self.segmentor = SaliencySegmentor(in_channels, patch_size)
        self.loss_module = MODELS.build(loss or {"type": "medkit.InfoNCELoss"})
        self.saliency_threshold = saliency_threshold

    def predict(self, z: Tensor) -> Tensor:
        """Queries (B, C) of projections (B, C)."""
        return self.predictor((z,))[0]

    def loss(self, queries: list[Tensor], keys: list[Tensor]) -> Tensor:
        """Each view's query against the other view's key."""
        return self.loss_module(queries[0], keys[1]) + self.loss_module(queries[1], keys[0])

    def saliency_loss(self, tokens: list[Tensor], saliency: list[Tensor], resolution: tuple[int, int]) -> Tensor:
        """Sum over the views of `saliency_loss`; ``tokens`` are (B, 1 + N, D)."""
        losses = [
            saliency_loss(self.segmentor(x[:, 1:], resolution), m, self.saliency_threshold)
            for x, m in zip(tokens, saliency, strict=True)
        ]
        return torch.stack(losses).sum()
