"""Bags, such as slides, judged by patient: AUROC, F1, intervals, and whether attention finds the right instances.

Several bags of one patient are one piece of evidence: their probabilities become one row, and a bootstrap draws
patients. AUROC, accuracy and balanced accuracy are those of `grading`. Instance AUC is the localisation score of
Ilse et al., ICML 2018, section 4: AUROC of attention against the instances' own labels.
Used by `medkit.BagMetric` and ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import Bootstrap
from .grading import accuracy, auroc, balanced_accuracy, grade_matrix, kappa
from .resampling import resample

__all__ = [
    "AGGREGATIONS",
    "BAG_METRICS",
    "BagScores",
    "InstanceAuc",
    "bag_bootstrap",
    "bag_metrics",
    "by_patient",
    "class_auroc",
    "class_f1",
    "instance_auc",
]

AGGREGATIONS = ("mean", "max", "none")
BAG_METRICS = ("auroc", "balanced_accuracy", "f1", "accuracy")
DRAWS_AT_ONCE = 100  # bounds the memory


@dataclass(frozen=True)
class BagScores:
    """What a model says of N bags, or of N patients.

    Attributes:
        ids: ``(N,)`` str, the bags; of patients their names.
        cases: ``(N,)`` str, the patient of each.
        labels: ``(N,)`` int64 in 0..C-1.
        scores: ``(N, C)`` probabilities, C >= 2.
    """

    ids: np.ndarray
    cases: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("ids", "cases", "labels", "scores")}
        if len(set(lengths.values())) > 1 or self.scores.ndim != 2 or self.scores.shape[1] < 2:
            raise ValueError(f"{lengths}, scores {self.scores.shape}; expected one row (N, C >= 2) for each bag")
        if not np.isfinite(self.scores).all():
            row = int(np.flatnonzero(~np.isfinite(self.scores).all(axis=1))[0])
            raise ValueError(f"the scores of {self.ids[row]} are {self.scores[row]}: training diverged; lower its lr")

    def take(self, rows: np.ndarray) -> BagScores:
        """Some of the bags."""
        return BagScores(self.ids[rows], self.cases[rows], self.labels[rows], self.scores[rows])


def by_patient(bags: BagScores, how: str = "mean") -> BagScores:
    """One row for each patient, in the order of their names.

    Args:
        bags: N bags.
        how: 'mean' of the probabilities; 'max': the bag with the lowest probability of class 0 speaks for the patient,
            which with two classes is the highest probability of class 1; 'none' leaves the bags as they are.

    Raises:
        ValueError: unknown ``how``, or a patient whose bags have different labels, which has no label of its own.
    """
    if how not in AGGREGATIONS:
        raise ValueError(f"bags of a patient are combined by {how!r}; expected one of {', '.join(AGGREGATIONS)}")
    if how == "none":
        return bags
    names, first, rows = np.unique(bags.cases, return_index=True, return_inverse=True)
    labels = bags.labels[first]  # (P,)
    if (torn := np.flatnonzero(labels[rows] != bags.labels)).size:
        raise ValueError(
            f"the bags of patient {bags.cases[torn[0]]} have different labels ({bags.ids[torn[0]]} has another than "
            "the first), so the patient has none; mend the table, or judge bag by bag with 'none'"
        )
    if how == "max":
        order = np.lexsort((bags.scores[:, 0], rows))  # by patient, the lowest probability of class 0 first
        scores = bags.scores[order[np.searchsorted(rows[order], np.arange(len(names)))]]
    else:
        scores = np.zeros((len(names), bags.scores.shape[1]))
        np.add.at(scores, rows, bags.scores)
        scores /= np.bincount(rows)[:, None]
    return BagScores(names, names, labels, scores)


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """F1 ``(..., K)`` of each class, of counts ``(..., K, K)``; nan for a class neither true nor named anywhere."""
    matrix = np.asarray(matrix, np.float64)
    hits, seen = np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1) + matrix.sum(-2)
    return np.divide(2 * hits, seen, out=np.full(hits.shape, np.nan), where=seen > 0)


def class_auroc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC ``(C,)`` of each class against the rest; nan for a class that no label, or every label, is of."""
    return np.array([float(auroc((labels == c).astype(int), scores[:, c])) for c in range(scores.shape[1])])


