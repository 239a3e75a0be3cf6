"""Folders of brain volumes without a table of medkit's: trees of the ADNI archive with their csv, and plain folders.

The archive packs ``SUBJECT/SERIES/DATE/IMAGE_ID/`` with a csv of ``Image Data ID, Subject, Group, Visit, ...``.
Used by `medkit.data.volume_table.read_volumes`; docs/volume_data.md.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

from mmengine.logging import print_log

from medkit.errors import DatasetError

FILE_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".npy")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_SUBJECT = re.compile(r"(\d{3}_S_\d{4,5}|sub-[A-Za-z0-9]+)")
_VISIT = re.compile(r"ses-([A-Za-z0-9]+)")


def is_volume(name: str) -> bool:
    """Does the name end as that of a file with a volume?"""
    return name.lower().endswith(FILE_SUFFIXES)


def folder_rows(root: Path) -> list[dict[str, str]]:
    """Every volume below ``root``: files, and folders of DICOM files.

    The subject is what reads ``sub-XX`` or ``NNN_S_NNNN`` in the path, otherwise the file's name; the visit ``ses-XX``.
    ``root/LABEL/FILE`` gives the label where all volumes lie so and the folders are not subjects.
    """
    found = sorted(_volumes(root))
    parts = [path.relative_to(root).parts for path in found]
    labelled = all(len(names) == 2 and not _SUBJECT.search(names[0]) for names in parts)
    rows = []
    for path, names in zip(found, parts, strict=True):
        text = "/".join(names)
        subject, visit = _SUBJECT.search(text), _VISIT.search(text)
        rows.append(
            {
                "image": str(path),
                "subject": subject[1] if subject else "",
                "label": names[0] if labelled else "",
                "visit": visit[1] if visit else "",
                "scanner": "",
                "split": "",
            }
        )
    return rows


def _volumes(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]  # the cache is one of these
        found += [Path(folder, name) for name in names if is_volume(name) and not name.startswith(".")]
        if any(name.lower().endswith(DICOM_SUFFIXES) for name in names):
            found.append(Path(folder))
    return found


def archive_rows(root: Path) -> list[dict[str, str]]:
    """Rows of an archive's csv whose image was downloaded; none where there is no such csv in ``root``.

    Raises:
        DatasetError: no image of the csv is there, or a folder holds two volumes.
    """
    for table in sorted(root.glob("*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = [name.strip().lower() for name in next(reader, [])]
            listed = [dict(zip(names, map(str.strip, row), strict=False)) for row in reader if row]
        if listed and {"image data id", "subject"} <= listed[0].keys():
            return _downloaded(root, table, listed)
    return []


def _downloaded(root: Path, table: Path, listed: list[dict[str, str]]) -> list[dict[str, str]]:
    folder_of = {Path(folder).name: Path(folder) for folder, _, _ in os.walk(root)}
    rows, absent = [], []
    for row in listed:
        name = row["image data id"]
        folder = folder_of.get(name) or folder_of.get(f"I{name}")
        if folder is None:
            absent.append(name)
            continue
        rows.append(
            {
                "image": str(_volume_in(folder)),
                "subject": row["subject"],
                "label": row.get("group", ""),
                "visit": row.get("visit", ""),
                "scanner": row.get("scanner", ""),
                "split": "",
            }
        )
    if not rows:
        raise DatasetError(
            f"{table} lists {len(listed)} images and none is below {root} (first: {listed[0]['image data id']}); "
            "unpack the archive beside the csv, SUBJECT/SERIES/DATE/IMAGE_ID/"
        )
    if absent:
        print_log(f"{table}: {len(absent)} of {len(listed)} images are not there (first: {absent[0]})", "current")
    return rows


def _volume_in(folder: Path) -> Path:
    """The one volume of an image's folder: a file, or the folder itself where it holds a DICOM series."""
    files = sorted(path for path in folder.iterdir() if is_volume(path.name))
    if len(files) > 1:
        raise DatasetError(f"{folder} holds {len(files)} volumes ({files[0].name}, {files[1].name}); expected one")
    return files[0] if files else folder
