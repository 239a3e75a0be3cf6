"""Siamese network that takes tiles close together on a slide for similar, tiles far apart for different.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139.
Command: ``python tools/train.py configs/spatial_siamese_slides.py``. Page: docs/pathology.md.
"""

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor

from medkit.errors import ConfigError, DatasetError
from medkit.models.selfsup.pair_distance import PairDistanceLoss, pair_distance
from medkit.registry import MODELS


@MODELS.register_module()
class SpatialSiamese(BaseSelfSupervisor):
    """Backbone, average pooling and one linear layer; both tiles of a pair pass in one batch of 2B.

    One batch means that batch norm treats both tiles alike. The layer has neither activation nor norm.

    Args:
        backbone: config of the encoder.
        neck: maps its features to the descriptor, ``dict(type='mmpretrain.LinearNeck', in_channels=2048,
            out_channels=128, gap_dim=2, norm_cfg=None)``.
        head: the loss, `medkit.PairDistanceLoss`.
        l2norm: scale descriptors to length 1. The paper does not mention it; the margin must then be below 2.
        kwargs: as for mmpretrain's `BaseSelfSupervisor`.

    Raises:
        ConfigError: ``l2norm`` with a margin that no pair could reach.
    """

    head: PairDistanceLoss

    def __init__(self, backbone: dict, neck: dict, head: dict, l2norm: bool = False, **kwargs) -> None:
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        if l2norm and self.head.margin >= 2:
            raise ConfigError(
                f"SpatialSiamese: l2norm=True with margin={self.head.margin}, but descriptors of length 1 are at most "
                "2 apart; set head.margin below 2"
            )
        self.l2norm = l2norm

    def describe(self, images: Tensor) -> Tensor:
        """Descriptors (B, C) of normalised images (B, 3, H, W)."""
        return self.describe_features(self.backbone(images))

    def describe_features(self, features: tuple[Tensor, ...]) -> Tensor:
        """Descriptors (B, C), float32, of what the backbone gave."""
        descriptors = self.neck(features)[-1].float()  # (B, C)
        return F.normalize(descriptors, dim=1) if self.l2norm else descriptors

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Loss of B pairs, ``inputs`` being their first and their second tiles, (B, 3, H, W) each.

        Returns:
            ``loss``; ``near_distance`` and ``far_distance``, the mean distance of either kind of pairs, and
            ``violated``, the part of the far ones within the margin. What a batch does not have is left out.
        """
        flags = [bool(sample.similar) for sample in self._checked(inputs, data_samples)]
        first, second = self.describe(torch.cat(inputs)).chunk(2)  # (B, C) each
        similar = torch.tensor(flags, device=first.device)
        distance = pair_distance(first, second)  # (B,)
        results = {"loss": self.head.per_pair(distance, similar).mean()}
        seen = distance.detach()
        if any(flags):
            results["near_distance"] = seen[similar].mean()
        if not all(flags):
            results["far_distance"] = seen[~similar].mean()
            results["violated"] = (seen[~similar] < self.head.margin).float().mean()
        return results

    @staticmethod
    def _checked(inputs: list[Tensor], data_samples: list[DataSample]) -> list[DataSample]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            count = len(inputs) if isinstance(inputs, (list, tuple)) else 1
            raise DatasetError(f"SpatialSiamese got {count} tile(s) per sample; expected pairs, from medkit.TilePairs")
        if any("similar" not in sample for sample in data_samples):
            raise DatasetError(
                "samples lack `similar`; use medkit.TilePairs and end with PackInputs(algorithm_keys=['similar'])"
            )
        return data_samples
