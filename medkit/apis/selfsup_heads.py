"""Linear probe and fine-tuning of a pre-trained encoder on graded images, as SSiT does it (Huang et al., JBHI 2024).

Adam, 25 epochs, batch 16, gradients clipped to norm 1, learning rate a cosine to 0 that changes once per epoch, the
head's weights from N(0, 0.01). Two heads: ``regression`` (one output, squared error on the grade, read by thresholds),
which needs grades with an order, and ``classification`` (cross-entropy). The epoch with the highest kappa on the
validation images and the last one are both scored on the test images. Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medkit.apis.selfsup_batches import FeatureBatches, ImageBatches
from medkit.engine.encoding import evaluating
from medkit.engine.seeding import seed_everything
from medkit.errors import ConfigError
from medkit.evaluation.functional.grading import grade_matrix, kappa, ordinal_grades

__all__ = ["FINETUNE", "HEADS", "LINEAR", "Fit", "GradingHead", "Training", "fit"]

HEADS = ("regression", "classification")


@dataclass(frozen=True)
class Training:
    """Settings of a probe or of fine-tuning; the defaults are those that SSiT publishes for both."""

    lr: float
    weight_decay: float
    epochs: int = 25
    batch_size: int = 16
    clip: float = 1.0
    amp: bool = False


LINEAR = Training(lr=2e-3, weight_decay=0.0)
FINETUNE = Training(lr=2e-5, weight_decay=1e-5)


@dataclass(frozen=True)
class GradingHead:
    """How outputs of the last layer become a loss, grades and scores.

    Attributes:
        kind: one of `HEADS`.
        num_classes: K.
        ordinal: the classes have an order; kappa is quadratic then.
    """

    kind: str
    num_classes: int
    ordinal: bool

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise ConfigError(f"head {self.kind!r}; expected one of {', '.join(HEADS)}")
        if self.kind == "regression" and not self.ordinal:
            raise ConfigError(
                "the set's labels are names without an order, so they cannot be regressed; use --head classification"
            )

    @property
    def num_outputs(self) -> int:
        """1 or K."""
        return 1 if self.kind == "regression" else self.num_classes

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch, outputs (B, 1) or (B, K)."""
        if self.kind == "regression":
            return functional.mse_loss(outputs[:, 0], labels.float())
        return functional.cross_entropy(outputs, labels)

    def read(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Grades ``(N,)``, and scores: regressed values ``(N,)`` or probabilities ``(N, K)``."""
        if self.kind == "regression":
            return ordinal_grades(outputs[:, 0], self.num_classes), outputs[:, 0]
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return outputs.argmax(axis=1), powers / powers.sum(axis=1, keepdims=True)

    def kappa(self, labels: np.ndarray, grades: np.ndarray) -> float:
        """Kappa over a whole split; quadratic where the classes have an order."""
        return float(kappa(grade_matrix(labels, grades, self.num_classes), quadratic=self.ordinal))


@dataclass(frozen=True)
class Fit:
    """Outcome at one epoch: its number from 1, kappa on validation, outputs ``(M, 1 or K)`` for the test images."""

    epoch: int
    val_kappa: float
    outputs: np.ndarray


def fit(
    batches: FeatureBatches | ImageBatches, head: GradingHead, training: Training, seed: int = 0
) -> dict[str, Fit]:
    """Train and score; the test images are looked at after all is chosen.

    Args:
        batches: features or images.
        head: regression or classification.
        training: settings.
        seed: of the last layer, the order of the images and their augmentation.

    Returns:
        ``best`` (highest kappa on validation, the earliest at a tie) and ``final``.
    """
    seed_everything(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = batches.model(head.num_outputs).to(device)
    trained = batches.trained(model)
    optimizer = torch.optim.Adam(trained, lr=training.lr, weight_decay=training.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=training.epochs)
    truth = batches.graded.labels[batches.graded.rows("val")]
    best: dict[str, Tensor] = {}
    best_kappa, best_epoch, last = -np.inf, 0, np.nan
    for epoch in range(1, training.epochs + 1):
        _train_epoch(model, batches, head, training, optimizer, trained)
        schedule.step()
        last = head.kappa(truth, head.read(_outputs(model, batches, "val", training.amp))[0])
        if last > best_kappa or not best:
            best, best_kappa, best_epoch = copy.deepcopy(model.state_dict()), last, epoch
    final = Fit(training.epochs, last, _outputs(model, batches, "test", training.amp))
    model.load_state_dict(best)
    return {"best": Fit(best_epoch, best_kappa, _outputs(model, batches, "test", training.amp)), "final": final}


def _train_epoch(
    model: nn.Module,
    batches: FeatureBatches | ImageBatches,
    head: GradingHead,
    training: Training,
    optimizer: torch.optim.Optimizer,
    trained: list[nn.Parameter],
) -> None:
    model.train()
    device = trained[0].device
    for inputs, labels in batches.train():
        with torch.autocast(device.type, torch.bfloat16, enabled=training.amp):
            outputs = model(inputs.to(device))
        loss = head.loss(outputs.float(), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, training.clip)
        optimizer.step()


def _outputs(model: nn.Module, batches: FeatureBatches | ImageBatches, split: str, amp: bool) -> np.ndarray:
    device = next(model.parameters()).device
    with evaluating(model), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        parts = [model(inputs.to(device)).double().cpu() for inputs in batches.held_out(split)]
    return torch.cat(parts).numpy()
