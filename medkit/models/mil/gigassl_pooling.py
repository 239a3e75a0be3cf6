"""What giga-SSL's sparse convolutions are compared with: aggregators that do not see where tiles lie.

T. Lazard et al., "Giga-SSL", CVPRW 2023 (arXiv 2212.03273): the released code's ``mlp`` aggregator, and attention
(Ilse et al., ICML 2018). Command: ``python tools/train.py configs/gigassl_slides.py --cfg-options aggregator=mlp``.
"""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from medkit.models.mil.attention import AttentionScores
from medkit.models.mil.masking import masked_mean, masked_softmax
from medkit.registry import MODELS


class ResidualMLP(nn.Module):
    """Linear, ReLU, batch norm; the input is added where the width stays."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(in_channels, out_channels), nn.ReLU(), nn.BatchNorm1d(out_channels))
        self.same = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, out_channels) of (N, in_channels)."""
        return self.layer(x) + x if self.same else self.layer(x)


class _TileMLP(BaseModule):
    """D to E for each tile by two blocks; batch norm sees the real tiles only."""

    def __init__(self, in_channels: int = 256, out_channels: int = 512, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.mlp = nn.Sequential(ResidualMLP(in_channels, out_channels), ResidualMLP(out_channels, out_channels))

    def describe(self, feats: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, K, E), zero in the padding, and the mask (B, K)."""
        if mask is None:
            mask = torch.ones(feats.shape[:2], dtype=torch.bool, device=feats.device)
        each = self.mlp(feats[mask].to(next(self.parameters()).dtype))  # (N, E)
        out = each.new_zeros(*mask.shape, self.out_channels)
        return out.masked_scatter(mask[..., None], each), mask


@MODELS.register_module()
class MLPMeanAggregator(_TileMLP):
    """The mean of what two residual layers make of each tile.

    Args:
        in_channels: D.
        out_channels: E.
        init_cfg: of mmengine's `BaseModule`.
    """

    def forward(self, feats: Tensor, coords: Tensor | None, mask: Tensor | None = None) -> tuple[Tensor, dict]:
        """Embedding (B, E) of tiles (B, K, D); ``coords`` do not matter."""
        return masked_mean(*self.describe(feats, mask)), {}


@MODELS.register_module()
class AttentionAggregator(_TileMLP):
    """The same, but the mean is weighted by gated attention.

    Args:
        in_channels: D.
        out_channels: E.
        init_cfg: of mmengine's `BaseModule`.
    """

    def __init__(self, in_channels: int = 256, out_channels: int = 512, init_cfg: dict | None = None) -> None:
        super().__init__(in_channels, out_channels, init_cfg)
        self.attention = AttentionScores(out_channels)

    def forward(self, feats: Tensor, coords: Tensor | None, mask: Tensor | None = None) -> tuple[Tensor, dict]:
        """Embedding (B, E) of tiles (B, K, D); ``coords`` do not matter."""
        each, mask = self.describe(feats, mask)
        weights = masked_softmax(self.attention(each), mask[:, None])  # (B, 1, K)
        return (weights.to(each.dtype) @ each)[:, 0], {}
