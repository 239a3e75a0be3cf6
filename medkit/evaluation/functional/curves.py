"""Curves of the lesion-level protocol over the observed scores: precision, recall and F1 by threshold, and FROC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import LesionEvents

__all__ = ["FROC_RATES", "ConfidenceCurves", "Froc", "confidence_curves", "froc", "observed_thresholds"]

FROC_RATES = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])  # false positives per image
MAX_BETWEEN = 500  # further points of a curve, between those where a lesion is gained


@dataclass(frozen=True)
class ConfidenceCurves:
    """Precision, recall and F1 ``(C, T)`` of each class at each threshold ``(T,)``, ascending; 0/0 is 0.

    The threshold is one for all classes. ``macro_*`` are means over the classes ``(T,)``.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def macro_precision(self) -> np.ndarray:
        """Mean precision ``(T,)``."""
        return self.precision.mean(axis=0)

    @property
    def macro_recall(self) -> np.ndarray:
        """Mean recall ``(T,)``."""
        return self.recall.mean(axis=0)

    @property
    def macro_f1(self) -> np.ndarray:
        """Mean F1 ``(T,)``."""
        return self.f1.mean(axis=0)


def observed_thresholds(events: LesionEvents) -> np.ndarray:
    """Scores to draw a curve over, ascending float32 ``(T,)``.

    Every score at which a lesion is found, so no optimum is missed (between two of them only false positives
    are added), and up to 500 quantiles of the over-detections' scores, for the shape in between.
    """
    found = events.lesion_scores[np.isfinite(events.lesion_scores)]
    over = np.unique(events.over_scores)
    if len(over) > MAX_BETWEEN:
        over = over[np.linspace(0, len(over) - 1, MAX_BETWEEN).round().astype(int)]
    return np.unique(np.concatenate([found, over]).astype(np.float32))


def confidence_curves(
    events: LesionEvents, num_classes: int, thresholds: np.ndarray | None = None
) -> ConfidenceCurves:
    """Precision, recall and F1 per class over thresholds; default those of `observed_thresholds`."""
    thr = observed_thresholds(events) if thresholds is None else np.sort(np.asarray(thresholds, np.float32))
    rows = []
    for label in range(num_classes):
        called = events.lesion_preds == label
        hits = _at_least(events.lesion_scores[called & (events.lesion_labels == label)], thr)  # (T,)
        over = _at_least(events.over_scores[events.over_labels == label], thr)
        calls = _at_least(events.lesion_scores[called], thr) + over
        lesions = np.full(len(thr), np.count_nonzero(events.lesion_labels == label))
        rows.append([_share(hits, calls), _share(hits, lesions), _share(2 * hits, lesions + calls)])
    table = np.array(rows).reshape(num_classes, 3, len(thr))
    return ConfidenceCurves(thr, table[:, 0], table[:, 1], table[:, 2])


def _at_least(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many scores reach each threshold ``(T,)``."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


@dataclass(frozen=True)
class Froc:
    """Free-response ROC, lesion-level protocol (Bunch et al., 1978; the seven rates are LUNA16's).

    A lesion is found when any prediction, of whatever class, touches it; further ones on the same lesion count
    nowhere. False positives are the predictions of all classes that touch no lesion. Rates are per image, normal
    images included. A sensitivity is the highest that a threshold reaches within a rate, without interpolation.

    Attributes:
        rates: ``(7,)`` false positives per image.
        sensitivity: ``(7,)`` share of the lesions found; nan without lesions.
        class_sensitivity: ``(C, 7)`` the same for the lesions of each true class.
        named_sensitivity: ``(7,)`` share of the lesions found and named rightly.
        mean: Mean of the seven ``sensitivity``.
        curve_rates: ``(n,)`` ascending, for a plot.
        curve_sensitivity: ``(n,)``.
    """

    rates: np.ndarray
    sensitivity: np.ndarray
    class_sensitivity: np.ndarray
    named_sensitivity: np.ndarray
    mean: float
    curve_rates: np.ndarray
    curve_sensitivity: np.ndarray


def froc(events: LesionEvents, num_images: int, num_classes: int, rates: np.ndarray = FROC_RATES) -> Froc:
    """Sensitivity at given numbers of false positives per image, and the whole curve."""
    over = np.sort(events.over_scores)[::-1]
    allowed = np.floor(np.asarray(rates) * num_images + 1e-9).astype(int)
    bars = np.array([over[n] if n < len(over) else -np.inf for n in allowed], np.float32)  # scores must be above
    scores, labels = events.lesion_scores, events.lesion_labels
    named = np.where(events.lesion_preds == labels, scores, -np.inf)
    sensitivity = _above(scores, bars)
    found = np.unique(scores[np.isfinite(scores)])[::-1]  # thresholds at which the curve rises
    return Froc(
        rates=np.asarray(rates, float),
        sensitivity=sensitivity,
        class_sensitivity=np.array([_above(scores[labels == c], bars) for c in range(num_classes)]),
        named_sensitivity=_above(named, bars),
        mean=float(sensitivity.mean()),
        curve_rates=_at_least(over, found) / max(num_images, 1),
        curve_sensitivity=_at_least(scores, found) / max(len(scores), 1),
    )


def _above(scores: np.ndarray, bars: np.ndarray) -> np.ndarray:
    """Share of the scores above each bar; nan without scores."""
    return np.mean(scores[:, None] > bars, axis=0) if len(scores) else np.full(len(bars), np.nan)
