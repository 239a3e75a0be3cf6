"""One instance speaks for the bag: the one that is surest of a class.

The "mil" model of CLAM's code, used as a baseline by Campanella et al., "Clinical-grade computational pathology using
weakly supervised deep learning on whole slide images", Nature Medicine 2019, and Lu et al. 2021 (CLAM).
Command: ``python -m pytest tests/models/mil/test_max_instance.py``.
"""

import torch
from torch import Tensor, nn

from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import wide
from medkit.registry import MODELS


@MODELS.register_module()
class MaxInstanceMIL(MILHead):
    """Classify each instance; the logits of the surest one are the bag's.

    With one or two classes that is the instance with the highest probability of the last class; with more, the one
    with the highest probability of any class. Only one instance of a bag receives a gradient. The released code has
    a ``topk`` that fails above 1; it is left out.

    Args:
        in_channels: D.
        num_classes: C.
        embed_channels: width of the layer before the classifier.
        dropout: after that layer.
    """

    def __init__(self, in_channels: int, num_classes: int, embed_channels: int = 512, dropout: float = 0.25) -> None:
        super().__init__(in_channels, num_classes)
        self.embed = nn.Sequential(nn.Linear(in_channels, embed_channels), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(embed_channels, num_classes)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention 1 on the chosen instance, its embedding; ``extra['instance_logits']`` (B, K, C)."""
        h = self.embed(feats)  # (B, K, E)
        each = self.classifier(h)  # (B, K, C)
        sureness = _sureness(wide(each.detach())).masked_fill(~mask, -1)  # (B, K)
        chosen = nn.functional.one_hot(sureness.argmax(dim=1), mask.shape[1]) * mask  # (B, K)
        pick = chosen[:, None].to(h.dtype)  # (B, 1, K)
        embedding = (pick @ h)[:, 0]  # (B, E)
        return MILOutput(self.classifier(embedding), chosen.float(), embedding, {"instance_logits": each})


def _sureness(each: Tensor) -> Tensor:
    """(B, K) of instance logits (B, K, C)."""
    if each.shape[2] == 1:
        return each[..., 0].sigmoid()
    probability = torch.softmax(each, dim=2)
    return probability[..., 1] if each.shape[2] == 2 else probability.amax(dim=2)
