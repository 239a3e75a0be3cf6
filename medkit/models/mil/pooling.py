"""Mean, maximum, mean and maximum, log-sum-exp: the heads that every other one must beat.

Formulas in Ramon and De Raedt, "Multi instance neural networks" (2000); log-sum-exp with a sum inside as in
Lerousseau et al., "SparseConvMIL" (PMLR 156, 2021), table 2. Command: ``python -m pytest tests/models/mil``.
"""

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_logsumexp, masked_max, masked_mean
from medkit.registry import MODELS

POOLINGS = ("mean", "max", "mean_max", "lse")


@MODELS.register_module()
class PoolingMIL(MILHead):
    """Pool the features and classify the bag, or classify each instance and pool the logits; no attention.

    Args:
        in_channels: D.
        num_classes: C.
        pooling: ``mean``, ``max``, ``mean_max`` (both, side by side; level 'embedding' only) or ``lse``.
        level: ``embedding`` pools features, ``instance`` pools logits; ``extra['instance_logits']`` (B, K, C) then
            says what each instance is.
        sharpness: M of ``lse``: towards 0 the mean, towards infinity the maximum.
        lse_mean: mean inside ``lse``; False takes the sum, whose result grows with the number of instances.
        dropout: on what is classified.

    Raises:
        ConfigError: an unknown pooling or level, or ``mean_max`` of logits.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pooling: str = "mean_max",
        level: str = "embedding",
        sharpness: float = 1.0,
        lse_mean: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if pooling not in POOLINGS or level not in ("embedding", "instance"):
            raise ConfigError(
                f"PoolingMIL: pooling={pooling!r}, level={level!r}; give one of {', '.join(POOLINGS)}, and "
                "'embedding' or 'instance'"
            )
        if pooling == "mean_max" and level == "instance":
            raise ConfigError("PoolingMIL: 'mean_max' has two values per class; take level='embedding' or 'mean'")
        if not sharpness > 0:
            raise ConfigError(f"PoolingMIL: sharpness={sharpness}; give a number above 0, such as 1")
        self.pooling, self.level, self.sharpness, self.lse_mean = pooling, level, sharpness, lse_mean
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_channels * (2 if pooling == "mean_max" else 1), num_classes)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, no attention, pooled features (B, D or 2 D); at level 'instance' the mean of the features."""
        if self.level == "instance":
            each = self.classifier(self.dropout(feats))  # (B, K, C)
            return MILOutput(self.pool(each, mask), None, masked_mean(feats, mask), {"instance_logits": each})
        embedding = self.pool(feats, mask)
        return MILOutput(self.classifier(self.dropout(embedding)), None, embedding)

    def pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C) of (B, K, C); (B, 2 C) for ``mean_max``."""
        if self.pooling == "lse":
            return masked_logsumexp(x, mask, self.sharpness, mean=self.lse_mean)
        parts = {"mean": masked_mean, "max": masked_max}
        return torch.cat([parts[name](x, mask) for name in self.pooling.split("_")], dim=1)
