"""Cross-validation of classifiers of bags by patient: every patient is judged once, by a model that never saw them.

Folds are divided by patient with like shares of the classes (`subject_folds`); every fold is trained through the same
`train` as ``python tools/train.py``, without validation, and its last checkpoint is judged. A fold that is done is
kept, one that was killed goes on. Several configs are compared on the same folds.
Command: ``python tools/crossval.py configs/abmil_slides.py [CONFIG ...] --folds 5``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from medkit.apis.bag_forward import bag_dataset, bag_model, bag_table, predict_bags
from medkit.apis.crossval_folds import Fold, subject_folds
from medkit.apis.crossval_run import (
    CrossvalSettings,
    config_names,
    fold_config,
    kept_or_made,
    read_arrays,
    without_validation,
    write_arrays,
)
from medkit.apis.repeated import settings_hash, train_again
from medkit.data.bag_table import BagTable
from medkit.data.checks import dataset_configs
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.errors import ConfigError
from medkit.evaluation.bag_predictions import BagPrediction, gathered
from medkit.evaluation.functional.bags import bag_metrics, by_patient, instance_auc
from medkit.evaluation.functional.clustering import majority_rate

__all__ = ["BagCrossval", "BagFold", "run_bag_crossval"]


@dataclass(frozen=True)
class BagFold:
    """What one fold leaves: the held-out bags, and plain facts (fingerprint, checkpoint, train_seconds, ...)."""

    predictions: tuple[BagPrediction, ...]
    facts: dict


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
        DatasetError: the set cannot be divided, see `subject_folds`.
        TrainingError, WeightsError: see `medkit.apis.training.train`.
    """
    names = config_names(settings)
    configs = [fold_config(settings, path, 0) for path in settings.configs]
    tables = [bag_table(cfg) for cfg in configs]
    bags, aggregation = tables[0], _aggregation(configs[0])
    for cfg, other in zip(configs, tables, strict=True):
        if not np.array_equal(other.ids, bags.ids) or not np.array_equal(other.labels, bags.labels):
            raise ConfigError(f"{cfg.filename} reads other bags than {configs[0].filename}; compare on one set")
        if _aggregation(cfg) != aggregation:
            raise ConfigError(
                f"{cfg.filename} judges patients by {_aggregation(cfg)!r}, {configs[0].filename} by {aggregation!r}; "
                "set one aggregation of medkit.BagMetric in all"
            )
    folds = subject_folds(bags.labels, bags.cases, bags.classes, settings.folds, settings.seed)
    say(f"{bags}, {settings.folds} folds by patient")
    results = []
    for name, path in zip(names, settings.configs, strict=True):
        records, scores = [], []
        for number, fold in enumerate(folds):
            records.append(_fold(settings, path, number, fold, bags))
            scores.append(_scores(records[-1].predictions, bags.classes, aggregation))
            say(f"{name}, fold {number}: {_said(scores[-1])}")
        results.append(BagCrossval(name, tuple(bags.classes), aggregation, tuple(records), tuple(scores)))
    return results


def _aggregation(cfg: Config) -> str:
    """As the config's own evaluator has it."""
    found = cfg.get("test_evaluator") or cfg.get("val_evaluator") or {}
    of_bags = [one for one in (found if isinstance(found, list) else [found]) if one.get("type") == "medkit.BagMetric"]
    return of_bags[0].get("aggregation", "mean") if of_bags else "mean"


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

    return kept_or_made(Path(cfg.work_dir) / "fold.npz", same, _read, make, _write)


def _scores(predictions: Sequence[BagPrediction], classes: Sequence[str], aggregation: str) -> dict[str, float]:
    """All numbers of a fold; F1 of a class under the class's name."""
    judged = by_patient(gathered(predictions), aggregation)
    named = {f"f1_{number}": f"f1_{name}" for number, name in enumerate(classes)}
    scores = {"patients": float(len(set(judged.cases.tolist()))), "bags": float(len(predictions))}
    scores["majority"] = majority_rate(judged.labels)
    scores |= {named.get(n, n): float(value) for n, value in bag_metrics(judged.labels, judged.scores).items()}
    told = [(one.attention, one.instance_labels) for one in predictions if one.tells_instances]
    if told:
        found = instance_auc(*zip(*told, strict=True))
        scores |= {"instance_auc": found.mean, "instance_auc_pooled": found.pooled}
    return scores


def _said(scores: dict[str, float]) -> str:
    shown = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "f1": "F1", "instance_auc": "instance AUC"}
    return ", ".join(f"{text} {scores[name]:.3f}" for name, text in shown.items() if name in scores)


def _write(path: Path, record: BagFold) -> None:
    found = record.predictions
    arrays = {
        "slide_ids": np.array([one.slide_id for one in found], dtype=str),
        "case_ids": np.array([one.case_id for one in found], dtype=str),
        "labels": np.array([one.label for one in found], np.int64),
        "scores": np.stack([one.scores for one in found]),
    }
    for name in ("attention", "instance_labels"):  # one after another; a length of -1: the bag has none
        parts = [getattr(one, name) for one in found]
        arrays[name] = np.concatenate([np.zeros(0), *(part for part in parts if part is not None)]).astype(
            np.float32 if name == "attention" else np.int8
        )
        arrays[f"{name}_lengths"] = np.array([-1 if part is None else len(part) for part in parts], np.int64)
    write_arrays(path, record.facts, arrays)


def _read(path: Path) -> BagFold | None:
    return read_arrays(path, _built)


def _built(facts: dict, arrays: dict[str, np.ndarray]) -> BagFold:
    parts = {}
    for name in ("attention", "instance_labels"):
        lengths = arrays[f"{name}_lengths"]
        pieces = np.split(arrays[name], np.cumsum(np.maximum(lengths, 0))[:-1])
        parts[name] = [None if length < 0 else piece for length, piece in zip(lengths, pieces, strict=True)]
    rows = zip(arrays["slide_ids"], arrays["case_ids"], arrays["labels"], arrays["scores"], strict=True)
    return BagFold(
        tuple(
            BagPrediction(str(slide), str(case), int(label), scores, attention, truth)
            for (slide, case, label, scores), attention, truth in zip(rows, *parts.values(), strict=True)
        ),
        facts,
    )
