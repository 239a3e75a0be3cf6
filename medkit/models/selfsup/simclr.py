"""SimCLR with its loss in float32.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
Command: ``python tools/train.py configs/simclr_busi.py --amp``.
"""

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor

from medkit.models.common.contrastive import nt_xent
from medkit.registry import MODELS


@MODELS.register_module()
class SimCLR(BaseSelfSupervisor):
    """SimCLR; checkpoint names are those of mmpretrain's.

    mmpretrain's takes cosines in bfloat16 under autocast, where an error of 1/256 becomes 0.04 after division by a
    temperature of 0.1, and it leaves out the gradient that the outputs of one process receive from the others.

    Args:
        temperature: divides the cosines.
        loss_weight: factor of the loss, 1 as published. LARS does not see it, plain SGD does: the temperature gives
            the outputs a gradient of the size that SimSiam's loss gives them.
        kwargs: ``backbone``, ``neck``, ``data_preprocessor`` as for mmpretrain's `BaseSelfSupervisor`.
    """

    def __init__(self, temperature: float = 0.1, loss_weight: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.temperature, self.loss_weight = temperature, loss_weight

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Loss of two views, (B, 3, H, W) each, which pass the network together: batch norm sees both."""
        z1, z2 = self.neck(self.backbone(torch.cat(inputs)))[0].chunk(2)  # (B, C) each
        return dict(loss=self.loss_weight * nt_xent(z1, z2, self.temperature))
