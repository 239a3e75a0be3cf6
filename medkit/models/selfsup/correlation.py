"""Barlow Twins' loss in float32.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021.
Command: ``python tools/train.py configs/barlowtwins_busi.py --amp``.
"""

import torch
from mmpretrain.models.heads import LatentCrossCorrelationHead
from torch import Tensor

from medkit.registry import MODELS


@MODELS.register_module()
class CrossCorrelationHead(LatentCrossCorrelationHead):
    """mmpretrain's head, computed in float32, with a weight.

    Under autocast mmpretrain multiplies the standardised outputs in bfloat16, whose numbers near 1 are 1/128 apart:
    the diagonal, which the loss compares with 1, is known to no better than that. And the loss is a sum over the C
    channels, so that a plain SGD would need a learning rate 1/C of the other methods'; ``loss_weight=1 / C`` makes
    it a mean (the paper's LARS does not see the scale of a loss).

    Args:
        in_channels: C, of the projector's outputs.
        loss: config of the loss over the (C, C) correlation, ``dict(type='mmpretrain.CrossCorrelationLoss')``.
        loss_weight: factor of the loss; 1 as published.
    """

    def __init__(self, in_channels: int, loss: dict, loss_weight: float = 1.0) -> None:
        super().__init__(in_channels, loss)
        self.loss_weight = loss_weight

    def loss(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of the (B, C) outputs of two views."""
        with torch.autocast(input.device.type, enabled=False):
            return self.loss_weight * super().loss(input.float(), target.float())
