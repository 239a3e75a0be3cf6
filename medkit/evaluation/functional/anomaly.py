"""Scores of whole images, healthy (0) against anomalous (1): ROC, average precision, cut-offs, intervals by patient.

An image is called anomalous where its score reaches the cut-off. Rules for it (`choose_cutoff`), by what they look at:

- ``validation``: labelled validation images, where sensitivity and specificity are closest (|tpr - (1 - fpr)| smallest,
  the rule of Rahman Siddiquee et al., SASHIMI 2022). The default.
- ``youden``: labelled validation images, largest sensitivity + specificity.
- ``healthy``: healthy validation images alone, their 95 % quantile; needs no diseased image at all.
- ``test``: the first rule on the test images themselves, as the authors' code has it. Optimistic: the labels that judge
  have chosen the cut-off.

AUROC is `grading.auroc`. Used by `medkit.AnomalyMetric` and ``python tools/benchmark_anomaly.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .bootstrap import percentiles
from .grading import auroc
from .resampling import Resampling

__all__ = [
    "ANOMALY_METRICS",
    "CUTOFF_RULES",
    "HEALTHY_QUANTILE",
    "Roc",
    "anomaly_draws",
    "anomaly_intervals",
    "anomaly_metrics",
    "aucp",
    "choose_cutoff",
    "equal_rates_cutoff",
    "healthy_cutoff",
    "rates_at",
    "roc_curve",
    "score_precision",
    "youden_cutoff",
]

ANOMALY_METRICS = ("auroc", "ap", "precision", "recall", "specificity", "f1")
CUTOFF_RULES = ("validation", "youden", "healthy", "test")
HEALTHY_QUANTILE = 0.95
DRAWS_AT_ONCE = 100  # bounds the memory


@dataclass(frozen=True)
class Roc:
    """ROC curve: rates ``(T,)`` of images that reach each threshold ``(T,)``, from infinity down over all scores."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> Roc:
    """ROC curve of labels ``(N,)`` in {0, 1} and scores ``(N,)``; equal scores make one step.

    Raises:
        ValueError: a label is neither 0 nor 1, one kind is missing, or a score is no number.
    """
    labels, scores = _checked(labels, scores)
    if len(set(labels.tolist())) < 2:
        raise ValueError(f"all {len(labels)} labels are {labels[:1]}; a curve needs healthy (0) and anomalous (1) ones")
    order, last = _runs(scores)
    positive = np.cumsum(labels[order])[last]
    negative = last + 1 - positive
    return Roc(
        np.concatenate([[0.0], negative / negative[-1]]),
        np.concatenate([[0.0], positive / positive[-1]]),
        np.concatenate([[np.inf], scores[order][last]]),
    )


def equal_rates_cutoff(labels: np.ndarray, scores: np.ndarray) -> float:
    """The score at which sensitivity and specificity are closest; of equals the highest."""
    roc = roc_curve(labels, scores)
    return float(roc.thresholds[1:][np.argmin(np.abs(roc.tpr[1:] - (1 - roc.fpr[1:])))])


def youden_cutoff(labels: np.ndarray, scores: np.ndarray) -> float:
    """The score of the largest sensitivity + specificity; of equals the highest."""
    roc = roc_curve(labels, scores)
    return float(roc.thresholds[1:][np.argmax(roc.tpr[1:] - roc.fpr[1:])])


def healthy_cutoff(scores: np.ndarray, quantile: float = HEALTHY_QUANTILE) -> float:
    """Smallest number that a share ``quantile`` of healthy scores ``(N,)`` does not exceed, and a hair more.

    The hair: an image counts as anomalous where it reaches the cut-off, and the image at the quantile shall not.
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores) or not 0 < quantile < 1:
        raise ValueError(f"{len(scores)} healthy scores, quantile {quantile}; expected some, and a share in (0, 1)")
    return float(np.nextafter(np.quantile(scores, quantile, method="inverted_cdf"), np.inf))


def choose_cutoff(
    rule: str,
    val: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray],
    quantile: float = HEALTHY_QUANTILE,
) -> float:
    """Cut-off by one of `CUTOFF_RULES`.

    Args:
        rule: which.
        val: labels and scores ``(N,)`` of the validation images; None where there are none.
        test: the same of the test images; only the rule 'test' looks at them.
        quantile: of the rule 'healthy'.

    Raises:
        ValueError: unknown rule, or it needs validation images and there are none.
    """
    if rule not in CUTOFF_RULES:
        raise ValueError(f"cut-off rule {rule!r}; expected one of {', '.join(CUTOFF_RULES)}")
    if rule == "test":
        return equal_rates_cutoff(*test)
    if val is None or not len(val[0]):
        raise ValueError(f"cut-off rule {rule!r} needs validation images and there are none; give some, or take 'test'")
    labels, scores = _checked(*val)
    if rule == "healthy":
        return healthy_cutoff(scores[labels == 0], quantile)
    return (youden_cutoff if rule == "youden" else equal_rates_cutoff)(labels, scores)


def score_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision: the mean of the precision over steps of recall, not interpolated, as scikit-learn has it.

    Args:
        labels: ``(N,)`` in {0, 1}.
        scores: ``(N,)``.
        weights: ``(B, N)`` of the images.

    Returns:
        A scalar, or ``(B,)`` with weights; nan without an anomalous image.
    """
    labels, scores = _checked(labels, scores)
    order, last = _runs(scores)
    heavy = np.ones((1, len(labels))) if weights is None else np.asarray(weights, np.float64)
    called = np.cumsum(heavy[:, order], axis=1)[:, last]  # (B, T)
    found = np.cumsum(heavy[:, order] * labels[order], axis=1)[:, last]
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    steps = np.diff(found, axis=1, prepend=0)
    total = found[:, -1] if len(last) else np.zeros(len(heavy))
    area = np.divide((steps * precision).sum(1), total, out=np.full(len(heavy), np.nan), where=total > 0)
    return area[0] if weights is None else area


