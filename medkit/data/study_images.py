"""Which images make up a study, in which order, with what labels: ``images.csv``, or a folder for each study.

Used by `medkit.ImageBagDataset`; docs/image_bags.md describes the files.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkit.data.refusal import doubled, refuse
from medkit.data.unlabelled import IMAGE_SUFFIXES
from medkit.errors import DatasetError

TABLE = "images.csv"


@dataclass(frozen=True)
class StudyImages:
    """The K images of one study in their order.

    Attributes:
        files: (K,) paths.
        labels: (K, C) int64, 1, 0, or -1 where unknown; None where no image has a label.
    """

    files: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: np.ndarray) -> StudyImages:
        """The images at ``index``."""
        return StudyImages(self.files[index], None if self.labels is None else self.labels[index])


def read_image_table(path: str | Path) -> dict[str, StudyImages]:
    """The studies of an ``images.csv``, paths being relative to its folder.

    Columns: ``slide_id``, ``file``, and if wanted ``order`` (a number; otherwise the order of the rows counts) and
    ``label`` or several ``label_NAME`` (1, 0, or nothing where unknown).

    Raises:
        DatasetError: a column or a value is missing, an order or a label is none, a study has a file or an order twice.
    """
    path = Path(path)
    names, rows = _read(path)
    twice = doubled(f"{row['file']} of {row['slide_id']}" for row in rows)
    refuse(twice, f"{path} lists twice", "a row for each image of a study")
    studies: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        studies[row["slide_id"]].append(row)
    columns = [name for name in names if name == "label" or name.startswith("label_")]
    if "order" in names:
        studies = {study: _ordered(of_study, study, path) for study, of_study in studies.items()}  # type: ignore[assignment]
    return {study: _images(of_study, columns, path) for study, of_study in studies.items()}


def read_weights(path: str | Path) -> dict[str, float]:
    """How much each study counts in the loss: column ``weight`` of bags.csv; empty where there is none.

    Raises:
        DatasetError: a weight is not a number above 0.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = [{(name or "").strip(): value for name, value in row.items()} for row in csv.DictReader(file)]
    if not rows or "weight" not in rows[0]:
        return {}
    found = {row["slide_id"].strip(): _number(row["weight"]) for row in rows}
    wrong = (study for study, weight in found.items() if not 0 < weight < math.inf)
    refuse(wrong, f"{path} has no weight for the study", "a number above 0 in every row, or no column weight")
    return found


def refuse_shared(studies: Mapping[str, StudyImages], split_of: Mapping[str, str]) -> None:
    """Name images that are in studies of two splits.

    Raises:
        DatasetError: there is one.
    """
    seen: dict[str, str] = {}
    pairs = ((str(file), split_of[study]) for study in split_of for file in studies[study].files)
    shared = {file for file, split in pairs if seen.setdefault(file, split) != split}
    refuse(shared, "in studies of two splits is the image", "each image in one split; divide the studies again")


def images_of_folders(folders: Mapping[str, Path]) -> dict[str, StudyImages]:
    """The studies of such folders, images sorted as a person would: 2.png before 10.png.

    Raises:
        DatasetError: a folder is missing or holds no image.
    """
    absent = (f"{study}: {folder}" for study, folder in folders.items() if not folder.is_dir())
    refuse(absent, "no folder of images for the study", f"images/STUDY/ with the study's images, or {TABLE}")
    found = {study: sorted(_listed(folder), key=natural) for study, folder in folders.items()}
    empty = (f"{study}: {folders[study]}" for study, files in found.items() if not files)
    refuse(empty, "no image in the folder of the study", f"files {', '.join(IMAGE_SUFFIXES)}; or leave the study out")
    return {study: StudyImages(np.array([str(file) for file in files])) for study, files in found.items()}


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def refuse_bad_images(files: Iterable[str], can_read: Callable[[str], bool]) -> None:
    """Name files that are missing, empty, or of no format that can be read; only their first bytes are looked at.

    Raises:
        DatasetError: there is one.
    """
    faults = (_fault(Path(file), can_read) for file in files)
    refuse((fault for fault in faults if fault), "image", "replace the file, or take it out of the set")


def _fault(path: Path, can_read: Callable[[str], bool]) -> str:
    if not path.is_file():
        return f"{path} is missing"
    if not path.stat().st_size:
        return f"{path} is empty"
    return "" if can_read(str(path)) else f"{path} is no image that OpenCV reads"


def _listed(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        rows = [{name: (row[name] or "").strip() for name in names} for row in reader]
    if lacking := {"slide_id", "file"} - set(names):
        raise DatasetError(f"{path} has no column {sorted(lacking)}; it has {names}; docs/image_bags.md lists them")
    empty = (f"line {line}" for line, row in enumerate(rows, 2) if not (row["slide_id"] and row["file"]))
    refuse(empty, f"{path}: slide_id or file is empty in", "both in every row")
    return names, rows


def _ordered(rows: list[dict[str, str]], study: str, path: Path) -> list[dict[str, str]]:
    keys = [_number(row["order"]) for row in rows]
    if not all(map(math.isfinite, keys)) or len(set(keys)) < len(keys):
        given = ", ".join(row["order"] or "nothing" for row in rows[:5])
        raise DatasetError(f"{path}: orders of {study!r} are {given}, ...; expected numbers, each once")
    return [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])]


def _number(text: str | None) -> float:
    """NaN where the text is none."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _images(rows: list[dict[str, str]], columns: list[str], path: Path) -> StudyImages:
    files = np.array([str(path.parent / row["file"]) for row in rows])
    if not columns:
        return StudyImages(files)
    wrong = (f"{row['file']}: {row[name]}" for row in rows for name in columns if row[name] not in ("", "0", "1", "-1"))
    refuse(wrong, f"{path} has the label", "1, 0, or nothing where it is not known")
    return StudyImages(files, np.array([[int(row[name] or -1) for name in columns] for row in rows], np.int64))
