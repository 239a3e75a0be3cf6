"""Slices in their order: a recurrent network along them, then maximum and attention.

The second stage of the third place of the Kaggle challenge RSNA 2022 (cervical spine fractures in CT): vectors of
slices from a network trained before, LSTM in both directions, outputs per slice and per study.
Command: ``python -m pytest tests/models/mil/test_image_heads.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from medkit.errors import ConfigError
from medkit.models.mil.attention import AttentionScores
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_max, masked_softmax
from medkit.registry import MODELS


@MODELS.register_module()
class SequenceMIL(MILHead):
    """LSTM in both directions, maximum and attention over its states, one linear classifier.

    Instances are taken in the order in which they stand, padding wherever it stands is skipped; in the published code
    it takes part in the maximum and a little in the attention. Sequences of any length are taken as they are; the
    published code interpolates long ones down.

    Args:
        in_channels: D.
        num_classes: C.
        hid_channels: of the LSTM, in each direction.
        num_layers: of the LSTM.
        instance_classes: outputs per instance, ``extra['instance_logits']`` (B, K, this many); 0 for none.
        dropout: between layers of the LSTM and on what is classified.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hid_channels: int = 256,
        num_layers: int = 1,
        instance_classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, num_classes)
        options = dict(batch_first=True, bidirectional=True, dropout=dropout if num_layers > 1 else 0.0)
        self.lstm = nn.LSTM(in_channels, hid_channels, num_layers, **options)
        self.attention = AttentionScores(2 * hid_channels, hid_channels, gated=False)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * hid_channels, num_classes)
        self.instance = nn.Linear(2 * hid_channels, instance_classes) if instance_classes else None
        self.takes_instance_labels = instance_classes > 0

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, K), embedding (B, 4 H): maximum and weighted mean of the states."""
        states = self.states(feats, mask)  # (B, K, 2 H)
        attention = masked_softmax(self.attention(states), mask[:, None])  # (B, 1, K)
        pooled = (attention.to(states.dtype) @ states)[:, 0]
        embedding = torch.cat([masked_max(states, mask), pooled], dim=1)
        extra = {"mask": mask}
        if self.instance is not None:
            extra["instance_logits"] = self.instance(self.dropout(states))
        return MILOutput(self.classifier(self.dropout(embedding)), attention[:, 0], embedding, extra)

    def states(self, feats: Tensor, mask: Tensor) -> Tensor:
        """States (B, K, 2 H) of the real instances in order; 0 on padding."""
        order = (~mask).int().argsort(dim=1, stable=True)  # real ones first, in their order
        front = feats.gather(1, order[..., None].expand_as(feats))
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(front, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        back = order.argsort(dim=1)[..., None].expand_as(states)
        return states.gather(1, back).masked_fill(~mask[..., None], 0)

    def loss(self, output: MILOutput, labels: Tensor, instance_labels: Tensor | None = None) -> dict[str, Tensor]:
        """``loss_bag``; with labels of instances also ``loss_instance``, mean binary cross-entropy of the known ones.

        Args:
            output: of `forward`.
            labels: as for every head.
            instance_labels: (B, K, instance_classes) of 0 and 1, -1 where unknown.
        """
        losses = super().loss(output, labels)
        if instance_labels is None:
            return losses
        logits = output.extra.get("instance_logits")
        if logits is None or instance_labels.shape != logits.shape:
            raise ConfigError(
                f"SequenceMIL: labels of instances {tuple(instance_labels.shape)}; expected (B, K, instance_classes), "
                f"and instance_classes={0 if logits is None else logits.shape[2]}"
            )
        known = (instance_labels >= 0) & output.extra["mask"][..., None]
        targets = instance_labels.clamp(min=0).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        losses["loss_instance"] = (each * known).sum() / known.sum().clamp(min=1)
        return losses
