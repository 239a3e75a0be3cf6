"""Keeps the split of an earlier output when images were added: every known patient stays on its side.

Command: ``python -m data_prep EXPORT OUT --split-from OLD_OUT``; it reads ``OLD_OUT/report.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import OptionError
from .records import Record


@dataclass
class OldSides:
    """Sides of an earlier output by patient and by file; ``torn``: files of groups that it tears apart."""

    patients: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    torn: frozenset[str] = frozenset()

    def of(self, record: Record) -> str:
        """The record's old side, "" for a new one. The patient decides, then the file."""
        return self.patients.get(record.patient_id) or self.files.get(record.file, "")


def read_old_sides(folder: Path, names: tuple[str, ...]) -> OldSides:
    """Sides in the report of an earlier output.

    Raises:
        OptionError: no such report, a leaky one, or one with other sides than ``names``.
    """
    path = folder / "report.csv"
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = [row for row in csv.DictReader(handle) if row.get("split")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"--split-from {folder}: no readable report.csv ({error}); name an earlier OUT") from error
    old = OldSides()
    for row in rows:
        if row["split"] not in names:
            raise OptionError(f"--split-from {folder} has a side {row['split']}, wanted are {', '.join(names)}")
        old.files[row["file"]] = row["split"]
        patient = row["patient_id"]
        if patient and old.patients.setdefault(patient, row["split"]) != row["split"]:
            raise OptionError(f"--split-from {folder}: patient {patient} stands on two sides there; split it anew")
    if not rows:
        raise OptionError(f"--split-from {folder}: no image has a split in report.csv; name an earlier OUT")
    return old


def settle(
    units: Sequence[list[Record]], old: OldSides, names: Sequence[str]
) -> tuple[list[list[Record]], np.ndarray]:
    """Units with the number of their old side, -1 for new ones.

    New images may link old patients that stand on different sides. Those patients stay where they were, so the
    unit falls apart by side, and its new images, which belong to both, are dropped (``between_old_sides``).
    """
    result: list[list[Record]] = []
    fixed: list[int] = []
    torn: set[str] = set()
    for unit in units:
        by_side: dict[str, list[Record]] = {}
        for record in unit:
            by_side.setdefault(old.of(record), []).append(record)
        known = [name for name in names if name in by_side]
        if len(known) < 2:
            result.append(unit)
            fixed.append(names.index(known[0]) if known else -1)
            continue
        for record in by_side.get("", []):
            record.drop("split", "between_old_sides", f"linked to patients on {' and '.join(known)} of --split-from")
        for name in known:
            torn.update(record.file for record in by_side[name])
            result.append(by_side[name])
            fixed.append(names.index(name))
    old.torn = frozenset(torn)
    return result, np.array(fixed, np.int64)
