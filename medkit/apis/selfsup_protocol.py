"""What is evaluated, how, and one outcome: the records that a benchmark of self-supervision is made of.

Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from medkit.apis.selfsup_heads import FINETUNE, LINEAR, Training

__all__ = ["PROTOCOLS", "Protocol", "Record", "Run"]

PROTOCOLS = ("finetune", "linear", "knn")
_SMALL_SET_STEPS = 2500  # of the probe on cached features, at least


@dataclass(frozen=True)
class Run:
    """One encoder of a method.

    Attributes:
        name: of the method; runs of one name are several pre-trainings (or initialisations) of it.
        config: file of the pre-training.
        checkpoint: file or run folder; None for the network as it is initialised.
        seed: of the initialisation, where there is no checkpoint.
    """

    name: str
    config: str
    checkpoint: str | None = None
    seed: int = 0

    @property
    def label(self) -> str:
        """What tells it from other runs of its name."""
        return f"initialised with seed {self.seed}" if self.checkpoint is None else str(self.checkpoint)


@dataclass(frozen=True)
class Protocol:
    """What is evaluated, and how.

    Attributes:
        protocols: of `PROTOCOLS`.
        heads: of `selfsup_heads.HEADS`, for probe and fine-tuning.
        seeds: one probe and one fine-tuning for each.
        img_size: side of the images; None takes the config's.
        augment: the probe sees augmented images, as published; else features are taken once, without augmentation.
        standardise: these cached features to mean 0 and deviation 1 over the training images; else a network with
            small features, such as a ResNet beside a ViT, would learn more slowly for no other reason.
        epochs: None: 25, and for the probe on cached features as many as make 2500 steps if that is more.
        finetune_lr: None: 2e-5.
        linear_lr: None: 2e-3.
        amp: bfloat16 for probe on images and fine-tuning.
        num_workers: processes that read images.
        cache_dir: folder for features; a killed run goes on with them.
        figure_dir: folder for pictures of each method; None draws none.
    """

    protocols: tuple[str, ...] = ("knn", "linear")
    heads: tuple[str, ...] = ("regression",)
    seeds: tuple[int, ...] = (0, 1, 2)
    img_size: int | None = None
    augment: bool = False
    standardise: bool = True
    epochs: int | None = None
    finetune_lr: float | None = None
    linear_lr: float | None = None
    amp: bool = False
    num_workers: int = 1
    cache_dir: str | None = None
    figure_dir: str | None = None

    def training(self, protocol: str, num_train: int) -> Training:
        """Settings of ``linear`` or ``finetune`` for a set of ``num_train`` training images."""
        base, lr = (LINEAR, self.linear_lr) if protocol == "linear" else (FINETUNE, self.finetune_lr)
        epochs = self.epochs or base.epochs
        on_features = protocol == "linear" and not self.augment
        if self.epochs is None and on_features:
            epochs = max(epochs, -(-_SMALL_SET_STEPS // -(-num_train // base.batch_size)))
        return replace(base, lr=lr or base.lr, epochs=epochs, amp=self.amp and not on_features)


@dataclass(frozen=True)
class Record:
    """Outcome of one evaluation on the test images.

    Attributes:
        method: name of the method.
        run: which pre-training of it.
        protocol: of `PROTOCOLS`.
        head: of `selfsup_heads.HEADS`, or ``vote``.
        selected: ``best`` (epoch, or k, by kappa on validation), ``final`` (last epoch) or ``k=5``, ...
        seed: of the probe; None for k-NN, which draws nothing.
        chosen: epoch or k.
        val_kappa: on the validation images.
        metrics: on the test images, whole set.
        grades: ``(M,)`` given to the test images.
        scores: ``(M,)`` or ``(M, K)``.
        settings: what must agree between records that a table compares.
    """

    method: str
    run: str
    protocol: str
    head: str
    selected: str
    seed: int | None
    chosen: int
    val_kappa: float
    metrics: dict[str, float]
    grades: np.ndarray
    scores: np.ndarray
    settings: dict[str, Any]

    @property
    def key(self) -> tuple:
        """What no two records of a table share."""
        return self.method, self.run, self.protocol, self.head, self.selected, self.seed

    def to_json(self) -> dict[str, Any]:
        """Plain content; scores keep six digits."""
        scores = np.vectorize(lambda x: float(f"{x:.6g}"))(self.scores).tolist()
        return asdict(self) | {"grades": self.grades.tolist(), "scores": scores}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Record:
        """What `to_json` gave."""
        arrays = {name: np.array(content[name]) for name in ("grades", "scores")}
        return cls(**(content | arrays))
