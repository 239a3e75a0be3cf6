"""TransMIL: a small transformer over the tiles, a class token speaking for the bag.

Shao et al., "TransMIL: Transformer based Correlated Multiple Instance Learning for Whole Slide Image Classification",
NeurIPS 2021 (arXiv 2106.00908), section 3. Written from the formulas. Command: ``python -m pytest
tests/models/mil/test_transmil.py``.
"""

import math

import torch
from torch import Tensor, nn

from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.nystrom import NystromAttention
from medkit.models.mil.ppeg import PPEG
from medkit.registry import MODELS


@MODELS.register_module()
class TransMIL(MILHead):
    """Linear and ReLU, the tokens repeated to fill a square, Nystrom layer, PPEG, Nystrom layer, class token.

    The order of the instances matters: it decides which tiles are neighbours in the square and in the segments.
    Square and segments depend on the length of the bag; bags of a batch therefore go through one after the other, and
    each gets what it would get alone. The published set-up pins a package that returns shifted tokens, see
    ``published_padding`` of `NystromAttention`; here the tokens are right unless that flag is set.

    Args:
        in_channels: D.
        num_classes: C.
        embed_channels: width of the tokens; a multiple of 8. Landmarks are half as many.
        num_heads: of both layers.
        dropout: after each attention.
        published_padding: shift the tokens as nystrom-attention 0.0.9 did.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_channels: int = 512,
        num_heads: int = 8,
        dropout: float = 0.1,
        published_padding: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes)

        def attention() -> NystromAttention:
            return NystromAttention(
                embed_channels,
                num_heads,
                max(embed_channels // num_heads, 1),
                max(embed_channels // 2, 1),
                dropout=dropout,
                published_padding=published_padding,
            )

        self.embed = nn.Sequential(nn.Linear(in_channels, embed_channels), nn.ReLU())
        self.token = nn.Parameter(torch.randn(1, 1, embed_channels))
        self.norm1, self.attention1 = nn.LayerNorm(embed_channels), attention()
        self.position = PPEG(embed_channels)
        self.norm2, self.attention2 = nn.LayerNorm(embed_channels), attention()
        self.norm = nn.LayerNorm(embed_channels)
        self.classifier = nn.Linear(embed_channels, num_classes)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, H, K) of the class token in the second layer, the token (B, E).

        The attention is the Nystrom approximation's: rows sum to about 1 together with the token's own share, which
        is not shown, and may have small negative entries. An instance that was repeated has the sum of its copies.
        No gradient flows through it.
        """
        bags = [self.tokens(feats[number, real][None]) for number, real in enumerate(mask)]
        tokens = torch.cat([token for token, _ in bags])  # (B, E)
        shown = tokens.new_zeros((*mask.shape, self.attention2.num_heads), dtype=bags[0][1].dtype)  # (B, K, H)
        for number, (_, attention) in enumerate(bags):
            shown[number, mask[number]] = attention.T
        return MILOutput(self.classifier(tokens), shown.transpose(1, 2), tokens)

    def tokens(self, bag: Tensor) -> tuple[Tensor, Tensor]:
        """Class token (1, E) after the last norm, and its attention (H, n), of one bag (1, n, D)."""
        count = bag.shape[1]
        side = math.isqrt(max(count - 1, 0)) + 1  # smallest square that holds the bag
        h = self.embed(bag)  # (1, n, E)
        if count == 0:  # nothing to lay out: the token alone
            side, h = 0, h.new_zeros((1, 0, h.shape[2]))
        h = torch.cat([h, h[:, : side * side - count]], dim=1)
        x = torch.cat([self.token.to(h.dtype), h], dim=1)  # (1, 1 + S * S, E)
        x = x + self.attention1(self.norm1(x))
        x = self.position(x, side) if count else x
        normed = self.norm2(x)
        x = x + self.attention2(normed)
        row = self.attention2.attention_of_first(normed)[0, :, 1:]  # (H, S * S)
        attention = row[:, :count].clone()
        attention[:, : row.shape[1] - count] += row[:, count:]
        return self.norm(x[:, 0]), attention
