"""DSMIL: one stream finds the critical instance of each class, the other weighs all by their likeness to it.

Li, Li and Eliceiri, "Dual-stream Multiple Instance Learning Network for Whole Slide Image Classification with
Self-supervised Contrastive Learning", CVPR 2021 (arXiv 2011.08939), section 3.2.
Command: ``python -m pytest tests/models/mil/test_dsmil.py``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.base import MILHead, MILOutput, bag_loss
from medkit.models.mil.masking import masked_max, masked_softmax
from medkit.registry import MODELS


@MODELS.register_module()
class DSMIL(MILHead):
    """Instance scores, critical instances, attention by query likeness, one convolution over the classes' embeddings.

    Classes are those that a bag may show; none of them is an all-zero label. Labels are (B, C) zeros and ones, or (B,)
    with -1 for a bag that shows none (with one class: 0 or 1). Layers start orthogonal with bias 0, against the equal
    attention for all instances that users of the release report.

    Args:
        in_channels: D.
        num_classes: C.
        query_channels: width of the queries.
        nonlinear: queries by Linear, ReLU, Linear, Tanh; otherwise one Linear.
        value_dropout: ``None``: instances are weighed as they come; a number: after Dropout, Linear and ReLU.
    """

    independent = True
    attends_by_class = True

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        query_channels: int = 128,
        nonlinear: bool = True,
        value_dropout: float | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes)
        self.instance = nn.Linear(in_channels, num_classes)
        layers: list[nn.Module] = [nn.Linear(in_channels, query_channels)]
        if nonlinear:
            layers += [nn.ReLU(), nn.Linear(query_channels, query_channels), nn.Tanh()]
        self.query = nn.Sequential(*layers)
        self.value: nn.Module = nn.Identity()
        if value_dropout is not None:
            self.value = nn.Sequential(nn.Dropout(value_dropout), nn.Linear(in_channels, in_channels), nn.ReLU())
        self.classifier = nn.Conv1d(num_classes, num_classes, kernel_size=in_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.orthogonal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, K) or (B, C, K) with C > 1, embedding (B, C D); ``extra``: instance and max logits."""
        each = self.instance(feats)  # (B, K, C)
        lowest = torch.finfo(each.dtype).min
        critical = each.detach().masked_fill(~mask[..., None], lowest).argmax(dim=1)  # (B, C)
        query = self.query(feats)  # (B, K, Q)
        wanted = query.gather(1, critical[..., None].expand(-1, -1, query.shape[2]))  # (B, C, Q)
        scores = wanted @ query.transpose(1, 2) / math.sqrt(query.shape[2])  # (B, C, K)
        attention = masked_softmax(scores, mask[:, None])
        value = self.value(feats)
        pooled = attention.to(value.dtype) @ value  # (B, C, D)
        logits = self.classifier(pooled)[..., 0]
        shown = attention[:, 0] if self.num_classes == 1 else attention
        return MILOutput(
            logits, shown, pooled.flatten(1), {"instance_logits": each, "max_logits": masked_max(each, mask)}
        )

    def loss(self, output: MILOutput, labels: Tensor) -> dict[str, Tensor]:
        """``loss_bag`` and ``loss_max``: binary cross-entropy of both streams, half each."""
        targets = self.targets(labels)
        return {
            "loss_bag": 0.5 * bag_loss(output.logits, targets),
            "loss_max": 0.5 * bag_loss(output.extra["max_logits"], targets),
        }

    def targets(self, labels: Tensor) -> Tensor:
        """(B, C) zeros and ones of (B, C), or of (B,) classes with -1 for none."""
        classes = self.num_classes
        if labels.dim() != 1 or classes == 1:
            return labels.reshape(len(labels), -1).float()
        if bool(((labels < -1) | (labels >= classes)).any()):
            raise ConfigError(f"DSMIL: labels {labels.tolist()}; expected -1 (none of the classes) to {classes - 1}")
        return F.one_hot(labels.long() + 1, classes + 1)[:, 1:].float()
