"""Which bags there are, their labels, patients and splits: one table for training, evaluation and cross-validation.

Read are ``bags.csv`` (``slide_id, label`` and, where wanted, ``case_id, split, file``; CLAM's label tables have the
same names, Lu et al. 2021) and DSMIL's index (``path, label``; Li et al. 2021), with CLAM's csv of splits (columns
``train, val, test`` of slide ids) beside it. Patients stay whole: none is in two splits.
Command: ``python tools/train.py configs/abmil_slides.py --data-root DIR``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from medkit.data.bag_rows import FOLDERS, SPLITS, Row, read_rows, row_problems, set_splits, split_problems, with_files
from medkit.data.bag_split import divide_cases
from medkit.data.refusal import complaint, refuse_all
from medkit.errors import ConfigError, DatasetError

__all__ = ["FOLDERS", "SPLITS", "BagTable", "OfBags", "choose_bags", "read_bag_table"]


@dataclass(frozen=True)
class BagTable:
    """N bags of one folder.

    Attributes:
        ids: (N,) slides' names, each once.
        cases: (N,) patients; the slide where the table has none.
        labels: (N,) int64, index into ``classes``.
        classes: names of the labels.
        splits: (N,) train, val or test; '' where the split file leaves the slide out.
        files: paths of the features.
        root: folder it was read from.
    """

    ids: np.ndarray
    cases: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray
    files: tuple[str, ...]
    root: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> BagTable:
        """These bags alone, in this order; classes stay."""
        at = np.asarray(rows, dtype=int)
        files = tuple(self.files[row] for row in at)
        parts = (self.ids[at], self.cases[at], self.labels[at])
        return BagTable(*parts, self.classes, self.splits[at], files, self.root)

    def __str__(self) -> str:
        counts = [f"{int((self.labels == label).sum())} {name}" for label, name in enumerate(self.classes)]
        return f"{len(self)} bags of {len(set(self.cases))} cases ({', '.join(counts)})"


class OfBags:
    """What data sets of bags share: labels, classes and length are those of ``bags``."""

    bags: BagTable

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64."""
        return self.bags.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.bags.classes

    def __len__(self) -> int:
        return len(self.bags)


def read_bag_table(
    root: str | Path,
    *,
    table: str | None = None,
    split_file: str | None = None,
    features: str | None = None,
    classes: Sequence[str] | None = None,
    incomplete: str = "refuse",
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    files: bool = True,
) -> BagTable:
    """Read the table and check what can be checked without opening a file of features.

    Where neither the table nor a split file divides the bags, cases are: drawn by ``seed``, so that each class comes
    out in ``fractions``, with a logged line.

    Args:
        root: the folder; paths of the table start there.
        table: csv in it; default bags.csv.
        split_file: CLAM's csv of splits in it; goes before the table's column ``split``.
        features: folder of the features in it, for rows without ``file``; default the first of `FOLDERS`.
        classes: names of the labels in the order wanted, the negative one first; default all of them, sorted, as
            numbers where they are numbers.
        incomplete: ``refuse`` or ``drop`` slides without features or label, and features without a label.
        fractions: of train, val and test.
        seed: of the draw.
        files: look for the features; False for bags of images, whose column ``file`` stays as it is.

    Raises:
        ConfigError: an unknown ``incomplete``, or impossible fractions.
        DatasetError: everything that is wrong with the table, a line each.
    """
    root = Path(root)
    if incomplete not in ("refuse", "drop"):
        raise ConfigError(f"incomplete={incomplete!r}; expected 'refuse' or 'drop'")
    path = root / (table or "bags.csv")
    rows = read_rows(path)
    problems = set_splits(rows, root / split_file, path) if split_file else []
    if files:
        folder = next((root / name for name in ([features] if features else FOLDERS) if (root / name).is_dir()), None)
        rows, wrong = with_files(rows, root, folder, drop=incomplete == "drop")
        problems += wrong
    names, unnamed = _class_names(rows, classes, path)
    problems += [*row_problems(rows, path), *unnamed, *split_problems(rows, path, partly=bool(split_file))]
    refuse_all(problems)
    if not any(row["split"] for row in rows):
        _divide(rows, names, fractions, seed, path)
    return _made(rows, names, root)


