"""Cross-validation of volume autoencoders: each config is trained once per fold and meets unseen subjects.

Every fold is trained through the same `train` as ``python tools/train.py``; a fold that is done is kept and used
again, one that was killed goes on from its last checkpoint. Several configs are compared on the same folds.
Command: ``python tools/crossval.py CONFIG [CONFIG ...] --folds 5``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

from medkit.apis.crossval_encode import encode_fold
from medkit.apis.crossval_folds import Fold, subject_folds
from medkit.apis.crossval_records import FoldRecord, read_fold, write_fold
from medkit.apis.crossval_run import (
    CrossvalSettings,
    config_names,
    evaluated_dataset,
    fold_config,
    kept_or_made,
    without_validation,
)
from medkit.apis.crossval_scores import fold_scores
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.checks import dataset_configs
from medkit.data.volume_table import VolumeSet
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError
from medkit.registry import DATASETS

__all__ = ["CrossvalResult", "CrossvalSettings", "run_crossval"]


@dataclass(frozen=True)
class CrossvalResult:
    """One config over all folds: its name, the set's classes, what each fold left, and the scores of each fold."""

    name: str
    classes: tuple[str, ...]
    records: tuple[FoldRecord, ...]
    scores: tuple[dict[str, float], ...]


def run_crossval(settings: CrossvalSettings, say: Callable[[str], None] = print) -> list[CrossvalResult]:
    """Train and evaluate whatever is not done yet.

    Raises:
        ConfigError: configs of one name or on different sets, or ``out`` holds results of other settings.
        DatasetError: the set cannot be divided, see `subject_folds`.
        TrainingError, WeightsError: see `medkit.apis.training.train`.
    """
    names = config_names(settings)
    sets = [_volumes(fold_config(settings, path, 0)) for path in settings.configs]
    volumes = sets[0]
    for path, other in zip(settings.configs, sets, strict=True):
        if other.sample_ids() != volumes.sample_ids() or not np.array_equal(other.labels, volumes.labels):
            raise ConfigError(f"{path} reads other volumes or labels than {settings.configs[0]}; compare on one set")
    folds = subject_folds(volumes.labels, volumes.subjects, volumes.classes, settings.folds, settings.seed)
    say(f"{volumes}, {settings.folds} folds by subject")
    results = []
    for name, path in zip(names, settings.configs, strict=True):
        records, scores = [], []
        for number, fold in enumerate(folds):
            record = _fold(settings, path, number, fold, volumes)
            records.append(record)
            scores.append(fold_scores(record, len(volumes.classes), settings.seed))
            say(f"{name}, fold {number}: {_said(scores[-1])}")
        results.append(CrossvalResult(name, volumes.classes, tuple(records), tuple(scores)))
    return results


def _fold(settings: CrossvalSettings, path: str, number: int, fold: Fold, volumes: VolumeSet) -> FoldRecord:
    """Read what is there, or train and evaluate."""
    cfg = fold_config(settings, path, number)
    same = settings_hash(cfg, volumes.sample_ids(), volumes.labels.tolist(), fold)

    def make() -> FoldRecord:
        evaluated = _evaluated(cfg)
        _restrict(cfg, fold.train)
        seconds = train_again(cfg)
        checkpoint = resolve_checkpoint(cfg.work_dir)
        record = encode_fold(cfg, checkpoint, evaluated, fold)
        record.facts.update(train_seconds=seconds, fold=number, checkpoint=checkpoint.name)
        return record

    return kept_or_made(Path(cfg.work_dir) / "fold.npz", same, read_fold, make, write_fold)


def _evaluated(cfg: Config) -> ConfigDict:
    return evaluated_dataset(cfg, "VolumeDataset", "cross-validation of volumes is for configs of autoencoders")


def _volumes(cfg: Config) -> VolumeSet:
    """All volumes that the config's set has, whatever their split."""
    return DATASETS.build(_evaluated(cfg)).volumes


def _restrict(cfg: Config, subjects: Sequence[str]) -> None:
    """Train on these subjects alone, and validate nothing."""
    for dataset in dataset_configs(cfg)["train_dataloader"]:
        dataset.update(split=None, subjects=list(subjects))
    without_validation(cfg)


def _said(scores: dict[str, float]) -> str:
    shown = {"accuracy": "k-means", "majority": "majority", "map": "mAP", "rmse": "RMSE %"}
    return ", ".join(f"{text} {scores[name]:.3f}" for name, text in shown.items())