def bag_metrics(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, *, ordinal: bool = False
) -> dict[str, np.ndarray]:
    """`BAG_METRICS` and ``f1_0``, ``f1_1``, ...: scalars, or ``(B,)`` each with weights; of grades ``kappa`` too.

    AUROC is that of class 1 with two classes, else each class against the rest, the mean over the classes that have
    one (`class_auroc`); nan where none has. Macro F1 is the mean over the classes that are true or named, as
    scikit-learn takes it.

    Args:
        labels: ``(N,)`` in 0..C-1.
        scores: ``(N, C)`` probabilities; the highest names the class.
        weights: ``(B, N)`` of the rows.
        ordinal: the classes have an order: quadratic weighted ``kappa``.
    """
    num_classes = scores.shape[1]
    matrix = grade_matrix(labels, scores.argmax(axis=1), num_classes, weights)
    f1 = class_f1(matrix)  # (K,) or (B, K)
    known = ~np.isnan(f1)
    macro = np.where(known, f1, 0).sum(-1) / np.maximum(known.sum(-1), 1)
    ranked = auroc(labels, scores[:, 1] if num_classes == 2 else scores, weights)
    values = (ranked, balanced_accuracy(matrix), macro, accuracy(matrix))
    found = dict(zip(BAG_METRICS, values, strict=True)) | {f"f1_{c}": f1[..., c] for c in range(num_classes)}
    return found | ({"kappa": kappa(matrix)} if ordinal else {})


def bag_bootstrap(judged: BagScores, num_draws: int = 1000, seed: int = 0, *, ordinal: bool = False) -> Bootstrap:
    """`bag_metrics` with draws of patients; two models on the same bags are compared with `bootstrap.compare`."""
    taken = resample(judged.cases.tolist(), len(judged.ids), num_draws, seed)
    whole = bag_metrics(judged.labels, judged.scores, ordinal=ordinal)
    estimates = {name: float(value) for name, value in whole.items()}
    parts = [
        bag_metrics(judged.labels, judged.scores, taken.weights[at : at + DRAWS_AT_ONCE], ordinal=ordinal)
        for at in range(0, num_draws, DRAWS_AT_ONCE)
    ]
    return Bootstrap(estimates, {n: np.concatenate([part[n] for part in parts]) for n in estimates}, taken)


@dataclass(frozen=True)
class InstanceAuc:
    """How well attention tells positive instances from negative ones.

    Attributes:
        mean: Over the bags that hold both kinds; nan without one.
        pooled: Over the instances of all bags together, each bag's attention times its number of instances, so that 1
            is an even share in bags of any size; nan where one kind is missing.
        num_bags: How many bags ``mean`` is of.
    """

    mean: float
    pooled: float
    num_bags: int


def instance_auc(attention: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> InstanceAuc:
    """AUROC of attention ``(K,)`` against instance labels ``(K,)`` (1, 0; -1 unknown: left out) of each bag."""
    areas, shares, truths = [], [], []
    for number, (weight, truth) in enumerate(zip(attention, labels, strict=True)):
        weight, truth = np.asarray(weight, np.float64), np.asarray(truth)
        if weight.shape != truth.shape or weight.ndim != 1:
            raise ValueError(f"bag {number}: attention {weight.shape} and instance labels {truth.shape}; expected (K,)")
        known = truth >= 0
        shares.append(weight[known] * len(weight))
        truths.append(truth[known])
        areas.append(float(auroc(truths[-1], shares[-1])) if known.any() else np.nan)
    found = np.array(areas)[~np.isnan(areas)] if areas else np.zeros(0)
    together = np.concatenate(truths) if truths else np.zeros(0, int)
    pooled = float(auroc(together, np.concatenate(shares))) if len(together) else float("nan")
    return InstanceAuc(float(found.mean()) if len(found) else float("nan"), pooled, len(found))
