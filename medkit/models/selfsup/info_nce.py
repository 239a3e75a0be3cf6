"""InfoNCE, the contrastive loss of MoCo v3, SSiT and others, with keys from all processes.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748; the
factor 2T as in Chen, Xie and He, "An Empirical Study of Training Self-Supervised Vision Transformers" (MoCo v3),
ICCV 2021, algorithm 1. Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.common.contrastive import gather
from medkit.registry import MODELS


def info_nce(q: Tensor, k: Tensor, temperature: float = 0.2, scale: float | None = None) -> Tensor:
    """Mean cross-entropy of picking each query's own key among the keys of all processes, times ``scale``.

    In float32, also under autocast. Each process must bring the same number of samples.

    Args:
        q: (B, C) queries; normalised here.
        k: (B, C) keys, row i belonging to query i. Where keys need a gradient, it flows through the gathering.
        temperature: T.
        scale: ``None``: 2T.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k = F.normalize(q.float(), dim=1), F.normalize(k.float(), dim=1)
        logits = q @ gather(k).T / temperature  # (B, B * processes)
        labels = torch.arange(len(q), device=q.device) + len(q) * get_rank()
        return F.cross_entropy(logits, labels) * (2 * temperature if scale is None else scale)


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """`info_nce` as a module.

    Args:
        temperature: T, above 0.
        scale: factor; ``None``: 2T.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, temperature: float = 0.2, scale: float | None = None) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"InfoNCELoss: temperature={temperature}; give a number above 0, such as 0.2")
        self.temperature, self.scale = temperature, scale

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Loss of queries and keys, (B, C) each."""
        return info_nce(q, k, self.temperature, self.scale)
