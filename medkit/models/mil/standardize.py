"""Features shifted and scaled by what training has seen of them: mean 0 and deviation 1 in every channel.

Features of a frozen encoder share a large mean, and differ from it little; a head that starts from random weights then
sees nearly the same of every instance, and some never get past it (docs/mil.md). Running statistics by Chan et al.,
"Updating formulae and a pairwise algorithm for computing sample variances" (1979).
Command: ``python -m pytest tests/models/mil/test_standardize.py``.
"""

import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from medkit.errors import ConfigError


class Standardize(nn.Module):
    """``(x - mean) / deviation`` of all instances met in training mode, each bag as often as it came.

    Unlike batch normalisation it treats a bag the same in training and evaluation, whatever else is in the batch. The
    statistics are part of the checkpoint. Before anything was met, features pass as they are.

    Args:
        channels: D.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        if channels < 1:
            raise ConfigError(f"Standardize: channels={channels}; give 1 or more")
        self.eps = eps
        self.count: Tensor
        self.mean: Tensor
        self.squares: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(channels, dtype=torch.float64))  # of the deviations, summed

    def forward(self, feats: Tensor, mask: Tensor) -> Tensor:
        """Features (B, K, D), standardized where ``mask`` (B, K) is True, 0 elsewhere; float32 or wider."""
        feats = feats if feats.dtype == torch.float64 else feats.float()
        if self.training:
            self.meet(feats.detach()[mask])
        if self.count > 1:
            scale = (self.squares / self.count + self.eps).rsqrt()
            feats = (feats - self.mean.to(feats.dtype)) * scale.to(feats.dtype)
        return feats.masked_fill(~mask[..., None], 0)

    @torch.no_grad()
    def meet(self, instances: Tensor) -> None:
        """Take (N, D), of all processes, into the statistics; none is met where N is 0."""
        instances = instances.double()
        mean = instances.mean(dim=0) if len(instances) else self.mean
        squares = (instances - mean).square().sum(dim=0)
        count = mean.new_tensor([len(instances)])
        for part in all_gather(torch.cat([count, mean, squares])):  # DDP leaves buffers to each process
            self._merge(part[0], *part[1:].chunk(2))

    def _merge(self, number: Tensor, mean: Tensor, squares: Tensor) -> None:
        gap, total = mean - self.mean, (self.count + number).clamp(min=1)
        self.squares += squares + gap.square() * self.count * number / total
        self.mean += gap * number / total
        self.count += number
