"""Images with one grade or diagnosis each, split by patient: what self-supervised features are evaluated on.

Two kinds of folder are read: one with ``labels.csv`` (image, patient, label, split; ``python -m data_prep fundus``),
whose labels are whole numbers with an order, and a set of ``python -m data_prep EXPORT OUT`` whose COCO files give each
image a ``patient_id`` and a ``diagnosis``, names without an order. Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.data.lesion_dataset import read_coco
from medkit.data.refusal import doubled, refuse
from medkit.errors import DatasetError

__all__ = ["SPLITS", "UNKNOWN", "GradedSet", "read_graded"]

SPLITS = ("train", "val", "test")
UNKNOWN = -1  # label of an image that nobody graded
_COLUMNS = ("image", "patient", "label", "split")


@dataclass(frozen=True)
class GradedSet:
    """Images and their labels, N of them.

    Attributes:
        files: paths of the images.
        labels: ``(N,)`` int64 class indices; `UNKNOWN` where no label is given.
        patients: ``(N,)`` str.
        splits: ``(N,)`` str: train, val or test, never two for one patient.
        classes: names by index; numbers as text where the labels are grades.
        ordinal: the classes have an order.
        root: folder it was read from.
    """

    files: tuple[str, ...]
    labels: np.ndarray
    patients: np.ndarray
    splits: np.ndarray
    classes: tuple[str, ...]
    ordinal: bool
    root: str = ""

    def rows(self, split: str) -> np.ndarray:
        """Indices of the labelled images of a split."""
        return np.flatnonzero((self.splits == split) & (self.labels != UNKNOWN))

    @property
    def num_unlabelled(self) -> int:
        """Images without a label; no protocol uses them."""
        return int((self.labels == UNKNOWN).sum())

    def __str__(self) -> str:
        counts = []
        for split in SPLITS:
            rows = self.rows(split)
            per_class = np.bincount(self.labels[rows], minlength=len(self.classes))
            patients = len(set(self.patients[rows]))
            counts.append(f"{split} {len(rows)} images of {patients} patients ({'/'.join(map(str, per_class))})")
        return f"{'; '.join(counts)}; {self.num_unlabelled} without a label left out; classes {', '.join(self.classes)}"


def read_graded(root: str | Path) -> GradedSet:
    """Read a graded folder of either kind and check that it can be learned from and judged by.

    Raises:
        DatasetError: no such folder or file, an image missing, a label that is no grade, no label or one class only
            in a split, a split missing, or a patient in two splits.
    """
    root = Path(root)
    table = root / "labels.csv"
    if table.is_file():
        rows = _csv_rows(table)
        labels, classes = _grades([row["label"] for row in rows], table)
        files = [str(root / "images" / row["image"]) for row in rows]
    elif (root / "annotations").is_dir():
        rows = _coco_rows(root)
        names = sorted({row["label"] for row in rows} - {""})
        labels, classes = [names.index(row["label"]) if row["label"] else UNKNOWN for row in rows], tuple(names)
        files = [str(root / "images" / row["image"]) for row in rows]
    else:
        raise DatasetError(
            f"{root} holds neither labels.csv (`python -m data_prep fundus EXPORT OUT`) nor annotations/ "
            "(`python -m data_prep EXPORT OUT`); name the OUT of one of these"
        )
    found = GradedSet(
        files=tuple(files),
        labels=np.array(labels, np.int64),
        patients=np.array([row["patient"] or f"image {row['image']}" for row in rows], dtype=str),
        splits=np.array([row["split"] for row in rows], dtype=str),
        classes=classes,
        ordinal=table.is_file(),
        root=str(root),
    )
    _check(found)
    return found


def _csv_rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise DatasetError(f"{table} lacks the columns {lacking}; it needs {', '.join(_COLUMNS)}")
        return [{name: (row[name] or "").strip() for name in _COLUMNS} for row in reader]


def _coco_rows(root: Path) -> list[dict[str, str]]:
    return [
        {
            "image": image["file_name"],
            "patient": str(image.get("patient_id") or ""),
            "label": str(image.get("diagnosis") or ""),
            "split": split,
        }
        for split in SPLITS
        for image in read_coco(root / "annotations" / f"{split}.json")["images"]
    ]


def _grades(texts: Sequence[str], table: Path) -> tuple[list[int], tuple[str, ...]]:
    """Whole numbers from 0; the classes are 0 to the highest, whether each has images or not."""
    wrong = sorted({text for text in texts if text and not (text.isascii() and text.isdigit())})
    if wrong:
        raise DatasetError(
            f"{table}: label {wrong[0]!r} is no grade; expected a whole number from 0, or nothing where it is unknown"
        )
    labels = [int(text) if text else UNKNOWN for text in texts]
    return labels, tuple(map(str, range(max(labels, default=UNKNOWN) + 1)))


def _check(found: GradedSet) -> None:
    where = found.root
    if not (found.labels != UNKNOWN).any():
        raise DatasetError(f"no image of {where} has a label; evaluation needs grades or diagnoses")
    refuse(set(found.splits.tolist()) - set(SPLITS), f"{where}: split", f"expected one of {', '.join(SPLITS)}")
    absent = [file for file in found.files if not Path(file).is_file()]
    refuse(absent, f"{where}: image", "the file does not exist; prepare the set again")
    refuse(doubled(found.files), f"{where}: image", "it is listed twice; prepare the set again")
    _check_patients(found)
    for split in SPLITS:
        present = np.unique(found.labels[found.rows(split)])
        if not len(present):
            raise DatasetError(f"{where} has no labelled image in split {split!r}; all of {SPLITS} are needed")
        if len(present) == 1:
            raise DatasetError(
                f"{where}: all {len(found.rows(split))} labelled images of split {split!r} are of one class "
                f"({found.classes[present[0]]}); nothing can be learned or judged from that: split again by patient"
            )


def _check_patients(found: GradedSet) -> None:
    splits_of = defaultdict(set)
    for patient, split in zip(found.patients.tolist(), found.splits.tolist(), strict=True):
        splits_of[patient].add(split)
    torn = sorted(patient for patient, splits in splits_of.items() if len(splits) > 1)
    if torn:
        raise DatasetError(
            f"{found.root}: {len(torn)} patients are in more than one split (first: {torn[0]}, in "
            f"{' and '.join(sorted(splits_of[torn[0]]))}), so held-out numbers would be too good; split by patient"
        )
