"""Which slides giga-SSL is trained on or embeds: those of ``bags.csv``, labels not needed, or all files of a folder.

Used by ``python tools/train.py configs/gigassl_slides.py --data-root DIR``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log

from medkit.data.bag_formats import READERS
from medkit.data.bag_rows import FOLDERS, Row, read_rows
from medkit.data.bag_table import read_bag_table
from medkit.data.refusal import refuse
from medkit.errors import DatasetError

__all__ = ["Slides", "read_slides"]

BANKS = "banks"


@dataclass(frozen=True)
class Slides:
    """N slides: names, patients, files of features."""

    ids: tuple[str, ...]
    cases: tuple[str, ...]
    files: tuple[str, ...]

    def first(self, count: int | None) -> Slides:
        """At most ``count``, of as many patients as possible; None: all, in their order."""
        if count is None:
            return self
        seen: Counter[str] = Counter()
        turns = []
        for row, case in enumerate(self.cases):
            turns.append((seen[case], row))
            seen[case] += 1
        rows = [row for _, row in sorted(turns)[:count]]
        ids, cases, files = (tuple(part[row] for row in rows) for part in (self.ids, self.cases, self.files))
        return Slides(ids, cases, files)


def read_slides(root: str | Path, folder: str | None = None, split: str | None = None) -> Slides:
    """Slides of a split and their files.

    Args:
        root: folder with ``bags.csv``; without it every file is a slide of its own patient.
        folder: of the files below it; None: ``banks``, or else where bags lie.
        split: train, val or test; where the table has no splits they are drawn as for `medkit.BagDataset`. None: all.

    Raises:
        DatasetError: no folder, no slides, or slides without a file.
    """
    root = Path(root)
    names = [folder] if folder else [BANKS, *FOLDERS]
    where = next((root / name for name in names if (root / name).is_dir()), None)
    if where is None:
        raise DatasetError(
            f"{root} has no folder {' or '.join(names)}; make banks with tools/feature_bank.py, or give the folder of "
            "the bags with --data-root"
        )
    found = {file.stem: str(file) for file in sorted(where.iterdir()) if file.suffix in READERS}
    if not (root / "bags.csv").is_file():
        print_log(f"{root} has no bags.csv: each of the {len(found)} files counts as a patient", logger="current")
        rows: list[Row] = [{"slide_id": name, "case_id": name} for name in found]
    else:
        rows = _of_split(root, split)
    files = [found.get(row["slide_id"], "") for row in rows]
    absent = [row["slide_id"] for row, file in zip(rows, files, strict=True) if not file]
    refuse(absent, f"{where} has no file of the slide", "make it, or take the row out of bags.csv")
    if not rows:
        raise DatasetError(f"{root} has no slide of split {split!r}; mend bags.csv, or set split=None")
    return Slides(tuple(row["slide_id"] for row in rows), tuple(row["case_id"] for row in rows), tuple(files))


def _of_split(root: Path, split: str | None) -> list[Row]:
    rows = read_rows(root / "bags.csv")
    if split is None:
        return rows
    if any(row["split"] for row in rows):
        return [row for row in rows if row["split"] == split]
    table = read_bag_table(root, incomplete="drop")  # draws the splits
    chosen = set(table.ids[table.splits == split].tolist())
    return [row for row in rows if row["slide_id"] in chosen]
