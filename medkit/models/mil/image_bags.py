"""Several images per study through one shared backbone, trained end to end with any head for bags.

The Kaggle way: PANDA 2020 (tiles of a biopsy), RSNA 2022 (slices of a cervical spine). The backbone is any of
mmpretrain's; docs/image_bags.md has memory and pitfalls.
Command: ``python tools/train.py configs/concat_tile_images.py --data-root DIR``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import pad_sequence

from medkit.errors import ConfigError
from medkit.models.mil.bag_classifier import BagClassifier, Inputs
from medkit.models.mil.base import MILOutput
from medkit.models.mil.image_encoder import encode_images
from medkit.registry import MODELS, WEIGHT_INITIALIZERS

UNKNOWN = -1


@MODELS.register_module()
class ImageBagClassifier(BagClassifier):
    """`BagClassifier` whose features come from images: ``inputs = dict(images=(B, N, 3, H, W), mask=(B, N))``.

    Heads that take maps (`ConcatTileMIL`) get the backbone's last maps, the others their means over the positions.
    Samples may carry ``weight``, by which a study counts in the loss (the sum is divided by the weights' sum), and
    ``instance_labels`` (N, C), for heads with outputs per image (`SequenceMIL`).
    Predicted samples of a head that regresses a grade carry it as ``pred_grade``; of a head with outputs per image
    ``pred_instance_scores`` (N, C), probabilities.

    Args:
        backbone: config of an mmpretrain backbone.
        head: as `BagClassifier`; ``in_channels`` is the backbone's width.
        neck: of mmpretrain, in place of the mean over positions, from maps to vectors.
        chunk_size: images that go through the backbone at once; None: all of the batch.
        checkpointing: keep no activation of the backbone, make them again in the backward pass: with ``chunk_size``
            the memory of one chunk, for about a third more time.
        frozen_bn: batch norms of the backbone keep their statistics in training (their weights are trained).
        frozen: the backbone is not trained, and stays in evaluation mode.
        pretrained: local checkpoint, or run folder, that holds the backbone; None keeps the backbone's ``init_cfg``.
        loss_weights: factors of the head's losses, ``dict(loss_grade=0.5)``; 1 for those not named.
        data_preprocessor: default `ImageBagPreprocessor`.
        kwargs: as `BagClassifier`.

    Raises:
        ConfigError: the backbone's output does not fit the head; ``loss_weights`` names a loss that the head lacks.
        WeightsError: ``pretrained`` is missing or does not fit.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: dict | None = None,
        chunk_size: int | None = None,
        checkpointing: bool = False,
        frozen_bn: bool = False,
        frozen: bool = False,
        pretrained: str | None = None,
        loss_weights: Mapping[str, float] | None = None,
        data_preprocessor: dict | None = None,
        **kwargs,
    ) -> None:
        preprocessor = data_preprocessor or dict(type="medkit.ImageBagPreprocessor")
        super().__init__(head=head, data_preprocessor=preprocessor, **kwargs)
        self.backbone: nn.Module = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.chunk_size, self.checkpointing = chunk_size, checkpointing
        self.frozen_bn, self.frozen, self.pretrained = frozen_bn, frozen, pretrained
        self.loss_weights = dict(loss_weights or {})
        self._trained_before = bool(pretrained) or "Pretrained" in str(backbone.get("init_cfg"))
        if frozen:
            self.backbone.requires_grad_(False)

    def init_weights(self) -> None:
        """``pretrained`` comes last: mmpretrain's ResNet would set the last batch norm of each block to zero."""
        super().init_weights()
        if self.pretrained:
            load = WEIGHT_INITIALIZERS.build(dict(type="medkit.PretrainedBackbone", checkpoint=str(self.pretrained)))
            load(self.backbone)
        elif (self.frozen or self.frozen_bn) and not self._trained_before:
            print_log(
                f"ImageBagClassifier: frozen={self.frozen}, frozen_bn={self.frozen_bn}, but the backbone starts at "
                "random (pretrained=None): what is frozen has learnt nothing; give a run folder, or train it",
                logger="current",
                level=logging.WARNING,
            )

    def train(self, mode: bool = True) -> ImageBagClassifier:
        """A frozen backbone, and frozen batch norms, stay in evaluation mode."""
        super().train(mode)
        for part in self.backbone.modules():
            if self.frozen or (self.frozen_bn and isinstance(part, _BatchNorm)):
                part.training = False
        return self

    def bags(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (B, N, D) of the images, or maps (B, N, D, h, w), the mask, and no coordinates."""
        images, mask = inputs["images"], inputs["mask"]
        assert images is not None and mask is not None
        recompute = self.backbone if self.checkpointing else None
        with torch.no_grad() if self.frozen else nullcontext():
            return encode_images(self.encode, images, mask, self.chunk_size, recompute), mask, inputs.get("coords")

    def encode(self, images: Tensor) -> Tensor:
        """Features (M, D) or maps (M, D, h, w) of images (M, 3, H, W)."""
        feats = self.backbone(images)
        feats = feats if self.neck is None else self.neck(feats)
        feats = feats[-1] if isinstance(feats, (tuple, list)) else feats
        if feats.dim() == 4:
            return feats if self.head.takes_maps else feats.mean((2, 3))
        if feats.dim() != 2:
            raise ConfigError(
                f"{type(self.backbone).__name__} gives {tuple(feats.shape)} for {len(images)} images; expected maps "
                "(M, D, h, w) or vectors (M, D): set out_type='cls_token' or 'featmap' for a transformer"
            )
        return feats

    def losses(self, output: MILOutput, samples: Sequence[DataSample], **known: Tensor) -> dict[str, Tensor]:
        """The head's losses, with the studies' weights, the images' labels, and ``loss_weights``."""
        if self.head.takes_instance_labels:
            known["instance_labels"] = _instance_labels(samples).to(output.logits.device)
        weights = [float(sample.get("weight", 1.0)) for sample in samples]
        losses = super().losses(output, samples, **known) if len(set(weights)) == 1 else {}
        if not losses:
            each = [self._loss_of(index, output, samples, known) for index in range(len(samples))]
            share = output.logits.new_tensor(weights) / sum(weights)  # (B,)
            losses = {name: (torch.stack([one[name] for one in each]) * share).sum() for name in each[0]}
        if unknown := sorted(set(self.loss_weights) - set(losses)):
            raise ConfigError(f"loss_weights names {unknown}; {type(self.head).__name__} has {sorted(losses)}")
        return {name: loss * self.loss_weights.get(name, 1.0) for name, loss in losses.items()}

    def _loss_of(
        self, index: int, output: MILOutput, samples: Sequence[DataSample], known: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Of one study of the batch, taken as a batch of one."""
        one = slice(index, index + 1)
        attention = None if output.attention is None else output.attention[one]
        extra = {name: value[one] for name, value in output.extra.items()}
        alone = MILOutput(output.logits[one], attention, output.embedding[one], extra)
        return super().losses(alone, samples[one], **{name: value[one] for name, value in known.items()})

    def predicted(self, output: MILOutput, mask: Tensor, samples: Sequence[DataSample]) -> list[DataSample]:
        """As `BagClassifier`, with the grade, and with what is said of each image."""
        predicted = super().predicted(output, mask, samples)
        for number, sample in enumerate(predicted):
            if "grade" in output.extra:
                sample.set_field(output.extra["grade"][number], "pred_grade")
            if self.head.takes_instance_labels:
                scores = output.extra["instance_logits"][number, mask[number]].sigmoid()  # (N, C)
                sample.set_field(scores, "pred_instance_scores")
        return predicted


def _instance_labels(samples: Sequence[DataSample]) -> Tensor:
    """(B, N, C) of 1, 0, and -1 where unknown or padded."""
    given = [sample.get("instance_labels") for sample in samples]
    if any(one is None for one in given):
        raise ConfigError(
            "the head has outputs per image (instance_classes), but the data have no labels of images; add the column "
            "label to images.csv (1, 0, or nothing), or set instance_classes=0"
        )
    return pad_sequence([one.reshape(len(one), -1) for one in given], batch_first=True, padding_value=UNKNOWN)
