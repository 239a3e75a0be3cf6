"""Smooth top-1 SVM: a margin loss with the gradient of a softmax; CLAM's instance loss.

Berrada, Zisserman and Kumar, "Smooth Loss Functions for Deep Top-k Classification", ICLR 2018, equation 7 with k = 1.
Command: ``python -m pytest tests/models/mil/test_clam.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.mil.masking import wide


def smooth_top1_svm(scores: Tensor, labels: Tensor, tau: float = 1.0, margin: float = 1.0) -> Tensor:
    """``tau log sum_j exp((s_j + margin [j != y] - s_y) / tau)`` (N,) of scores (N, C) and labels (N,), not averaged.

    ``tau=0`` is the limit ``max_j (s_j + margin [j != y] - s_y)``. The released code changes to that limit where
    scores lie far apart, against overflow; logsumexp needs no such change.

    Raises:
        ConfigError: ``tau`` below 0.
    """
    if tau < 0:
        raise ConfigError(f"smooth_top1_svm: tau={tau}; give 0 (hard margin) or more")
    scores = wide(scores)
    wrong = 1 - F.one_hot(labels, scores.shape[1]).to(scores.dtype)  # (N, C)
    gap = scores + margin * wrong - scores.gather(1, labels[:, None])
    return gap.amax(dim=1) if tau == 0 else tau * torch.logsumexp(gap / tau, dim=1)
