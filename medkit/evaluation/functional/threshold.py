"""The score threshold of the lesion-level protocol: highest macro F1 on the grid 0.00, 0.05, ..., 1.00."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import LesionEvents, lesion_matrix
from .table import class_table

__all__ = ["SCORE_GRID", "ThresholdChoice", "choose_threshold"]

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


def choose_threshold(
    events: LesionEvents, num_classes: int, grid: np.ndarray = SCORE_GRID
) -> ThresholdChoice:
    """Threshold of the highest macro F1; among equal ones the highest threshold.

    Args:
        events: Outcome of :func:`lesion_events` on the set to choose on (validation, not test).
        num_classes: Number of classes C.
        grid: Thresholds to try, ascending ``(T,)``.
    """
    curve = np.array([class_table(lesion_matrix(events, thr, num_classes)).macro_f1 for thr in grid])  # (T,)
    best = int(np.flatnonzero(curve >= curve.max() - TIE_TOLERANCE)[-1])
    return ThresholdChoice(
        score_thr=float(grid[best]),
        macro_f1=float(curve[best]),
        grid=np.asarray(grid),
        curve=curve,
        informative=bool(curve.max() > 0),
    )
