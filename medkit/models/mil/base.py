"""What all heads of medkit that classify bags share: a padded bag in, `MILOutput` out.

A bag is what one label belongs to: the tiles of a slide, the slices or images of a study. The published codes take
one bag at a time; here bags of different length share a batch, padded, and each gets what it would get alone.
A new head is one file: a subclass of `MILHead` with ``aggregate``.

Command: ``python -m pytest tests/models/mil``.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkit.errors import ConfigError


@dataclass(frozen=True)
class MILOutput:
    """What a head says about a batch of bags.

    Attributes:
        logits: (B, C).
        attention: (B, K), or (B, H, K) where a head has several; exact zeros on padding; ``None`` where a head has
            none.
        embedding: (B, E), what the bag's classifier sees.
        extra: what a head's own loss or a heat map needs besides, named by the head.
    """

    logits: Tensor
    attention: Tensor | None
    embedding: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class MILHead(nn.Module):
    """Base of the heads: checks the bags, sets what stands in the padding to zero, and has the usual loss.

    A subclass defines ``aggregate(feats, mask, coords) -> MILOutput`` and may extend ``loss``. It sets ``independent``
    where several classes may hold at once (sigmoid), ``attends_by_class`` where attention is (B, C, K), a row for each
    class, and ``takes_instance_labels`` where its ``loss`` asks for them. An empty bag (a row of ``mask`` without a
    True) has attention and pooled features 0, and finite logits.

    Args:
        in_channels: D, width of an instance's features.
        num_classes: C. 1 means one logit, for which labels are 0 or 1 and the loss is binary cross-entropy.

    Raises:
        ConfigError: a number of classes or channels below 1; features of another width; a mask or coordinates that do
            not fit them; no coordinates for a head with ``needs_coords``.
    """

    needs_coords: bool = False
    takes_maps: bool = False
    independent: bool = False
    attends_by_class: bool = False
    takes_instance_labels: bool = False

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        if in_channels < 1 or num_classes < 1:
            raise ConfigError(
                f"{type(self).__name__}: in_channels={in_channels}, num_classes={num_classes}; give 1 or more of each"
            )
        self.in_channels, self.num_classes = in_channels, num_classes

    def forward(self, feats: Tensor, mask: Tensor | None = None, coords: Tensor | None = None) -> MILOutput:
        """Classify bags.

        Args:
            feats: (B, K, D), also float16 as stored; maps (B, K, D, h, w) where a head ``takes_maps``. What stands
                in the padding does not matter, not even NaN.
            mask: (B, K) bool, True for a real instance; ``None``: all are real.
            coords: (B, K, 2) positions (x, y) of the tiles in pixels of level 0, for heads that use them.
        """
        if mask is None:
            mask = torch.ones(feats.shape[:2], dtype=torch.bool, device=feats.device)
        self._check(feats, mask, coords)
        feats = feats.to(next(self.parameters()).dtype)
        feats = feats.masked_fill(~mask.reshape(*mask.shape, *[1] * (feats.dim() - 2)), 0)
        return self.aggregate(feats, mask, coords)

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """The head itself, on checked bags whose padding is zero."""
        raise NotImplementedError(f"{type(self).__name__} defines no aggregate()")

    def loss(self, output: MILOutput, labels: Tensor) -> dict[str, Tensor]:
        """``loss_bag``, mean over the bags: cross-entropy of (B,) classes, or binary cross-entropy.

        Args:
            output: of `forward`.
            labels: (B,) classes from 0, or (B, C) zeros and ones where several classes may hold at once.
        """
        return {"loss_bag": bag_loss(output.logits, labels)}

    def _check(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> None:
        name, maps = type(self).__name__, self.takes_maps and feats.dim() == 5
        if feats.dim() != 3 and not maps:
            raise ConfigError(f"{name}: features of shape {tuple(feats.shape)}; expected (bags, instances, channels)")
        if feats.shape[2] != self.in_channels:
            raise ConfigError(
                f"{name}: the features are {feats.shape[2]} wide, the head expects {self.in_channels}; set "
                f"in_channels={feats.shape[2]}, or extract the features with the backbone that the head was made for"
            )
        if mask.shape != feats.shape[:2] or mask.dtype != torch.bool:
            raise ConfigError(
                f"{name}: mask {tuple(mask.shape)} of {mask.dtype} for features {tuple(feats.shape)}; expected "
                f"{tuple(feats.shape[:2])} of torch.bool, True for a real instance"
            )
        if coords is None and self.needs_coords:
            raise ConfigError(f"{name} needs coords (B, K, 2), the position of each tile, and got none; store coords "
                              "with the features (CLAM's h5 has them, its pt does not), or take a head without")
        if coords is not None and coords.shape != (*mask.shape, 2):
            raise ConfigError(f"{name}: coords {tuple(coords.shape)}; expected {(*mask.shape, 2)}, (x, y) per instance")


def bag_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy for (B,) labels and C > 1 logits, binary cross-entropy for one logit or (B, C) labels.

    Raises:
        ConfigError: labels of another shape, or outside the classes.
    """
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1] and labels.shape != logits.shape:
        raise ConfigError(
            f"labels of shape {tuple(labels.shape)} for logits {tuple(logits.shape)}; expected one class per bag, "
            f"({len(logits)},), or zeros and ones of shape {tuple(logits.shape)}"
        )
    highest = max(classes - 1, 1) if labels.dim() == 1 else 1
    if bool(((labels < 0) | (labels > highest)).any()):
        raise ConfigError(f"labels {labels.tolist()}; expected 0 to {highest} for {classes} classes; mend the labels")
    if labels.shape == logits.shape or classes == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.reshape(logits.shape).to(logits.dtype))
    return F.cross_entropy(logits, labels)
