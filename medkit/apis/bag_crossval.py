"""Cross-validation of classifiers of bags by patient: every patient is judged once, by a model that never saw them.

Folds are divided by patient with like shares of the classes (`subject_folds`); every fold is trained through the same
`train` as ``python tools/train.py``, without validation, and its last checkpoint is judged. A fold that is done is
kept, one that was killed goes on. Several configs are compared on the same folds.
Command: ``python tools/crossval.py configs/abmil_slides.py [CONFIG ...] --folds 5``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.apis.bag_forward import bag_dataset, bag_model, bag_table, predict_bags
from medkit.apis.bag_records import BagFold, bag_aggregation, bag_scores, read_bag_fold, scores_line, write_bag_fold
from medkit.apis.crossval_folds import Fold, subject_folds
from medkit.apis.crossval_run import (
    CrossvalSettings,
    config_names,
    fold_config,
    kept_or_made,
    without_validation,
)
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.bag_table import BagTable
from medkit.data.checks import dataset_configs
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.bag_predictions import BagPrediction
from medkit.evaluation.functional.bags import BagScores, by_patient

__all__ = ["BagCrossval", "run_bag_crossval"]


@dataclass(frozen=True)
class BagCrossval:
    """One config over all folds: its name, the set's classes, how bags make a patient, folds, scores of each fold."""

    name: str
    classes: tuple[str, ...]
    aggregation: str
    records: tuple[BagFold, ...]
    scores: tuple[dict[str, float], ...]

    def held_out(self) -> list[BagPrediction]:
        """The bags of all folds."""
        return [one for record in self.records for one in record.predictions]


def run_bag_crossval(settings: CrossvalSettings, say: Callable[[str], None] = print) -> list[BagCrossval]:
    """Train and evaluate whatever is not done yet.

    Raises:
        ConfigError: configs of one name, on different bags or with different aggregations, or ``out`` holds results of
            other settings.
        DatasetError: the set cannot be divided, see `subject_folds`, or a patient has two labels.
        TrainingError, WeightsError: see `medkit.apis.training.train`.
    """
    names = config_names(settings)
    configs = [fold_config(settings, path, 0) for path in settings.configs]
    tables = [bag_table(cfg) for cfg in configs]
    bags, aggregation = tables[0], bag_aggregation(configs[0])
    for cfg, other in zip(configs, tables, strict=True):
        if not np.array_equal(other.ids, bags.ids) or not np.array_equal(other.labels, bags.labels):
            raise ConfigError(f"{cfg.filename} reads other bags than {configs[0].filename}; compare on one set")
        if bag_aggregation(cfg) != aggregation:
            raise ConfigError(
                f"{cfg.filename} judges patients by {bag_aggregation(cfg)!r}, {configs[0].filename} by "
                f"{aggregation!r}; set one aggregation of medkit.BagMetric in all"
            )
    _check_patients(bags, aggregation)
    folds = subject_folds(bags.labels, bags.cases, bags.classes, settings.folds, settings.seed)
    say(f"{bags}, {settings.folds} folds by patient")
    results = []
    for name, path in zip(names, settings.configs, strict=True):
        records, scores = [], []
        for number, fold in enumerate(folds):
            records.append(_fold(settings, path, number, fold, bags))
            scores.append(bag_scores(records[-1].predictions, bags.classes, aggregation))
            say(f"{name}, fold {number}: {scores_line(scores[-1])}")
        results.append(BagCrossval(name, tuple(bags.classes), aggregation, tuple(records), tuple(scores)))
    return results


def _check_patients(bags: BagTable, aggregation: str) -> None:
    """Say before any training that patients cannot be judged."""
    try:
        by_patient(BagScores(bags.ids, bags.cases, bags.labels, np.zeros((len(bags), 2))), aggregation)
    except ValueError as error:
        raise DatasetError(f"{error} (aggregation of medkit.BagMetric in val_evaluator and test_evaluator)") from error


def _fold(settings: CrossvalSettings, path: str, number: int, fold: Fold, bags: BagTable) -> BagFold:
    """Read what is there, or train and evaluate."""
    cfg = fold_config(settings, path, number)
    same = settings_hash(cfg, bags.ids.tolist(), bags.cases.tolist(), bags.labels.tolist(), fold)

    def make() -> BagFold:
        trained = copy.deepcopy(cfg)
        for dataset in dataset_configs(trained)["train_dataloader"]:
            dataset.update(split=None, cases=list(fold.train))
        without_validation(trained)
        seconds = train_again(trained)
        checkpoint = resolve_checkpoint(cfg.work_dir)
        held_out = bag_dataset(cfg, cases=list(fold.test))
        found = tuple(predict_bags(bag_model(cfg, checkpoint), cfg, held_out))
        return BagFold(found, dict(train_seconds=seconds, fold=number, checkpoint=checkpoint.name))

    return kept_or_made(Path(cfg.work_dir) / "fold.npz", same, read_bag_fold, make, write_bag_fold)
