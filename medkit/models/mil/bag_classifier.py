"""A head for bags as a model that mmengine trains: from features to a loss, or to what is said of each slide.

Config: configs/abmil_slides.py; command: ``python tools/train.py configs/abmil_slides.py --data-root DIR``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import wide
from medkit.models.mil.standardize import Standardize
from medkit.registry import MODELS

Inputs = dict[str, Tensor | None]


@MODELS.register_module()
class BagClassifier(BaseModel):
    """Bags through a `MILHead`.

    Predicted samples carry ``pred_score`` (C,), probabilities of the data set's C classes, ``pred_label``, and
    ``attention`` (K,), or None where the head has none; ``gt_label`` and ``instance_labels`` stay. With a head that has
    a row of attention for each class, the row is that of ``attended_class`` or of the predicted class; with several
    rows that belong to no class (branches of ABMIL, heads of TransMIL), their mean.

    Args:
        head: a `MILHead`. With one logit the data set has 2 classes.
        negative_class: class 0 of the data set is the absence of all that the head knows, as in DSMIL: its classes are
            1 and higher, and a negative bag has the target 0 for each. A head with one logit is so always.
        attended_class: class of the data set whose row of attention is shown; None: the predicted one, of a bag that is
            predicted negative the likeliest.
        standardize: features to mean 0 and deviation 1, see `Standardize`.
        data_preprocessor: default `BagDataPreprocessor`.
        init_cfg: as in mmengine.

    Raises:
        ConfigError: the head is none, or has no class ``attended_class``.
    """

    def __init__(
        self,
        head: dict,
        negative_class: bool = False,
        attended_class: int | None = None,
        standardize: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type="medkit.BagDataPreprocessor"), init_cfg)
        self.head = MODELS.build(head)
        if not isinstance(self.head, MILHead):
            raise ConfigError(f"BagClassifier: {head.get('type')} is no head for bags; docs/mil.md lists them")
        self.shift = int(negative_class or self.head.num_classes == 1)  # from a class to its logit
        self.num_classes = self.head.num_classes + self.shift
        if attended_class is not None and not self.shift <= attended_class < self.num_classes:
            raise ConfigError(
                f"BagClassifier: attended_class={attended_class}; the head's classes are {self.shift} to "
                f"{self.num_classes - 1}"
            )
        self.attended_class = attended_class
        if standardize and self.head.takes_maps:
            raise ConfigError("BagClassifier: standardize=True is for features (K, D); this head takes maps")
        self.standard = Standardize(self.head.in_channels) if standardize else None

    def bags(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (B, K, D), mask (B, K) and coordinates (B, K, 2) or None of a batch."""
        feats, mask = inputs["feats"], inputs["mask"]
        assert feats is not None and mask is not None
        return feats, mask, inputs.get("coords")

    def forward(
        self, inputs: Inputs, data_samples: Sequence[DataSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | list[DataSample] | MILOutput:
        """``tensor``: a `MILOutput`; ``loss``: the head's losses; ``predict``: the samples with predictions."""
        feats, mask, coords = self.bags(inputs)
        feats = feats if self.standard is None else self.standard(feats, mask)
        output = self.head(feats, mask, coords)
        if mode == "tensor":
            return output
        samples = list(data_samples or [DataSample() for _ in range(len(mask))])
        output = replace(output, logits=wide(output.logits))  # of autocast
        if mode == "loss":
            return self.losses(output, samples)
        if mode == "predict":
            return self.predicted(output, mask, samples)
        raise ConfigError(f"mode={mode!r}; expected 'loss', 'predict' or 'tensor'")

    def losses(self, output: MILOutput, samples: Sequence[DataSample], **known: Tensor) -> dict[str, Tensor]:
        """The head's losses of the samples' ``gt_label``, and of what else is ``known`` to a head that asks for it."""
        labels = torch.stack([sample.gt_label.reshape(()) for sample in samples]).to(output.logits.device)  # (B,)
        if bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ConfigError(
                f"labels {labels.tolist()} for {self.num_classes} classes; set num_classes to that of the data set"
            )
        return self.head.loss(output, self.targets(labels), **known)

    def targets(self, labels: Tensor) -> Tensor:
        """(B,) classes, or (B, C) zeros and ones where class 0 has no logit."""
        return F.one_hot(labels, self.num_classes)[:, 1:].float() if self.shift else labels

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, C) of (B, C) or, without a logit for class 0, (B, C - 1); rows add up to 1.

        Where classes do not exclude each other (DSMIL), each has its own probability. Class 0, if it has no logit, has
        what the likeliest lacks to 1, so that a bag is negative where none reaches 0.5; all are scaled to the sum of 1.
        """
        if not (self.shift or self.head.independent):
            return logits.softmax(dim=1)
        each = logits.sigmoid()
        if self.shift:
            each = torch.cat([1 - each.amax(dim=1, keepdim=True), each], dim=1)
        return each / each.sum(dim=1, keepdim=True).clamp(min=torch.finfo(each.dtype).tiny)

    def predicted(self, output: MILOutput, mask: Tensor, samples: Sequence[DataSample]) -> list[DataSample]:
        """The samples, with what the head says of each bag."""
        scores = self.probabilities(output.logits)  # (B, C)
        for number, (sample, real) in enumerate(zip(samples, mask, strict=True)):
            sample.set_pred_score(scores[number])
            sample.set_pred_label(scores[number].argmax())
            attention = None if output.attention is None else self._row(output.attention[number], scores[number])
            sample.set_field(None if attention is None else attention[real], "attention", dtype=None)
        return list(samples)

    def _row(self, attention: Tensor, scores: Tensor) -> Tensor:
        """(K,) of (K,) or (H, K)."""
        if attention.dim() == 1:
            return attention
        if not self.head.attends_by_class:
            return attention.mean(dim=0)
        shown = self.attended_class
        return attention[int(scores[self.shift :].argmax()) if shown is None else shown - self.shift]
