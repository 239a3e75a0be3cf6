"""Pooling of padded bags: what stands in the padding never counts, and an empty bag gives zeros.

Formulas: mean, maximum and log-sum-exp as in Ramon and De Raedt, "Multi instance neural networks" (2000).
Command: ``python -m pytest tests/models/mil/test_pooling.py``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def pad_bags(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Features (B, K, D), padded with zeros to the longest bag, and mask (B, K), of bags (K_i, D)."""
    mask = [torch.ones(len(bag), dtype=torch.bool, device=bag.device) for bag in bags]
    return pad_sequence(list(bags), batch_first=True), pad_sequence(mask, batch_first=True)


def unpack_bags(packed: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The same of bags that lie one after the other in (sum of K_i, D); ``lengths`` are the K_i."""
    return pad_bags(packed.split(list(lengths)))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis in float32 at least, 0 where ``mask`` is False, also where a whole row is."""
    scores = wide(scores).masked_fill(~mask, torch.finfo(wide(scores).dtype).min)
    return scores.softmax(dim=-1) * mask


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, C) over the real instances of (B, K, C)."""
    total = wide(x).masked_fill(~mask[..., None], 0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum (B, C) over the real instances of (B, K, C)."""
    highest = x.masked_fill(~mask[..., None], torch.finfo(x.dtype).min).amax(dim=1)
    return highest.masked_fill(~mask.any(dim=1, keepdim=True), 0)


def masked_logsumexp(x: Tensor, mask: Tensor, sharpness: float = 1.0, *, mean: bool = True) -> Tensor:
    """``log(mean(exp(M x))) / M`` (B, C) over the real instances of (B, K, C), M = ``sharpness``.

    Without ``mean`` the sum stands in place of the mean; the result then grows with the number of instances.
    """
    scaled = (sharpness * wide(x)).masked_fill(~mask[..., None], torch.finfo(wide(x).dtype).min)
    result = scaled.logsumexp(dim=1)  # (B, C)
    if mean:
        result = result - mask.sum(dim=1, keepdim=True).clamp(min=1).to(result.dtype).log()
    return (result / sharpness).masked_fill(~mask.any(dim=1, keepdim=True), 0)


def wide(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where it is float64."""
    return x if x.dtype == torch.float64 else x.float()
