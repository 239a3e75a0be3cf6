"""Score thresholds of the lesion-level protocol: one for all classes, or one per class.

The published rule, and the default: the highest macro F1 on the grid 0.00, 0.05, ..., 1.00. Per class: the
highest F1 of that class over the scores that occurred. A curve that is 0 everywhere gives no threshold:
its maximum would be a number that means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import confidence_curves, observed_thresholds
from .matching import LesionEvents
from .matrix import lesion_matrix
from .table import class_table

__all__ = ["SCORE_GRID", "ClassThresholds", "ThresholdChoice", "choose_class_thresholds", "choose_threshold"]

SCORE_GRID = np.arange(21) / 20
TIE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class ThresholdChoice:
    """The chosen threshold with the curve that it was read from.

    ``informative`` is False when macro F1 is 0 at every threshold (no lesion in the set, or none ever named
    rightly): the threshold is then the highest of the grid, which calls the least, and nobody should ship it.
    """

    score_thr: float
    macro_f1: float
    grid: np.ndarray
    curve: np.ndarray
    informative: bool

    def nearby(self, steps: int = 3) -> dict[float, float]:
        """Threshold -> macro F1 for up to ``steps`` neighbours on either side: how sharp the optimum is."""
        best = int(np.flatnonzero(self.grid == self.score_thr)[0])
        around = slice(max(best - steps, 0), best + steps + 1)
        return dict(zip(self.grid[around].tolist(), self.curve[around].tolist(), strict=True))


def choose_threshold(
    events: LesionEvents, num_classes: int, grid: np.ndarray = SCORE_GRID
) -> ThresholdChoice:
    """Threshold of the highest macro F1; among equal ones the highest threshold.

    Args:
        events: Outcome of :func:`match` on the set to choose on (validation, not test).
        num_classes: Number of classes C.
        grid: Thresholds to try, ascending ``(T,)``.
    """
    curve = confidence_curves(events, num_classes, grid).macro_f1  # (T,)
    best = int(np.flatnonzero(curve >= curve.max() - TIE_TOLERANCE)[-1])
    return ThresholdChoice(
        score_thr=float(grid[best]),
        macro_f1=float(curve[best]),
        grid=np.asarray(grid),
        curve=curve,
        informative=bool(curve.max() > 0),
    )


@dataclass(frozen=True)
class ClassThresholds:
    """One threshold per class.

    Attributes:
        score_thrs: ``(C,)``; nan for a class whose F1 is 0 at every threshold (see `applied`).
        f1: ``(C,)`` F1 of each class where all classes have its threshold: the peak of its curve.
        macro_f1: Macro F1 with all the thresholds in force. Predictions compete for a lesion, so it is not the
            mean of ``f1``, and may even be below that of the global threshold.
        nearby: Per class, threshold -> F1 at the threshold and up to .05, .10, .15 to either side.
    """

    score_thrs: np.ndarray
    f1: np.ndarray
    macro_f1: float
    nearby: list[dict[float, float]]

    def applied(self, fallback: float) -> np.ndarray:
        """Thresholds ``(C,)`` to use; ``fallback``, the global one, where a class has none."""
        return np.where(np.isnan(self.score_thrs), fallback, self.score_thrs)


def choose_class_thresholds(events: LesionEvents, num_classes: int, fallback: float) -> ClassThresholds:
    """For each class the threshold of its highest F1 over the observed scores; among equal ones the highest.

    Args:
        events: Outcome of :func:`match` on the set to choose on (validation, not test).
        num_classes: Number of classes C.
        fallback: Threshold of a class whose curve is flat.
    """
    grid = observed_thresholds(events)
    curves = confidence_curves(events, num_classes, grid).f1  # (C, T)
    peaks = curves.max(axis=1, initial=0.0)  # (C,)
    chosen = [
        float(grid[np.flatnonzero(curve >= peak - TIE_TOLERANCE)[-1]]) if peak > 0 else np.nan
        for curve, peak in zip(curves, peaks, strict=True)
    ]
    in_force = [fallback if np.isnan(thr) else thr for thr in chosen]
    return ClassThresholds(
        score_thrs=np.array(chosen),
        f1=peaks,
        macro_f1=class_table(lesion_matrix(events, np.array(in_force), num_classes)).macro_f1,
        nearby=[_nearby(events, num_classes, label, thr) for label, thr in enumerate(chosen)],
    )


def _nearby(events: LesionEvents, num_classes: int, label: int, score_thr: float) -> dict[float, float]:
    if np.isnan(score_thr):
        return {}
    around = np.clip(score_thr + np.arange(-3, 4) * 0.05, 0, 1)
    thresholds = np.unique(around.astype(np.float32))
    return dict(
        zip(thresholds.tolist(), confidence_curves(events, num_classes, thresholds).f1[label].tolist(), strict=True)
    )