def choose_bags(
    table: BagTable,
    split: str | None = None,
    cases: Sequence[str] | None = None,
    num_classes: int = 0,
    indices: int | None = None,
) -> BagTable:
    """The bags of a split, or of some patients.

    Args:
        table: all of them.
        split: train, val or test; None: all.
        cases: these patients alone, whatever their split (cross-validation).
        num_classes: of the model; each then needs a bag among the chosen. 0: any number.
        indices: at most so many bags, of the classes in turn (quick mode).

    Raises:
        ConfigError: an unknown split.
        DatasetError: no such patient, no bag is left, or a class has none.
    """
    if split not in (None, *SPLITS):
        raise ConfigError(f"split={split!r}; expected one of {', '.join(SPLITS)}, or None for all bags")
    keep = np.ones(len(table), bool) if split is None or cases is not None else table.splits == split
    if cases is not None:
        wanted = list(map(str, cases))
        keep = np.isin(table.cases, wanted)
        refuse_all(complaint(set(wanted) - set(table.cases), f"{table.root} has no bag of the case", "name it rightly"))
    chosen = table.take(np.flatnonzero(keep))
    if not len(chosen):
        has = ", ".join(sorted(set(table.splits) - {""}))
        raise DatasetError(
            f"{table.root} has no bag of split {split!r}; it has {has}: mend the table, or set val_split or the split"
        )
    if num_classes:
        _check_classes(chosen, num_classes, split)
    turns = np.zeros(len(chosen), int)  # of each bag within its class
    for label in set(chosen.labels):
        turns[chosen.labels == label] = np.arange((chosen.labels == label).sum())
    return chosen if indices is None else chosen.take(np.lexsort((chosen.labels, turns))[:indices])


def _check_classes(chosen: BagTable, num_classes: int, split: str | None) -> None:
    if len(chosen.classes) != num_classes:
        raise DatasetError(
            f"{chosen.root} has the {len(chosen.classes)} classes {chosen.classes}, the model {num_classes}; set "
            f"`--cfg-options num_classes={len(chosen.classes)}`, or mend the labels"
        )
    empty = [name for label, name in enumerate(chosen.classes) if label not in chosen.labels]
    cure = "every class needs some: divide again, or use fewer folds"
    refuse_all(complaint(empty, f"none of the {len(chosen)} bags (split={split!r}) is of the class", cure))


def _made(rows: list[Row], names: tuple[str, ...], root: Path) -> BagTable:
    number = {name: label for label, name in enumerate(names)}
    return BagTable(
        ids=np.array([row["slide_id"] for row in rows], dtype=str),
        cases=np.array([row["case_id"] for row in rows], dtype=str),
        labels=np.array([number[row["label"]] for row in rows], np.int64),
        classes=names,
        splits=np.array([row["split"] for row in rows], dtype=str),
        files=tuple(row["file"] for row in rows),
        root=str(root),
    )


def _class_names(rows: list[Row], classes: Sequence[str] | None, path: Path) -> tuple[tuple[str, ...], list[str]]:
    found = sorted({row["label"] for row in rows} - {""})
    if all(name.isdecimal() for name in found):
        found.sort(key=int)
    if classes is None:
        return tuple(found), []
    wanted = tuple(map(str, classes))
    return wanted, [
        *complaint(set(wanted) - set(found), f"{path} has no slide of the class", f"it has {', '.join(found)}"),
        *complaint(set(found) - set(wanted), f"classes={wanted} lacks the label", "name it, or take its rows out"),
    ]


def _divide(rows: list[Row], names: tuple[str, ...], fractions: Sequence[float], seed: int, path: Path) -> None:
    highest: dict[str, int] = {}
    for row in rows:
        highest[row["case_id"]] = max(highest.get(row["case_id"], 0), names.index(row["label"]))
    of_case = divide_cases(highest, dict(zip(SPLITS, fractions, strict=False)), seed, names)
    for row in rows:
        row["split"] = of_case[row["case_id"]]
    counts = {name: sum(split == name for split in of_case.values()) for name in SPLITS}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    print_log(f"{path} has no split: cases drawn with seed {seed}, by class: {said}", logger="current")
