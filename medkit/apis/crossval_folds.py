"""Folds of a cross-validation: no subject on both sides, classes in like shares.

The division is scikit-learn's `StratifiedGroupKFold`; here its result is asserted, and sets that cannot be divided are
refused with the cure. Needs the extra ``medkit[selfsup]``. Command: ``python tools/crossval.py CONFIG --folds 5``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkit.errors import ConfigError, DatasetError

__all__ = ["UNLABELLED", "Fold", "subject_folds"]

UNLABELLED = -1


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold, sorted; none is in both."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def subject_folds(
    labels: np.ndarray, subjects: np.ndarray, classes: Sequence[str], num_folds: int = 5, seed: int = 0
) -> list[Fold]:
    """Divide subjects so that every one with a label is held out once.

    Args:
        labels: (N,), by scan or bag; `UNLABELLED` ones are only ever trained on, unless their subject has a label too.
        subjects: (N,) names.
        classes: names of the classes.
        num_folds: folds, at least 2.
        seed: of the shuffling.

    Raises:
        ConfigError: fewer than two folds.
        DatasetError: a class has fewer subjects than there are folds, or a fold lacks a class.
    """
    if num_folds < 2:
        raise ConfigError(f"--folds {num_folds}; expected 2 or more")
    labels, subjects = np.asarray(labels), np.asarray(subjects).astype(str)
    _check_classes(labels, subjects, classes, num_folds)
    known = np.flatnonzero(labels != UNLABELLED)
    everyone, folds = set(subjects.tolist()), []
    for test in _divide(labels[known], subjects[known], num_folds, seed):
        held_out = set(subjects[known[test]].tolist())
        folds.append(Fold(tuple(sorted(everyone - held_out)), tuple(sorted(held_out))))
    _assert_disjoint(folds, set(subjects[known].tolist()))
    for number, fold in enumerate(folds):
        for side in ("train", "test"):
            present = set(labels[np.isin(subjects, getattr(fold, side))].tolist())
            lacking = [name for index, name in enumerate(classes) if index not in present]
            if lacking:
                raise DatasetError(
                    f"fold {number} of {num_folds} has no {side} sample of class {lacking[0]!r}, so it cannot be "
                    "scored; take fewer --folds or another --seed"
                )
    return folds


def _divide(labels: np.ndarray, subjects: np.ndarray, num_folds: int, seed: int) -> list[np.ndarray]:
    """Rows held out in each fold."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise ConfigError("cross-validation needs scikit-learn; run `pip install medkit[selfsup]`") from error
    split = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    return [test for _, test in split.split(np.zeros((len(labels), 1)), labels, subjects)]


def _check_classes(labels: np.ndarray, subjects: np.ndarray, classes: Sequence[str], num_folds: int) -> None:
    if len(classes) < 2:
        raise DatasetError(f"the set has {len(classes)} classes; folds are scored against 2 or more")
    for index, name in enumerate(classes):
        count = len(set(subjects[labels == index].tolist()))
        if count < num_folds:
            raise DatasetError(
                f"class {name!r} has {count} subjects, fewer than {num_folds} folds; take --folds {max(count, 2)} or "
                "fewer, or more subjects"
            )


def _assert_disjoint(folds: Sequence[Fold], labelled: set[str]) -> None:
    """No subject on both sides of a fold, each labelled one held out exactly once."""
    for fold in folds:
        assert not set(fold.train) & set(fold.test), "a subject is on both sides of a fold"
    held_out = [subject for fold in folds for subject in fold.test]
    assert len(held_out) == len(set(held_out)) and set(held_out) == labelled, "subjects are not held out once each"
