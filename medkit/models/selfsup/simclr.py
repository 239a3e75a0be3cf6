"""SimCLR with its loss in float32.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
Command: ``python tools/train.py configs/simclr_busi.py --amp``.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor

from medkit.models.selfsup.info_nce import gather
from medkit.registry import MODELS


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of picking each output's other view among all 2N - 1 others, averaged over the 2N outputs.

    Computed in float32, also under autocast (float64 stays). The outputs of other processes are candidates too, and
    receive their gradient.

    Args:
        z1: (B, C) outputs of the first views; normalised here.
        z2: (B, C) outputs of the second views.
        temperature: divides the cosines, above 0.
    """
    dtype = torch.promote_types(z1.dtype, torch.float32)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = (F.normalize(z.to(dtype), dim=1) for z in (z1, z2))
        all1, all2 = gather(z1), gather(z2)  # (N, C) each, N = B * processes
        logits = torch.cat((z1, z2)) @ torch.cat((all1, all2)).T / temperature  # (2B, 2N)
        own = torch.arange(len(z1), device=z1.device) + len(z1) * get_rank()
        itself = torch.cat((own, own + len(all1)))  # (2B,)
        logits = logits.scatter(1, itself[:, None], -torch.inf)
        return F.cross_entropy(logits, itself.roll(len(z1)))


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
