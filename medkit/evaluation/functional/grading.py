"""Grades and diagnoses of whole images: kappa, accuracy, balanced accuracy, AUROC, and intervals by patient.

Kappa is Cohen's (1968) with quadratic weights 1 - (i - j)² / (K - 1)², as papers on retinopathy report it, over the
whole set at once (an average over batches is another number). It equals scikit-learn's `cohen_kappa_score(...,
labels=range(K), weights="quadratic")`. A regressed grade is read by thresholds as in SSiT (Huang et al., JBHI 2024).
Every metric also takes weights of images ``(B, N)``, the draws of a bootstrap, and then gives ``(B,)``.
Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from .bootstrap import percentiles
from .resampling import Resampling

__all__ = [
    "GRADING_METRICS",
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "fit_grade_thresholds",
    "grade_matrix",
    "grading_draws",
    "grading_intervals",
    "grading_metrics",
    "kappa",
    "ordinal_auroc",
    "ordinal_grades",
    "quadratic_kappa",
]

GRADING_METRICS = ("kappa", "accuracy", "balanced_accuracy", "auroc")
DRAWS_AT_ONCE = 100  # bounds the memory


def ordinal_grades(values: np.ndarray, num_classes: int, thresholds: np.ndarray | None = None) -> np.ndarray:
    """Grades of regressed values ``(N,)`` by K - 1 rising thresholds; a value on a threshold has the higher grade.

    Without ``thresholds`` they are 0.5, 1.5, ..., K - 1.5, that is, values are rounded half up and clipped.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"regressed value {values[bad]} at {bad} is no number: the training diverged; lower its lr")
    limits = _middles(num_classes) if thresholds is None else np.asarray(thresholds, np.float64)
    if limits.shape != (num_classes - 1,) or (np.diff(limits) < 0).any():
        raise ValueError(f"thresholds {limits}; expected {num_classes - 1} rising numbers for {num_classes} grades")
    return np.searchsorted(limits, values, side="right")


