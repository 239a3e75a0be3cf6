"""CLAM: gated attention whose highest and lowest instances are also told apart by a classifier of instances.

Lu et al., "Data-efficient and weakly supervised computational pathology on whole-slide images", Nature Biomedical
Engineering 2021 (arXiv 2004.09666), methods. Written from the formulas. Command: ``python -m pytest
tests/models/mil/test_clam.py``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.attention import AttentionScores
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.masking import masked_softmax
from medkit.models.mil.smooth_svm import smooth_top1_svm
from medkit.registry import MODELS


@MODELS.register_module()
class CLAM(MILHead):
    """CLAM with one attention branch (SB) or one per class (MB).

    Different from the released code: k is at most half the instances of a bag (there, a bag of fewer than k fails, and
    one of fewer than 2 k labels the same tile both ways); the attention network drops out at the rate asked for and
    not always at 0.25; the logits of MB keep the precision of the features.

    Args:
        in_channels: D.
        num_classes: C; classes exclude each other, so 2 or more.
        multi_branch: MB.
        embed_channels: width of the instances' embedding.
        hid_channels: width of the attention network; 256 is published as "small", 384 as "big".
        gated: with the sigmoid gate.
        dropout: of embedding and attention network.
        k: how many instances of highest and of lowest attention the instance classifiers learn from.
        subtyping: classes exclude each other within a slide, so the highest of the other classes are negatives.
        instance_loss: ``svm`` (smooth top-1, the command of the release) or ``ce`` (its default).
        bag_weight: share of the bag's loss; the instances' is the rest.

    Raises:
        ConfigError: fewer than 2 classes, an unknown instance loss, ``k`` below 1 or a share outside [0, 1].
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        multi_branch: bool = False,
        embed_channels: int = 512,
        hid_channels: int = 256,
        gated: bool = True,
        dropout: float = 0.25,
        k: int = 8,
        subtyping: bool = False,
        instance_loss: str = "svm",
        bag_weight: float = 0.7,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if num_classes < 2 or k < 1 or instance_loss not in ("svm", "ce") or not 0 <= bag_weight <= 1:
            raise ConfigError(
                f"CLAM: num_classes={num_classes}, k={k}, instance_loss={instance_loss!r}, bag_weight={bag_weight}; "
                "expected 2 or more classes, k of 1 or more, 'svm' or 'ce', and a share between 0 and 1"
            )
        self.k, self.subtyping, self.instance_loss, self.bag_weight = k, subtyping, instance_loss, bag_weight
        self.multi_branch = self.attends_by_class = multi_branch
        self.embed = nn.Sequential(nn.Linear(in_channels, embed_channels), nn.ReLU(), nn.Dropout(dropout))
        self.attention = AttentionScores(
            embed_channels, hid_channels, num_classes if multi_branch else 1, gated, dropout
        )
        self.classifier = nn.Linear(embed_channels, num_classes)
        self.instance_classifiers = nn.ModuleList(nn.Linear(embed_channels, 2) for _ in range(num_classes))

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, attention (B, K), with MB (B, C, K), embedding (B, E), with MB (B, C E)."""
        h = self.embed(feats)  # (B, K, E)
        attention = masked_softmax(self.attention(h), mask[:, None])  # (B, 1 or C, K)
        pooled = attention.to(h.dtype) @ h  # (B, 1 or C, E)
        if self.multi_branch:  # row c of the classifier sees the pooled features of class c only
            logits = (pooled * self.classifier.weight).sum(dim=2) + self.classifier.bias
        else:
            logits = self.classifier(pooled[:, 0])
        shown = attention if self.multi_branch else attention[:, 0]
        return MILOutput(logits, shown, pooled.flatten(1), {"instances": h, "mask": mask})

    def loss(self, output: MILOutput, labels: Tensor) -> dict[str, Tensor]:
        """``loss_bag`` and ``loss_instance``, each times its share; their sum is the published loss.

        Args:
            output: of `forward`.
            labels: (B,) classes from 0.
        """
        classes, bags = self.num_classes, len(output.logits)
        whole = labels.shape == (bags,) and not labels.dtype.is_floating_point
        if not whole or bool(((labels < 0) | (labels >= classes)).any()):
            raise ConfigError(f"CLAM: labels {labels.tolist()}; expected one class per bag, 0 to {classes - 1}")
        terms = [self.loss_of_instances(output, bag, int(label)) for bag, label in enumerate(labels.tolist())]
        return {
            "loss_bag": self.bag_weight * F.cross_entropy(output.logits, labels),
            "loss_instance": (1 - self.bag_weight) * torch.stack(terms).mean(),
        }

    def loss_of_instances(self, output: MILOutput, bag: int, label: int) -> Tensor:
        """Scalar loss of one bag's instance classifiers; 0 where the bag has fewer than two instances."""
        assert output.attention is not None
        real = output.extra["mask"][bag]
        h = output.extra["instances"][bag][real]  # (n, E)
        attention = output.attention.detach()[bag].reshape(-1, len(real))[:, real]  # (1 or C, n)
        k, losses = min(self.k, len(h) // 2), []
        for number, classifier in enumerate(self.instance_classifiers):
            order = attention[number if self.multi_branch else 0].argsort(descending=True)
            rows, targets = order[:k], torch.zeros(k, dtype=torch.long, device=h.device)
            if number == label:
                rows, targets = torch.cat([rows, order[len(h) - k :]]), torch.cat([targets + 1, targets])
            used = k > 0 and (number == label or self.subtyping)
            scores = classifier(h[rows])  # (2 k or k, 2)
            losses.append(self._criterion(scores, targets) if used else scores.sum() * 0)
        return torch.stack(losses).sum() / (len(losses) if self.subtyping else 1)

    def _criterion(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.instance_loss == "ce":
            return F.cross_entropy(scores, targets)
        return smooth_top1_svm(scores, targets).mean()
