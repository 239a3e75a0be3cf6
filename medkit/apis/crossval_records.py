"""What a fold of a cross-validation leaves: codes of training and held-out scans, errors, some pictures; as one file.

Scores are computed from it anew each time, so another metric needs no other training. Used by
``python tools/crossval.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.apis.crossval_run import read_arrays, write_arrays
from medkit.errors import DatasetError

__all__ = ["CodeSet", "FoldRecord", "read_fold", "write_fold"]

_COLUMNS = ("codes", "labels", "subjects", "visits", "scanners", "names")
_REST = ("rmse", "rmse_brain", "inputs", "reconstructions", "shown")


@dataclass(frozen=True)
class CodeSet:
    """Codes of N scans: codes (N, K) float32, labels (N,) int64 (-1 unknown), the others (N,) str."""

    codes: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    visits: np.ndarray
    scanners: np.ndarray
    names: np.ndarray

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise DatasetError(f"columns of codes have different lengths: {lengths}; expected one row for each scan")
        wrong = ~np.isfinite(self.codes).all(axis=1)
        if wrong.any():
            raise DatasetError(
                f"the code of {self.names[wrong.argmax()]} holds NaN or infinity: that training diverged; lower its lr"
            )

    def take(self, rows: np.ndarray) -> CodeSet:
        """Some of the scans."""
        return CodeSet(*(getattr(self, name)[rows] for name in _COLUMNS))

    @property
    def labelled(self) -> CodeSet:
        """The scans with a label."""
        return self.take(np.flatnonzero(self.labels >= 0))


@dataclass(frozen=True)
class FoldRecord:
    """One trained fold.

    Attributes:
        train: scans that it was trained on.
        test: held-out scans, M.
        rmse: (M,) per cent of the intensity range, whole volume.
        rmse_brain: (M,) within the brain.
        shown: (P,) rows of ``test`` that have pictures.
        inputs: (P, D, H, W) float16.
        reconstructions: (P, D, H, W) float16.
        facts: plain values: fingerprint, checkpoint, train_seconds (None where a run was continued), ...
    """

    train: CodeSet
    test: CodeSet
    rmse: np.ndarray
    rmse_brain: np.ndarray
    shown: np.ndarray
    inputs: np.ndarray
    reconstructions: np.ndarray
    facts: dict


def write_fold(path: Path, record: FoldRecord) -> None:
    """Write ``path`` (.npz); it appears whole or not at all."""
    arrays = {f"{side}_{name}": getattr(getattr(record, side), name) for side in ("train", "test") for name in _COLUMNS}
    write_arrays(path, record.facts, arrays | {name: getattr(record, name) for name in _REST})


def read_fold(path: Path) -> FoldRecord | None:
    """What `write_fold` wrote; None where there is none.

    Raises:
        DatasetError: the file is damaged.
    """
    return read_arrays(path, _record)


def _record(facts: dict, arrays: dict[str, np.ndarray]) -> FoldRecord:
    train, test = (CodeSet(**{name: arrays[f"{side}_{name}"] for name in _COLUMNS}) for side in ("train", "test"))
    return FoldRecord(train=train, test=test, facts=facts, **{name: arrays[name] for name in _REST})
