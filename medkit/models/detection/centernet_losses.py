"""Penalty-reduced focal loss of CenterNet from logits (Zhou et al., Objects as Points, arXiv 1904.07850).

Half precision turns a confident probability into exactly 0 or 1 and the loss into log(0). The log-sigmoid of
the logit has no such point: the value stays finite for every finite logit. Used by ``medkit.CenterNetHead``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_focal_loss_with_logits(
    logits: Tensor,
    target: Tensor,
    alpha: float = 2.0,
    gamma: float = 4.0,
    pos_weight: float = 1.0,
    neg_weight: float = 1.0,
) -> Tensor:
    """Focal loss per element, in float32, against a heat map whose object centres are exactly 1.

    Args:
        logits: Raw scores of any shape and floating type.
        target: Heat map in [0, 1] of the same shape; a pixel equal to 1 is a positive.
        alpha: Power of the error of the prediction.
        gamma: Power of ``1 - target``; spares the pixels near a centre.
        pos_weight: Weight of the positives.
        neg_weight: Weight of all other pixels.

    Returns:
        Loss of each element, not reduced, same shape as ``logits``.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, target = logits.float(), target.float()
        # sigmoid(-z) is 1 - p without the cancellation that 1 - sigmoid(z) suffers for large z
        prob, rest = logits.sigmoid(), (-logits).sigmoid()
        pos_loss = -F.logsigmoid(logits) * rest.pow(alpha) * target.eq(1)
        neg_loss = -F.logsigmoid(-logits) * prob.pow(alpha) * (1 - target).pow(gamma)
        return pos_weight * pos_loss + neg_weight * neg_loss
