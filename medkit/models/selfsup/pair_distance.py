"""Contrastive loss of pairs: similar ones are pulled together, dissimilar ones pushed apart up to a margin.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139 (``power=1``);
Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006 (``power=2``).
Command: ``python tools/train.py configs/spatial_siamese_slides.py``.
"""

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import MODELS


def pair_distance(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance (B,) of (B, C) descriptors, at least in float32, its gradient 0 where the two are equal."""
    difference = first - second if first.dtype == torch.float64 else first.float() - second.float()
    squared = difference.square().sum(dim=1)  # (B,)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


@MODELS.register_module()
class PairDistanceLoss(nn.Module):
    """``d ** power`` of similar pairs, ``max(0, margin - d) ** power`` of the others, averaged over all pairs.

    The literature writes the label as y = 1 for dissimilar pairs (Hadsell) and as y = 1 for similar ones; here the
    argument says which. With ``power=1`` the pull on a similar pair does not weaken as it closes, so watch for
    collapse (`medkit.CollapseMonitorHook`, and ``violated`` in the log, which is 1 for a collapsed network).

    Args:
        margin: distance beyond which a dissimilar pair counts nothing. The sources of the paper do not state it.
        power: 1 as in the paper; 2 as Hadsell and colleagues, without their factor 1/2.

    Raises:
        ConfigError: ``margin`` is not positive or ``power`` is neither 1 nor 2.
    """

    def __init__(self, margin: float = 1.0, power: int = 1) -> None:
        super().__init__()
        if not margin > 0 or power not in (1, 2):
            raise ConfigError(
                f"PairDistanceLoss: margin={margin}, power={power}; expected margin > 0, power 1 or 2; correct `head`"
            )
        self.margin, self.power = margin, power

    def forward(self, first: Tensor, second: Tensor, similar: Tensor) -> Tensor:
        """Scalar loss of (B, C) descriptors; ``similar`` (B,) bool says which pairs belong together."""
        return self.per_pair(pair_distance(first, second), similar).mean()

    def per_pair(self, distance: Tensor, similar: Tensor) -> Tensor:
        """Loss (B,) of pairs at ``distance`` (B,)."""
        if similar.dtype != torch.bool:
            raise TypeError(f"`similar` is {similar.dtype}; expected bool, True for pairs that belong together")
        gap = torch.where(similar, distance, (self.margin - distance).clamp_min(0))  # (B,)
        return gap**self.power