def rates_at(
    labels: np.ndarray, scores: np.ndarray, cutoff: float, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Precision, recall (sensitivity), specificity and F1 of ``score >= cutoff``; scalars, or ``(B,)`` with weights.

    Precision is 0 where nothing is called anomalous; a rate over images that are not there is nan.
    """
    labels, scores = _checked(labels, scores)
    heavy = np.ones((1, len(labels))) if weights is None else np.asarray(weights, np.float64)
    called, sick = scores >= cutoff, labels == 1
    true, false, missed, spared = (
        heavy @ part.astype(np.float64) for part in (called & sick, called & ~sick, ~called & sick, ~called & ~sick)
    )  # (B,)
    values = {
        "precision": _share(true, true + false, 0.0),
        "recall": _share(true, true + missed, np.nan),
        "specificity": _share(spared, spared + false, np.nan),
        "f1": _share(2 * true, 2 * true + false + missed, np.nan),
    }
    return {name: value[0] if weights is None else value for name, value in values.items()}


def anomaly_metrics(
    labels: np.ndarray, scores: np.ndarray, cutoff: float, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All of `ANOMALY_METRICS`: scalars, or ``(B,)`` each with weights ``(B, N)`` of the images."""
    ranked = {"auroc": auroc(labels, scores, weights), "ap": score_precision(labels, scores, weights)}
    return ranked | rates_at(labels, scores, cutoff, weights)


def anomaly_draws(
    labels: np.ndarray, scores: np.ndarray, cutoff: float, resampling: Resampling
) -> dict[str, np.ndarray]:
    """`anomaly_metrics` of every draw of patients, ``(B,)`` each; the cut-off stays what it is."""
    parts = [
        anomaly_metrics(labels, scores, cutoff, resampling.weights[at : at + DRAWS_AT_ONCE])
        for at in range(0, resampling.num_draws, DRAWS_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in ANOMALY_METRICS}


def anomaly_intervals(draws: Mapping[str, np.ndarray], level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile interval of each metric of `anomaly_draws`."""
    return {name: percentiles(values, level) for name, values in draws.items()}


def aucp(
    healthy: np.ndarray, mixed: np.ndarray, contamination: float | None = None
) -> tuple[float, str]:
    """AUCp, which needs no label of a diseased image: AUROC of healthy images as 0 against mixed ones as 1.

    With a share p of the mixed images diseased it is about 0.5 + p (AUROC - 0.5), so at most (1 + p) / 2, and orders
    models, or checkpoints of one, as AUROC would. That holds where healthy images of both sets score alike.

    Args:
        healthy: scores ``(N,)`` of known-healthy images (set B).
        mixed: scores ``(M,)`` of the unlabelled mix (set A).
        contamination: share of diseased images in the mix, where it is known.

    Returns:
        The area, nan where it says nothing, and then why; '' otherwise.
    """
    if not len(healthy) or not len(mixed):
        return float("nan"), f"AUCp says nothing: {len(healthy)} healthy and {len(mixed)} mixed images were scored"
    if contamination == 0:
        return float("nan"), "AUCp says nothing: the mixed set is known to hold no anomalous image"
    labels = np.repeat([0, 1], [len(healthy), len(mixed)])
    return float(auroc(labels, np.concatenate([healthy, mixed]))), ""


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape}; give one score (N,) for each label (N,)")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"a label is {labels[~np.isin(labels, (0, 1))][0]}; expected 0 (healthy) or 1 (anomalous)")
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"score {scores[bad]} at {bad} is no number: the training diverged; lower its lr")
    return labels.astype(np.int64), scores


def _runs(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order from the highest score down, and the place ``(T,)`` in it where each run of equal scores ends."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)


def _share(part: np.ndarray, whole: np.ndarray, empty: float) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole > 0)
