"""Distance-softmax metric learning: a code should be nearer to its own class's anchor than to those of the others.

Hoffer and Ailon, "Semi-supervised deep learning by metric embedding", arXiv 1611.01449, section 2; used for brain
volumes by Onga et al., arXiv 1912.01824. The codes may come from any network, 2-D or 3-D.
Command: ``python tools/train.py configs/cae3d_metric_brain_phantom.py``.
"""

import math

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import MODELS


@MODELS.register_module()
class DistanceSoftmaxLoss(nn.Module):
    """``-log P_y`` with ``P_i = softmax_i(-|f - z_i|^power / temperature)``, averaged over the labelled codes.

    Codes are (B, K), anchors (C, K): one per class, (C, A, K): several per class, P averaged over them, or
    (B, C, A, K): each code has its own. Everything is computed at least in float32, because squared distances of 150
    dimensions overflow half precision. Gradients reach codes and anchors.

    Args:
        power: 2 as in the papers' formula; 1 as in the released code of Hoffer and Ailon, whose distance has no square.
        temperature: divides the distances; 1 as published, the number of dimensions makes it a mean square.

    Raises:
        ConfigError: ``power`` is neither 1 nor 2, or ``temperature`` is not positive.
        ValueError: shapes do not fit, or a label has no anchor.
    """

    def __init__(self, power: int = 2, temperature: float = 1.0) -> None:
        super().__init__()
        if power not in (1, 2) or not 0 < temperature < math.inf:
            raise ConfigError(
                f"DistanceSoftmaxLoss: power={power}, temperature={temperature}; expected power 1 or 2 and a "
                "temperature above 0"
            )
        self.power, self.temperature = power, temperature

    def forward(self, codes: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
        """Scalar loss. ``labels`` (B,) are classes from 0; codes labelled -1 take no part."""
        log_prob = self.log_prob(codes, anchors)  # (B, C)
        if labels.shape != log_prob.shape[:1] or bool((labels >= log_prob.shape[1]).any()):
            raise ValueError(
                f"labels {labels.tolist()} for {tuple(log_prob.shape)} codes x classes; expected one below "
                f"{log_prob.shape[1]} for each code, -1 where unknown"
            )
        known = labels >= 0
        if not known.any():
            return log_prob.sum() * 0.0  # a zero that backward() accepts
        return nn.functional.nll_loss(log_prob[known], labels[known])

    def entropy(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """Mean entropy of P over the codes: small where each code has decided for a class (section 2.2)."""
        log_prob = self.log_prob(codes, anchors)  # (B, C)
        return -(log_prob.exp() * log_prob).sum(dim=1).mean() if len(codes) else log_prob.sum() * 0.0

    def log_prob(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """Logarithm of P (B, C)."""
        distance = self.distances(codes, anchors)  # (B, C, A)
        each = (-distance / self.temperature).log_softmax(dim=1)  # (B, C, A)
        return each.logsumexp(dim=2) - math.log(each.shape[2])

    def distances(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """``|f - z|^power`` (B, C, A); the gradient of ``power=1`` is 0 where the two are equal."""
        anchors = anchors[:, None] if anchors.dim() == 2 else anchors  # (C, A, K) or (B, C, A, K)
        anchors = anchors[None] if anchors.dim() == 3 else anchors  # (1 or B, C, A, K)
        if codes.dim() != 2 or anchors.dim() != 4 or anchors.shape[3] != codes.shape[1]:
            raise ValueError(
                f"codes {tuple(codes.shape)} and anchors {tuple(anchors.shape)}; expected (B, K) and (C, K), "
                "(C, A, K) or (B, C, A, K)"
            )
        difference = _wide(codes)[:, None, None] - _wide(anchors)  # (B, C, A, K); no |f|^2 - 2fz + |z|^2: it cancels
        if self.power == 2:
            return difference.square().sum(dim=3)
        return torch.linalg.vector_norm(difference, dim=3)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
