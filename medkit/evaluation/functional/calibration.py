"""Do scores mean what they say: reliability curve and expected calibration error (Guo et al., ICML 2017, 1706.04599).

For a detector, calibration is that of precision (Küppers et al., CVPR-W 2020, 2004.13546): a score of .7 should be
right 7 times out of 10. Of the lesion-level protocol, each prediction counts once that decides a lesion or touches
nothing; it is *correct* when it decides a lesion of its own class. Predictions that touch a lesion without
deciding it count nowhere, as in the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matching import Matches, PredStatus, Thresholds

__all__ = ["Calibration", "calibration", "calibration_of"]

NUM_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Reliability curve over equal bins of the score.

    Attributes:
        edges: ``(B+1,)`` limits of the bins; a score on a limit belongs to the upper bin, 1 to the last.
        counts: ``(B,)`` predictions in each bin.
        confidence: ``(B,)`` their mean score; nan in an empty bin.
        accuracy: ``(B,)`` the share of them that is correct; nan in an empty bin.
        ece: Mean distance between accuracy and confidence, weighted by the counts; nan without predictions.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def calibration(scores: np.ndarray, correct: np.ndarray, num_bins: int = NUM_BINS) -> Calibration:
    """Reliability of scores ``(n,)`` in [0, 1], given whether each was correct ``(n,)``."""
    scores = np.asarray(scores, np.float64)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    confidence, accuracy = (_means(bins, values, counts) for values in (scores, np.asarray(correct, np.float64)))
    gaps = np.abs(np.nan_to_num(accuracy - confidence)) * counts
    return Calibration(
        edges, counts, confidence, accuracy, float(gaps.sum() / len(scores)) if len(scores) else float("nan")
    )


def calibration_of(matches: Matches, score_thr: Thresholds = 0.0, num_bins: int = NUM_BINS) -> Calibration:
    """Reliability of a detector's predictions at score >= score_thr."""
    status = matches.pred_status(score_thr)
    counted = np.isin(status, (PredStatus.RIGHT, PredStatus.CONFUSED, PredStatus.OVER))
    return calibration(matches.boxes.pred_scores[counted], status[counted] == PredStatus.RIGHT, num_bins)


def _means(bins: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(bins, weights=values, minlength=len(counts))
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
