"""Brain volumes with subject, label, visit, scanner and split: one table for training, cross-validation and retrieval.

Three kinds of folder are read: one with ``volumes.csv`` (or any csv or tsv, with ``table`` and ``columns``), a tree as
the ADNI archive packs it with its csv, and a plain folder of volumes. docs/volume_data.md describes them.
Used by `medkit.VolumeDataset`, tools/crossval.py and tools/retrieve.py.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from medkit.data.refusal import doubled, refuse
from medkit.data.volume_tree import archive_rows, folder_rows
from medkit.errors import ConfigError, DatasetError

__all__ = ["COLUMNS", "SPLITS", "UNLABELLED", "VolumeSet", "read_volumes"]

UNLABELLED = -1
SPLITS = ("train", "val", "test")
COLUMNS = ("image", "subject", "label", "visit", "scanner", "split")
_NOTHING = ("", "n/a", "na", "nan", "none", "unknown", "-1")


@dataclass(frozen=True)
class VolumeSet:
    """Volumes of one folder, N of them.

    Attributes:
        files: paths: a file, or the folder of a DICOM series.
        labels: ``(N,)`` int64, index into ``classes``; -1 unlabelled.
        classes: names of the labels.
        subjects: ``(N,)`` str; a volume without a subject is one of its own.
        visits: ``(N,)`` str, '' where not known.
        scanners: ``(N,)`` str, '' where not known.
        splits: ``(N,)`` str: train, val or test; never two for one subject.
        root: folder it was read from.
    """

    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    subjects: np.ndarray
    visits: np.ndarray
    scanners: np.ndarray
    splits: np.ndarray
    root: str = ""

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: Sequence[int] | np.ndarray) -> VolumeSet:
        """The set of these volumes alone, in this order; classes stay."""
        at = np.asarray(rows, dtype=int)
        parts = {name: getattr(self, f"{name}s")[at] for name in ("label", "subject", "visit", "scanner", "split")}
        files = tuple(self.files[row] for row in at)
        return VolumeSet(files, classes=self.classes, root=self.root, **{f"{k}s": v for k, v in parts.items()})

    def sample_ids(self) -> list[str]:
        """Paths under ``root``, where they are there."""
        root = Path(self.root)
        paths = [Path(file) for file in self.files]
        return [str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in paths]

    def __str__(self) -> str:
        counts = [f"{int((self.labels == label).sum())} {name}" for label, name in enumerate(self.classes)]
        if unlabelled := int((self.labels == UNLABELLED).sum()):
            counts.append(f"{unlabelled} unlabelled")
        return f"{len(self)} volumes of {len(set(self.subjects))} subjects ({', '.join(counts)})"


def read_volumes(
    root: str | Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    others: str = "refuse",
    allow_label_change: bool = False,
) -> VolumeSet:
    """Read a folder of any of the three kinds and check what can be checked without opening a volume.

    Where no volume has a split, every fifth subject of each class gets ``test`` and the others ``train``, by a hash of
    the subject's name, and a logged line says so.

    Args:
        root: folder that the paths of the table start in.
        table: csv or tsv under ``root``; default ``volumes.csv`` where there is one.
        columns: the table's own names of our columns, such as ``dict(image='file', label='gender')``.
        classes: names of the labels in the order wanted; default all of them, sorted.
        others: what to do with labels not in ``classes``: ``refuse``, ``drop`` or ``unlabelled``.
        allow_label_change: a subject may have two labels (converters) in place of an error.

    Raises:
        ConfigError: unknown column or ``others``.
        DatasetError: nothing to read, a file missing or listed twice, an unknown split, a subject with two labels or
            in two splits, a label that ``classes`` does not name.
    """
    root = Path(root)
    _check_options(columns, others)
    rows = _rows(root, table, dict(columns or {}))
    if not rows:
        raise DatasetError(f"{root} lists no volume; expected .nii, .nii.gz, .mgz, .npy or folders of DICOM files")
    rows, classes = _with_classes(rows, classes, others, root)
    refuse(doubled(row["image"] for row in rows), "listed twice:", "one row for each volume")
    absent = (row["image"] for row in rows if not Path(row["image"]).exists())
    refuse(absent, "no such file:", "paths of the table start in data_root")
    _check_subjects(rows, allow_label_change)
    number = {name: label for label, name in enumerate(classes)}
    texts = {name: np.array([row[name] for row in rows], dtype=str) for name in ("subject", "visit", "scanner")}
    return VolumeSet(
        files=tuple(row["image"] for row in rows),
        labels=np.array([number.get(row["label"], UNLABELLED) for row in rows], np.int64),
        classes=tuple(classes),
        splits=np.array(_splits(rows), dtype=str),
        root=str(root),
        **{f"{name}s": values for name, values in texts.items()},
    )


def _check_options(columns: Mapping[str, str] | None, others: str) -> None:
    if unknown := sorted(set(columns or ()) - set(COLUMNS)):
        raise ConfigError(f"columns names {unknown}; medkit's columns are {', '.join(COLUMNS)}")
    if others not in ("refuse", "drop", "unlabelled"):
        raise ConfigError(f"others={others!r}; expected refuse, drop or unlabelled")


def _rows(root: Path, table: str | None, columns: dict[str, str]) -> list[dict[str, str]]:
    """Rows with all of COLUMNS as text, ``image`` being a path."""
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the folder of the volumes with --data-root")
    if table is not None or columns or (root / "volumes.csv").is_file():
        rows = _table_rows(root, root / (table or "volumes.csv"), columns)
    else:
        rows = archive_rows(root) or folder_rows(root)
    for row in rows:
        row["label"] = "" if row["label"].lower() in _NOTHING else row["label"]
        row["subject"] = row["subject"] or f"volume {row['image']}"
    return rows


def _table_rows(root: Path, table: Path, columns: dict[str, str]) -> list[dict[str, str]]:
    if not table.is_file():
        raise DatasetError(f"{table} does not exist; give table=, the csv that lists the volumes, below {root}")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if table.suffix == ".tsv" else ",")
        given = reader.fieldnames or ()
        wanted = {columns.get(name, name): name for name in COLUMNS}
        lacking = [name for name in ({"image"} | set(columns)) if columns.get(name, name) not in given]
        if lacking:
            raise DatasetError(
                f"{table} has no column for {sorted(lacking)}; it has {', '.join(given)}; say which is which with "
                "columns=dict(image=..., subject=..., label=...)"
            )
        rows = [{name: (row.get(own) or "").strip() for own, name in wanted.items()} for row in reader]
    empty = [str(number) for number, row in enumerate(rows, 2) if not row["image"]]
    refuse(empty, f"{table} names no image in line", "a path in every row")
    wrong = (row["split"] for row in rows if row["split"] not in ("", *SPLITS))
    refuse(wrong, f"{table} has the split", f"one of {', '.join(SPLITS)}, or nothing")
    return [row | {"image": str(root / row["image"])} for row in rows]


def _with_classes(
    rows: list[dict[str, str]], classes: Sequence[str] | None, others: str, root: Path
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    found = sorted({row["label"] for row in rows} - {""})
    if classes is None:
        return rows, tuple(found)
    refuse(set(classes) - set(found), f"{root} has no volume with the label", f"one of {', '.join(found) or 'none'}")
    foreign = set(found) - set(classes)
    if others == "refuse":
        refuse(foreign, f"classes={tuple(classes)} lacks the label", "name it, or set others='drop' or 'unlabelled'")
    if others == "drop":
        return [row for row in rows if row["label"] not in foreign], tuple(classes)
    return [row | {"label": ""} if row["label"] in foreign else row for row in rows], tuple(classes)


def _check_subjects(rows: list[dict[str, str]], allow_label_change: bool) -> None:
    labels, splits = defaultdict(set), defaultdict(set)
    for row in rows:
        splits[row["subject"]].add(row["split"])
        if row["label"]:
            labels[row["subject"]].add(row["label"])
    both = {name: sorted(values) for name, values in labels.items() if len(values) > 1}
    if not allow_label_change:
        refuse(
            (f"{name} ({', '.join(values)})" for name, values in both.items()),
            "more than one label for the subject",
            "mend the table, or set allow_label_change=True where the disease came between two visits",
        )
    torn = (f"{name} ({', '.join(sorted(values))})" for name, values in splits.items() if len(values) > 1)
    refuse(torn, "more than one split for the subject", "all visits of a subject in one, or no split at all")


def _splits(rows: list[dict[str, str]]) -> list[str]:
    """Those of the table, or by subject where it has none."""
    bare = [row["subject"] for row in rows if not row["split"]]
    if len(bare) < len(rows):
        refuse(bare, "no split for the subject", "a split for every subject, or for none")
        return [row["split"] for row in rows]
    label = {row["subject"]: row["label"] for row in rows}
    ranked: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(label, key=lambda name: hashlib.sha1(name.encode()).digest()):
        ranked[label[subject]].append(subject)
    test = {subject for subjects in ranked.values() for subject in subjects[::5] if len(subjects) > 1}
    print_log(f"no split given: {len(test)} of {len(label)} subjects, drawn by name, are test", logger="current")
    return ["test" if row["subject"] in test else "train" for row in rows]
