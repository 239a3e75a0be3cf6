"""The numeric core of HealthyGAN's training: gradient penalty, mask terms and the generator's losses.

Source: the released code of Rahman Siddiquee et al. (SASHIMI 2022), commit 3710a0c. All means are over the batch,
channels and pixels or patches. Command: ``python tools/train.py configs/healthygan_covid.py``.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Mean of (norm of the gradient of the summed patch scores - 1)^2, between real and fake images; in float32.

    Args:
        discriminator: (B, 3, H, W) to patch scores.
        real: (B, 3, H, W) healthy images.
        fake: (B, 3, H, W) translated images; no gradient flows into them.
        alpha: (B, 1, 1, 1) in [0, 1], the share of the real image.
    """
    with torch.autocast(real.device.type, enabled=False):
        between = (alpha * real.float() + (1 - alpha) * fake.detach().float()).requires_grad_(True)  # (B, 3, H, W)
        scores = discriminator(between)
        (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)  # (B, 3, H, W)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def mask_terms(mask: Tensor, centre: float = 0.5, epsilon: float = 0.01) -> tuple[Tensor, Tensor]:
    """(mean mask)^2, and how far the mask is from 0 or 1: about 98 at ``centre``, 0 at 0 and at 1."""
    size = mask.mean().square()
    binary = (1 / ((mask - centre).abs() + epsilon)).mean() - 1 / (centre + epsilon)
    return size, binary


def reconstruction(images: Tensor, raw: Tensor, mask: Tensor) -> Tensor:
    """Mean of (1 - mask) * |images - raw|: outside the mask the raw image must be the input.

    The release writes it with the mask's part swapped, |images - (images * mask + raw * (1 - mask))|, which is the
    same number.
    """
    return ((1 - mask) * (images - raw).abs()).mean()


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the terms, each times its weight; every term has one."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
