"""Bags of different length become one padded batch, on the model's device.

Command: ``python tools/train.py configs/abmil_slides.py --data-root DIR``.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from medkit.models.mil.masking import pad_bags
from medkit.registry import MODELS


@MODELS.register_module()
class BagDataPreprocessor(BaseDataPreprocessor):
    """Moves features as they are stored and pads them there, so that no padding is moved.

    Takes ``inputs = dict(feats=[(K_i, D), ...], coords=[(K_i, 2) or None, ...])``, as `pseudo_collate` makes them, and
    gives ``dict(feats=(B, K, D), mask=(B, K), coords=(B, K, 2) or None)``; coordinates where all bags have them.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move, pad."""
        data = self.cast_data(data)  # type: ignore[assignment]
        feats, mask = pad_bags(data["inputs"]["feats"])
        return {**data, "inputs": {"feats": feats, "mask": mask, "coords": padded(data["inputs"].get("coords"))}}


def padded(coords: Sequence[Tensor | None] | None) -> Tensor | None:
    """(B, K, 2) of (K_i, 2), or None where a bag has none."""
    given = [one for one in coords or () if one is not None]
    if coords is None or len(given) < len(coords):
        return None
    return torch.nn.utils.rnn.pad_sequence(given, batch_first=True)