def fit_grade_thresholds(labels: np.ndarray, values: np.ndarray, num_classes: int) -> np.ndarray:
    """Thresholds ``(K - 1,)`` for `ordinal_grades` with the highest quadratic kappa that Nelder-Mead finds.

    It starts from 0.5, 1.5, ..., as the second place of the Kaggle challenge PANDA did, and, since kappa is flat almost
    everywhere, also from the thresholds that give each grade as often as the truth has it; never worse than either.
    Kappa on the images that they were fitted to is flattered: fit on validation, report on test.

    Args:
        labels: ``(N,)`` true grades in 0..K-1.
        values: ``(N,)`` regressed values.
        num_classes: K.
    """
    labels = _indices(labels, num_classes, "labels")
    if len(np.unique(labels)) < 2:
        raise ValueError("all labels are the same grade, so kappa has no value; fit on images of several grades")

    def cost(thresholds: np.ndarray) -> float:
        return -quadratic_kappa(labels, ordinal_grades(values, num_classes, np.sort(thresholds)), num_classes)

    shares = np.cumsum(np.bincount(labels, minlength=num_classes))[:-1] / len(labels)  # of grades up to 0, 1, ...
    starts = [_middles(num_classes), np.quantile(np.asarray(values, np.float64), shares)]
    found = []
    for start in starts:
        simplex = np.vstack([start, start + 0.25 * np.eye(num_classes - 1)])  # SciPy's own steps of 5 % pass few values
        found.append(minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": simplex}).x)
    return np.sort(min([*starts, *found], key=cost))  # the first of equals, so 0.5, 1.5, ... where nothing is better


def _middles(num_classes: int) -> np.ndarray:
    return np.arange(1, num_classes) - 0.5


def grade_matrix(
    labels: np.ndarray, grades: np.ndarray, num_classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Counts ``(K, K)``, rows the truth, columns the grades given; with weights ``(B, N)`` it is ``(B, K, K)``."""
    labels, grades = (_indices(x, num_classes, name) for x, name in ((labels, "labels"), (grades, "grades")))
    if labels.shape != grades.shape:
        raise ValueError(f"{len(labels)} labels and {len(grades)} grades; give one grade for each label")
    cells = labels * num_classes + grades  # (N,)
    if weights is None:
        return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    one_hot = cells[:, None] == np.arange(num_classes**2)  # (N, K²)
    return (np.asarray(weights, np.float64) @ one_hot).reshape(-1, num_classes, num_classes)


def kappa(matrix: np.ndarray, *, quadratic: bool = True) -> np.ndarray:
    """Cohen's kappa of counts ``(..., K, K)``; nan where agreement by chance is certain (one class only).

    Args:
        matrix: counts, rows the truth.
        quadratic: a disagreement weighs by the square of its distance; else every one the same, for classes
            without an order.
    """
    matrix = np.asarray(matrix, np.float64)
    steps = np.arange(matrix.shape[-1])
    cost = np.square(steps[:, None] - steps) if quadratic else (steps[:, None] != steps)  # (K, K)
    total = matrix.sum((-2, -1))
    by_chance = matrix.sum(-1)[..., :, None] * matrix.sum(-2)[..., None, :]  # (..., K, K), times the total
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - total * (matrix * cost).sum((-2, -1)) / (by_chance * cost).sum((-2, -1))


def quadratic_kappa(labels: np.ndarray, grades: np.ndarray, num_classes: int) -> float:
    """Quadratic weighted kappa of grades ``(N,)`` in 0..K-1 over the whole set."""
    return float(kappa(grade_matrix(labels, grades, num_classes)))


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Share of images graded rightly, of counts ``(..., K, K)``."""
    with np.errstate(invalid="ignore"):
        return np.trace(matrix, axis1=-2, axis2=-1) / np.asarray(matrix).sum((-2, -1))


def balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that the truth holds, of counts ``(..., K, K)``, rows the truth."""
    matrix = np.asarray(matrix, np.float64)
    support = matrix.sum(-1)  # (..., K)
    recall = np.diagonal(matrix, axis1=-2, axis2=-1) / np.where(support > 0, support, 1)  # 0 for an absent class,
    with np.errstate(invalid="ignore"):
        return recall.sum(-1) / (support > 0).sum(-1)  # which the mean leaves out


def auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve; equal scores count half.

    Args:
        labels: ``(N,)`` classes from 0.
        scores: ``(N,)`` of class 1, with labels 0 and 1; or ``(N, K)``, each class against the rest, and the mean over
            the classes that are present.
        weights: ``(B, N)`` of the images.

    Returns:
        A scalar, or ``(B,)`` with weights; nan where one class only is present.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if scores.ndim == 1:
        _indices(labels, 2, "labels")
        return _mean([_area(labels == 1, scores, weights)], weights)
    _indices(labels, scores.shape[1], "labels")
    return _mean([_area(labels == k, scores[:, k], weights) for k in range(scores.shape[1])], weights)


def ordinal_auroc(
    labels: np.ndarray, values: np.ndarray, num_classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """AUROC of one regressed value ``(N,)``: of 'grade k or higher' for k = 1..K-1, the mean over those with both."""
    labels = _indices(labels, num_classes, "labels")
    values = np.asarray(values, np.float64)
    return _mean([_area(labels >= k, values, weights) for k in range(1, num_classes)], weights)


def grading_metrics(
    labels: np.ndarray,
    grades: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    *,
    ordinal: bool = True,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All of `GRADING_METRICS`: scalars, or ``(B,)`` each with weights.

    Args:
        labels: ``(N,)`` truth in 0..K-1.
        grades: ``(N,)`` classes given.
        scores: ``(N, K)`` of the classes, or ``(N,)`` regressed values (`ordinal_auroc`).
        num_classes: K.
        ordinal: the classes have an order, so kappa is quadratic.
        weights: ``(B, N)`` of the images.
    """
    matrix = grade_matrix(labels, grades, num_classes, weights)
    regressed = np.ndim(scores) == 1
    ranked = ordinal_auroc(labels, scores, num_classes, weights) if regressed else auroc(labels, scores, weights)
    values = (kappa(matrix, quadratic=ordinal), accuracy(matrix), balanced_accuracy(matrix), ranked)
    return dict(zip(GRADING_METRICS, values, strict=True))


def grading_draws(
    labels: np.ndarray,
    grades: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    resampling: Resampling,
    *,
    ordinal: bool = True,
) -> dict[str, np.ndarray]:
    """`grading_metrics` of every draw, ``(B,)`` each; nan where a draw holds one class only."""
    starts = range(0, resampling.num_draws, DRAWS_AT_ONCE)
    parts = [
        grading_metrics(
            labels, grades, scores, num_classes, ordinal=ordinal, weights=resampling.weights[i : i + DRAWS_AT_ONCE]
        )
        for i in starts
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in GRADING_METRICS}


def grading_intervals(draws: Mapping[str, np.ndarray], level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile interval of each metric of `grading_draws`."""
    return {name: percentiles(values, level) for name, values in draws.items()}


def _indices(values: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    wrong = (values < 0) | (values >= num_classes) | (values != np.floor(values))
    if wrong.any():
        raise ValueError(f"{name} hold {values[wrong][0]}; they must be whole numbers from 0 to {num_classes - 1}")
    return values.astype(np.int64)


def _area(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """``(B,)`` share of pairs of a positive and a negative that the score orders rightly, ties as half."""
    order = np.argsort(scores, kind="stable")
    weights = np.ones((1, len(scores))) if weights is None else np.asarray(weights, np.float64)
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of runs of equal scores
    above, below = (
        np.add.reduceat(weights[:, order] * side[order], starts, axis=1) for side in (positive, ~positive)
    )  # (B, runs)
    lower = np.cumsum(below, axis=1) - below  # negatives with a lower score
    pairs = above.sum(1) * below.sum(1)
    with np.errstate(invalid="ignore"):
        return (above * (lower + below / 2)).sum(1) / pairs


def _mean(areas: list[np.ndarray], weights: np.ndarray | None) -> np.ndarray:
    """Mean over classes without the nan of absent ones: ``(B,)``, a scalar where no weights were given."""
    stacked = np.stack(areas)  # (K, B)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, stacked, 0).sum(0) / known.sum(0)
    return mean[0] if weights is None else mean
