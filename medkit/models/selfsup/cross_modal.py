"""The parts of ContIG beside its backbone: vector encoder, projection, cross-modal NT-Xent.

Source: Taleb et al., "ContIG: Self-supervised Multimodal Contrastive Learning for Medical Imaging with
Genetics" (CVPR 2022, arXiv 2111.13424), section 3; sizes and order of layers as in its released code.
Command: ``python tools/train.py configs/contig_busi.py --amp``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkit.errors import ConfigError

VECTOR_ENCODERS = ("none", "H1", "H12")


def vector_encoder(kind: str, in_features: int, hid_channels: int = 2048) -> tuple[nn.Sequential, int]:
    """Encoder of one vector per subject, and the width of what it gives.

    Args:
        kind: ``none`` (the vector itself), ``H1`` (one layer, the paper's best), ``H12`` (two). A layer is
            Linear, ReLU and then batch norm, after the activation as in the release.
        in_features: length of the vector.
        hid_channels: width of a layer.

    Raises:
        ConfigError: another kind.
    """
    if kind not in VECTOR_ENCODERS:
        raise ConfigError(f"ContIG: vector encoder {kind!r}; give one of {', '.join(VECTOR_ENCODERS)}")
    layers: list[nn.Module] = []
    width = in_features
    for _ in range(VECTOR_ENCODERS.index(kind)):
        layers += [nn.Linear(width, hid_channels), nn.ReLU(inplace=True), nn.BatchNorm1d(hid_channels)]
        width = hid_channels
    return nn.Sequential(*layers), width


def projection(in_channels: int, hid_channels: int, out_channels: int = 128) -> nn.Sequential:
    """Linear, ReLU, Linear, with bias and without batch norm."""
    return nn.Sequential(
        nn.Linear(in_channels, hid_channels),
        nn.ReLU(inplace=True),
        nn.Linear(hid_channels, out_channels),
    )


def cross_modal_nt_xent(
    z_image: Tensor, z_vector: Tensor, *, temperature: float = 0.1, alpha: float = 0.75
) -> Tensor:
    """Contrast images with vectors; row i of both belongs together, the other rows are negatives.

    Images are not contrasted with images, nor vectors with vectors. Computed in float32 whatever comes in.

    Args:
        z_image: (B, C), not normalised.
        z_vector: (B, C), not normalised.
        temperature: divides the cosine similarities.
        alpha: weight of finding the vector of an image; 1 - alpha is that of finding the image of a vector.

    Returns:
        The loss, mean over the batch: 0 for a batch of one, ln(B) where nothing can be told apart.
    """
    z_image, z_vector = F.normalize(z_image.float(), dim=1), F.normalize(z_vector.float(), dim=1)
    with torch.autocast(z_image.device.type, enabled=False):
        logits = z_image @ z_vector.T / temperature  # (B, B), rows are images
    own = torch.arange(len(logits), device=logits.device)
    return alpha * F.cross_entropy(logits, own) + (1 - alpha) * F.cross_entropy(logits.T, own)
