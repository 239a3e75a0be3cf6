"""Rows of the table of bags: read, joined with the files of features and the csv of splits, and checked.

Each function gives what is wrong as lines, so that everything is said at once. Used by medkit/data/bag_table.py.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log

from medkit.data.bag_formats import READERS
from medkit.data.refusal import complaint, doubled
from medkit.errors import DatasetError

SPLITS = ("train", "val", "test")
FOLDERS = ("features", "h5_files", "pt_files")  # medkit's, then CLAM's; the first that there is
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows with slide_id, case_id, label, split and file as text, '' where the table has no such column."""
    if not path.is_file():
        raise DatasetError(
            f"{path} does not exist; expected a table slide_id,label (and case_id, split) beside the folder features, "
            "or name another with --data-root or `--cfg-options table=NAME`"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        found = [{key: (value or "").strip() for key, value in row.items() if key is not None} for row in reader]
    if "slide_id" not in names and len(names) == 2 and names[1] == "label":  # DSMIL's index
        found = [{"slide_id": Path(row[names[0]]).stem, "file": row[names[0]], "label": row["label"]} for row in found]
    elif missing := [name for name in ("slide_id", "label") if name not in names]:
        raise DatasetError(f"{path} has no column {missing}; it has {names}; name the columns slide_id and label")
    if not found:
        raise DatasetError(f"{path} lists no slide; write it again")
    rows = [{name: row.get(name, "") for name in ("slide_id", "case_id", "label", "split", "file")} for row in found]
    for row in rows:
        row["slide_id"] = _without_suffix(row["slide_id"])
        row["case_id"] = row["case_id"] or row["slide_id"]
    return rows


def _without_suffix(name: str) -> str:
    return name.removesuffix(Path(name).suffix) if Path(name).suffix in (*READERS, ".svs", ".tif", ".tiff") else name


def row_problems(rows: list[Row], path: Path) -> list[str]:
    """Names and labels that are missing or there twice."""
    ids = [row["slide_id"] for row in rows]
    nameless = [f"line {line}" for line, name in enumerate(ids, 2) if not name]
    unlabelled = [row["slide_id"] for row in rows if not row["label"]]
    return [
        *complaint(nameless, f"{path}: no slide_id in", "name every slide"),
        *complaint(doubled(name for name in ids if name), f"{path} has two rows of the slide", "one row for each"),
        *complaint(unlabelled, f"{path} has no label for the slide", "give it one, or take the row out"),
    ]


def with_files(rows: list[Row], root: Path, folder: Path | None, *, drop: bool) -> tuple[list[Row], list[str]]:
    """Rows whose ``file`` is a path that exists, and what is wrong with the others."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(folder.iterdir()) if folder else ():
        if file.suffix in READERS:
            found[file.stem].append(file)
    problems = _two_files(rows, found, root)
    for row in rows:
        files = found.get(row["slide_id"])
        row["file"] = _named(root, row["file"]) if row["file"] else str(files[0]) if files else ""
    shared = doubled(file for file, _ in {(row["file"], row["slide_id"]) for row in rows} if file)
    problems += complaint(shared, "two slides have the file", "one of its own for each")
    absent = [row["slide_id"] for row in rows if not (row["file"] and Path(row["file"]).is_file())]
    bare = [row["slide_id"] for row in rows if not row["label"]]
    used = {Path(row["file"]).resolve() for row in rows if row["file"]}
    foreign = [name for name, files in found.items() if not used & {file.resolve() for file in files}]
    if drop:
        _say_dropped(absent, [*bare, *foreign])
        return [row for row in rows if row["slide_id"] not in {*absent, *bare}], problems
    where, cure = folder or root / FOLDERS[0], "; or set `--cfg-options incomplete=drop`"
    wanted = f"extract them, or take the row out{cure}"
    problems += complaint(absent, f"labelled, but {where} has no features of the slide", wanted)
    problems += complaint(foreign, f"{where} has features of the slide", f"the table has no label for it: add it{cure}")
    return rows, problems


def _two_files(rows: list[Row], found: dict[str, list[Path]], root: Path) -> list[str]:
    wanted = {row["slide_id"] for row in rows if not row["file"]}
    twice = [
        f"{name} ({', '.join(file.name for file in files)})"
        for name, files in found.items()
        if len(files) > 1 and name in wanted
    ]
    return complaint(twice, f"{root} has two files of the slide", "leave one, or name it in a column file")


def _named(root: Path, name: str) -> str:
    """A path of the table: below the folder, or, as DSMIL writes it, below the working directory."""
    return next((str(path) for path in (root / name, Path(name)) if path.is_file()), str(root / name))


def _say_dropped(absent: list[str], bare: list[str]) -> None:
    if absent or bare:
        print_log(
            f"left out: {len(absent)} slides without features and {len(bare)} without a label (such as "
            f"{', '.join([*absent[:2], *bare[:2]])})",
            logger="current",
        )


def set_splits(rows: list[Row], file: Path, table: Path) -> list[str]:
    """Write the split of CLAM's csv into the rows."""
    if not file.is_file():
        return [f"split file {file} does not exist; expected a csv with the columns train, val and test of slide ids"]
    with file.open(newline="", encoding="utf-8-sig") as content:
        reader = csv.DictReader(content)
        given = list(reader)
    names = [name for name in SPLITS if name in (reader.fieldnames or ())]
    if "train" not in names:
        return [f"{file} has the columns {reader.fieldnames}; expected train, val and test, lists of slide ids"]
    of_slide: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for row in given:
            if slide := _without_suffix((row[name] or "").strip()):
                of_slide[slide].append(name)
    for row in rows:
        row["split"] = of_slide.get(row["slide_id"], [""])[0]
    torn = [f"{slide} ({', '.join(splits)})" for slide, splits in of_slide.items() if len(splits) > 1]
    unknown = set(of_slide) - {row["slide_id"] for row in rows}
    return [
        *complaint(torn, f"{file} lists more than once the slide", "once, in one column"),
        *complaint(unknown, f"{table} has no row for the slide", f"{file} puts it into a split: add its label"),
    ]


def split_problems(rows: list[Row], path: Path, *, partly: bool) -> list[str]:
    """Splits that are unknown, missing or tear a patient; with ``partly`` slides without one are left out."""
    if not any(row["split"] for row in rows):
        return [f"{path}: the split file names none of its slides; give the file of this set"] if partly else []
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row["case_id"]].add(row["split"])
    torn = (f"{case} ({', '.join(sorted(s))})" for case, s in splits.items() if len(s - {""}) > 1)
    bare: Iterable[str] = () if partly else (row["slide_id"] for row in rows if not row["split"])
    unknown = {row["split"] for row in rows} - {"", *SPLITS}
    return [
        *complaint(unknown, f"{path} has the split", f"one of {', '.join(SPLITS)}"),
        *complaint(bare, f"{path} has no split for the slide", "a split for every slide, or for none"),
        *complaint(torn, "more than one split for the case", "all slides of a patient in one, or no split at all"),
    ]
