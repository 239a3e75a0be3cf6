"""NT-Xent, the contrastive loss of SimCLR and giga-SSL, with the outputs of all processes as candidates.

Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
Command: ``python tools/train.py configs/simclr_busi.py --amp``.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor


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


def gather(x: Tensor) -> Tensor:
    """(B * processes, C): the rows of all processes, by rank."""
    if get_world_size() == 1:
        return x
    if x.requires_grad:
        from torch.distributed.nn.functional import all_gather as all_gather_with_gradient

        return torch.cat(all_gather_with_gradient(x))
    return torch.cat(all_gather(x))
