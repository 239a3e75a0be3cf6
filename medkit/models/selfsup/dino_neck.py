"""DINO's projector (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021).

Command: ``python tools/train.py configs/dino_busi.py``.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from medkit.models.selfsup.projector import pool_features
from medkit.registry import MODELS


@MODELS.register_module()
class DINONeck(BaseModule):
    """Three linear layers with GELU between them and outputs of unit length.

    Args:
        in_channels: of the backbone.
        hid_channels: of the two hidden layers; 2048 in the paper.
        out_channels: of the bottleneck before the prototypes; 256 in the paper.
        batch_norm: batch norm after the hidden layers, as the official code has it for convolutional networks.
    """

    def __init__(
        self, in_channels: int, hid_channels: int = 2048, out_channels: int = 256, batch_norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, hid_channels):
            norm = [nn.BatchNorm1d(hid_channels)] if batch_norm else []
            layers += [nn.Linear(channels, hid_channels), *norm, nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hid_channels, out_channels))

    def init_weights(self) -> None:
        """As the official code: truncated normal of deviation 0.02, no bias."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Unit vectors (B, out_channels), float32, of a backbone's outputs, see `pool_features`."""
        projected = self.mlp(pool_features(x))
        with torch.autocast(projected.device.type, enabled=False):
            return (F.normalize(projected.float(), dim=1),)
