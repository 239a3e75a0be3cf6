"""Precision, recall and F1 per class, and the benign / malignant view, from a confusion matrix.

The matrix is ``(C+1, C+1)``; row = truth, column = prediction, index 0 = None, class c = index c+1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BinaryView", "ClassTable", "binary_view", "class_table"]


@dataclass(frozen=True)
class ClassTable:
    """One entry per class ``(C,)``; ``macro_*`` are the plain means over all C classes.

    0/0 counts as 0, so a class without lesions or without predictions pulls the macro mean down. It stays in
    the mean because its false positives are errors too.
    """

    lesions: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    misses: np.ndarray
    over_detections: np.ndarray

    @property
    def macro_precision(self) -> float:
        """Mean precision over the classes."""
        return float(self.precision.mean())

    @property
    def macro_recall(self) -> float:
        """Mean recall over the classes."""
        return float(self.recall.mean())

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes."""
        return float(self.f1.mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def class_table(matrix: np.ndarray) -> ClassTable:
    """Per-class precision, recall, F1, misses and over-detections of a confusion matrix."""
    matrix = np.asarray(matrix)
    hits = np.diagonal(matrix)[1:].astype(np.float64)  # (C,)
    lesions, called = matrix[1:].sum(axis=1), matrix[:, 1:].sum(axis=0)  # (C,) each
    return ClassTable(
        lesions=lesions,
        precision=_ratio(hits, called),
        recall=_ratio(hits, lesions),
        f1=_ratio(2 * hits, lesions + called),
        misses=matrix[1:, 0].copy(),
        over_detections=matrix[0, 1:].copy(),
    )


@dataclass(frozen=True)
class BinaryView:
    """How well 'malignant' is told from 'benign'; nan where there is no lesion to judge by.

    ``*_detected`` look only at lesions that were detected at all. ``*_all`` take every lesion, and a missed
    one was not called malignant: that lowers sensitivity, and counts as a true negative for specificity.
    """

    sensitivity_detected: float
    specificity_detected: float
    sensitivity_all: float
    specificity_all: float


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def binary_view(matrix: np.ndarray, malignant: Sequence[int]) -> BinaryView:
    """Sensitivity and specificity of 'malignant' from a confusion matrix; malignant holds class indices."""
    matrix = np.asarray(matrix)
    is_malignant = np.isin(np.arange(len(matrix) - 1), np.asarray(malignant))  # (C,)
    lesions = matrix[1:]  # (C, C+1)
    called_malignant = lesions[:, 1:][:, is_malignant].sum(axis=1)  # (C,)
    called_benign = lesions[:, 1:][:, ~is_malignant].sum(axis=1)  # (C,)
    missed = lesions[:, 0]
    true_pos, false_neg = called_malignant[is_malignant].sum(), called_benign[is_malignant].sum()
    true_neg, false_pos = called_benign[~is_malignant].sum(), called_malignant[~is_malignant].sum()
    missed_mal, missed_ben = missed[is_malignant].sum(), missed[~is_malignant].sum()
    return BinaryView(
        sensitivity_detected=_share(true_pos, true_pos + false_neg),
        specificity_detected=_share(true_neg, true_neg + false_pos),
        sensitivity_all=_share(true_pos, true_pos + false_neg + missed_mal),
        specificity_all=_share(true_neg + missed_ben, true_neg + missed_ben + false_pos),
    )
