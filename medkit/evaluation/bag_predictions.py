"""What a classifier of bags predicted, bag by bag: read from its data samples, gathered for the metrics, as a csv.

Used by `medkit.BagMetric`, ``python tools/crossval.py`` and ``python tools/heatmap.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.functional.bags import BagScores
from medkit.evaluation.tables import write_csv

__all__ = ["BagPrediction", "bag_prediction", "gathered", "write_bag_predictions"]

UNLABELLED = -1


@dataclass(frozen=True)
class BagPrediction:
    """One bag.

    Attributes:
        slide_id: the bag's name.
        case_id: its patient; the bag's name where none is known.
        label: 0..C-1, -1 unlabelled.
        scores: ``(C,)`` float64 probabilities.
        attention: ``(K,)`` float32; None where the head has none.
        instance_labels: ``(K,)`` int8: 1, 0 or -1 (unknown); None where there are none.
    """

    slide_id: str
    case_id: str
    label: int
    scores: np.ndarray
    attention: np.ndarray | None = None
    instance_labels: np.ndarray | None = None

    @property
    def tells_instances(self) -> bool:
        """Whether attention can be held against a truth."""
        return self.attention is not None and self.instance_labels is not None


def bag_prediction(sample: Mapping[str, Any]) -> BagPrediction:
    """Read a predicted data sample, as the dictionary that mmengine's evaluator makes of it.

    Raises:
        ConfigError: it is of another model, or of another number of instances than its labels.
        MedkitError: a probability or an attention is NaN or infinite.
    """
    score = sample.get("pred_score")
    if score is None or np.ndim(_array(score)) != 1 or "slide_id" not in sample:
        raise ConfigError(
            f"a data sample has pred_score={score!r} and slide_id={sample.get('slide_id')!r}; expected probabilities "
            "(C,) of a bag: bags are judged for medkit.BagClassifier and medkit.ImageBagClassifier alone"
        )
    name = str(sample["slide_id"])
    attention, truth = _array(sample.get("attention")), _one_column(_array(sample.get("instance_labels")))
    if attention is not None and truth is not None and attention.shape != truth.shape:
        raise ConfigError(
            f"{name}: attention {attention.shape} and instance_labels {truth.shape}; expected one of each per instance"
        )
    scores = _array(score).astype(np.float64)
    if not np.isfinite(scores).all() or not (attention is None or np.isfinite(attention).all()):
        raise MedkitError(
            f"{name}: NaN or infinity in the prediction, so the weights are spoilt; go back to an earlier checkpoint "
            "and lower the learning rate"
        )
    return BagPrediction(
        name,
        str(sample.get("case_id") or name),
        int(sample.get("gt_label", UNLABELLED)),
        scores,
        None if attention is None else attention.astype(np.float32),
        None if truth is None else truth.astype(np.int8),
    )


def gathered(predictions: Sequence[BagPrediction]) -> BagScores:
    """The labelled bags as arrays.

    Raises:
        ConfigError: none is labelled, or a label is of no class.
    """
    known = [one for one in predictions if one.label != UNLABELLED]
    if not known:
        raise ConfigError(f"none of the {len(predictions)} bags has a label; name a split with labels")
    labels, scores = np.array([one.label for one in known], np.int64), np.stack([one.scores for one in known])
    if labels.max() >= scores.shape[1]:
        raise ConfigError(
            f"{known[labels.argmax()].slide_id} has the label {labels.max()}, but the model tells {scores.shape[1]} "
            "classes apart; set num_classes of the head to that of the data set"
        )
    names, cases = (np.array([getattr(one, key) for one in known], dtype=str) for key in ("slide_id", "case_id"))
    return BagScores(names, cases, labels, scores)


def write_bag_predictions(
    path: str | Path,
    predictions: Sequence[BagPrediction],
    classes: Sequence[str],
    more: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Write slide_id, case_id, label, predicted and the probability of each class; ``more`` columns come first."""
    path, more = Path(path), more or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [*more, "slide_id", "case_id", "label", "predicted", *(f"probability_{name}" for name in classes)]
    rows = []
    for number, one in enumerate(predictions):
        label = "" if one.label == UNLABELLED else classes[one.label]
        named = [one.slide_id, one.case_id, label, classes[int(one.scores.argmax())]]
        rows.append([*(column[number] for column in more.values()), *named, *(f"{p:.6g}" for p in one.scores)])
    return write_csv(path, [head, *rows])


def _one_column(truth: Any) -> Any:
    """(K,) of (K,) or, where instances have several labels, (K, C): positive in any, negative in all, or unknown."""
    if truth is None or truth.ndim != 2:
        return truth
    return np.where((truth == 1).any(axis=1), 1, np.where((truth < 0).any(axis=1), -1, 0))


def _array(value: Any) -> Any:
    """An array of a tensor or an array; None of None."""
    if value is None:
        return None
    return value.detach().float().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
