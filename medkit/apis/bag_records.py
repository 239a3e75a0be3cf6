"""What a trained classifier of bags leaves on held-out bags: its predictions, kept in a file, and their scores.

Used by ``python tools/crossval.py`` and ``python tools/benchmark_bags.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from medkit.apis.crossval_run import read_arrays, write_arrays
from medkit.evaluation.bag_predictions import BagPrediction, gathered
from medkit.evaluation.functional.bags import bag_metrics, by_patient, instance_auc
from medkit.evaluation.functional.clustering import majority_rate

__all__ = ["BagFold", "bag_aggregation", "bag_scores", "read_bag_fold", "scores_line", "write_bag_fold"]


@dataclass(frozen=True)
class BagFold:
    """What one fold leaves: the held-out bags, and plain facts (fingerprint, checkpoint, train_seconds, ...)."""

    predictions: tuple[BagPrediction, ...]
    facts: dict


def bag_aggregation(cfg: Config) -> str:
    """As the config's own evaluator has it."""
    found = cfg.get("test_evaluator") or cfg.get("val_evaluator") or {}
    of_bags = [one for one in (found if isinstance(found, list) else [found]) if one.get("type") == "medkit.BagMetric"]
    return of_bags[0].get("aggregation", "mean") if of_bags else "mean"


def bag_scores(predictions: Sequence[BagPrediction], classes: Sequence[str], aggregation: str) -> dict[str, float]:
    """All numbers of a fold; F1 of a class under the class's name."""
    judged = by_patient(gathered(predictions), aggregation)
    named = {f"f1_{number}": f"f1_{name}" for number, name in enumerate(classes)}
    scores = {"patients": float(len(set(judged.cases.tolist()))), "bags": float(len(predictions))}
    scores["majority"] = majority_rate(judged.labels)
    scores |= {named.get(n, n): float(value) for n, value in bag_metrics(judged.labels, judged.scores).items()}
    known = [(one.attention, one.instance_labels) for one in predictions if one.tells_instances]
    if known:
        found = instance_auc(*zip(*known, strict=True))
        scores |= {"instance_auc": found.mean, "instance_auc_pooled": found.pooled}
    return scores


def scores_line(scores: dict[str, float]) -> str:
    """The main numbers in a line."""
    shown = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "f1": "F1", "instance_auc": "instance AUC"}
    return ", ".join(f"{text} {scores[name]:.3f}" for name, text in shown.items() if name in scores)


def write_bag_fold(path: Path, record: BagFold) -> None:
    """Write the record whole, or not at all."""
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


def read_bag_fold(path: Path) -> BagFold | None:
    """What `write_bag_fold` wrote; None where there is no file."""
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
