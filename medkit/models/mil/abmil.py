"""ABMIL: the bag is the mean of its instances, weighted by what a small network finds worth attention.

Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018 (arXiv 1802.04712), section 2.4.
Command: ``python -m pytest tests/models/mil/test_abmil.py``.
"""

from torch import Tensor, nn

from medkit.models.mil.attention import AttentionScores
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_softmax
from medkit.registry import MODELS


@MODELS.register_module()
class ABMIL(MILHead):
    """Linear and ReLU to M channels, attention plain or gated, one linear classifier.

    The released code clamps probabilities in its loss, and fails with more than one branch; here the loss is that of
    the logits, and the branches' means stand side by side before the classifier.

    Args:
        in_channels: D.
        num_classes: C; 1 as published, with one logit for the positive class.
        embed_channels: M.
        hid_channels: L, width of the attention network.
        gated: with the sigmoid gate.
        branches: H, number of attention maps.
        dropout: after the ReLU and in the attention network; published 0.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embed_channels: int = 500,
        hid_channels: int = 128,
        gated: bool = True,
        branches: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes)
        self.embed = nn.Sequential(nn.Linear(in_channels, embed_channels), nn.ReLU(), nn.Dropout(dropout))
        self.attention = AttentionScores(embed_channels, hid_channels, branches, gated, dropout)
        self.classifier = nn.Linear(embed_channels * branches, num_classes)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, K) or (B, H, K) with H > 1, embedding (B, H M)."""
        h = self.embed(feats)  # (B, K, M)
        attention = masked_softmax(self.attention(h), mask[:, None])  # (B, H, K)
        embedding = (attention.to(h.dtype) @ h).flatten(1)  # (B, H M)
        shown = attention.squeeze(1) if attention.shape[1] == 1 else attention
        return MILOutput(self.classifier(embedding), shown, embedding)
