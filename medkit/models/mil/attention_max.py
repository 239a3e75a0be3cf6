"""Attention and maximum side by side, for a class and for a grade on a scale.

The head of the second place of the Kaggle challenge PANDA (prostate biopsies, 2020), whose attention is that of Ilse
et al. 2018 (see `ABMIL`). Command: ``python -m pytest tests/models/mil/test_image_heads.py``.
"""

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.attention import AttentionScores
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_max, masked_softmax
from medkit.registry import MODELS


@MODELS.register_module()
class AttentionMaxMIL(MILHead):
    """Weighted mean and maximum of the instances, one linear classifier, and a regression of the grade if asked for.

    Args:
        in_channels: D.
        num_classes: C.
        hid_channels: width of the attention network.
        gated: with the sigmoid gate; the published network has none.
        dropout: on what is classified.
        grade_range: ``None``, or lowest and highest value of ``extra['grade']`` (B,), a sigmoid stretched to it; the
            label as a number is its target. Published (-1, 6) for grades 0 to 5, so that the ends are within reach.

    Raises:
        ConfigError: an empty range.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hid_channels: int = 512,
        gated: bool = False,
        dropout: float = 0.0,
        grade_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if grade_range is not None and not grade_range[0] < grade_range[1]:
            raise ConfigError(f"AttentionMaxMIL: grade_range={grade_range}; give the lower value first, as (-1, 6)")
        self.grade_range = grade_range
        self.attention = AttentionScores(in_channels, hid_channels, gated=gated)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * in_channels, num_classes)
        self.grade = None if grade_range is None else nn.Linear(2 * in_channels, 1)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, K), embedding (B, 2 D); ``extra['grade']`` (B,)."""
        attention = masked_softmax(self.attention(feats), mask[:, None])  # (B, 1, K)
        pooled = (attention.to(feats.dtype) @ feats)[:, 0]  # (B, D)
        embedding = torch.cat([pooled, masked_max(feats, mask)], dim=1)
        x, extra = self.dropout(embedding), {}
        if self.grade is not None and self.grade_range is not None:
            low, high = self.grade_range
            extra["grade"] = low + (high - low) * self.grade(x)[:, 0].sigmoid()
        return MILOutput(self.classifier(x), attention[:, 0], embedding, extra)

    def loss(self, output: MILOutput, labels: Tensor) -> dict[str, Tensor]:
        """``loss_bag``; with a ``grade_range`` also ``loss_grade``, mean squared error; labels (B,) are grades then."""
        losses = super().loss(output, labels)
        if "grade" in output.extra:
            if labels.dim() != 1:
                raise ConfigError(f"AttentionMaxMIL: labels {tuple(labels.shape)}; a grade needs one number per bag")
            grade = output.extra["grade"]
            losses["loss_grade"] = nn.functional.mse_loss(grade, labels.to(grade.dtype))
        return losses
