"""The table of a graded export: a row per photograph with its patient and its grade, matched with the files.

Command: ``python -m data_prep fundus EXPORT OUT --table labels.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import ExportError
from .fundus_options import FundusOptions
from .readers.listing import Listing, list_files
from .readers.sheets import MISSING, SURPLUS, Row, read_rows
from .records import UNKNOWN, Record


def read_table(export: Path, options: FundusOptions) -> tuple[list[Record], list[str]]:
    """Records sorted by file, those that cannot be used dropped already, and remarks on the whole.

    `Record.diagnosis` is the grade as text, `UNKNOWN` where the table leaves it empty.

    Raises:
        ExportError: no such folder, table or column, or no row.
    """
    if not export.is_dir():
        raise ExportError(f"EXPORT {export} is no folder: expected one with photographs and a table in it")
    table = export / options.table
    header, rows = read_rows(table if table.is_file() else options.table)
    columns = options.image_column, options.patient_column, options.label_column
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise ExportError(
            f"{options.table} has no column {', '.join(lacking)}; it has {', '.join(header)}: name them with "
            "--image-column, --patient-column and --label-column"
        )
    if not rows:
        raise ExportError(f"{options.table} has no rows: expected one per photograph")
    listing = _listing(export, options, [row[options.image_column] for _, row in rows])
    records = sorted(_records(rows, listing, options), key=lambda record: record.file)
    unnamed = len(set(listing.files) - {record.file for record in records})
    remarks = [f"{unnamed} images below {listing.root.name}/ are in no row and are left out"] if unnamed else []
    return records, remarks + listing.remarks


def _listing(export: Path, options: FundusOptions, names: Sequence[str]) -> Listing:
    """Files of the folder that the table speaks of: given, or the one in which most of the names exist."""
    if options.images is not None:
        folder = export / options.images
        if not folder.is_dir():
            raise ExportError(f"--images {options.images}: {folder} is no folder")
        return list_files(folder, only_images=True)
    folders = [export, *sorted(path for path in export.iterdir() if path.is_dir())]
    some = names[:: max(1, len(names) // 200)]
    best = max(folders, key=lambda folder: sum(bool(name) and (folder / name).is_file() for name in some))
    return list_files(best, only_images=True)


def _records(rows: Sequence[tuple[int, Row]], listing: Listing, options: FundusOptions) -> list[Record]:
    records: list[Record] = []
    seen: set[str] = set()
    for number, row in rows:
        name, patient = row[options.image_column], row[options.patient_column]
        file, how = listing.find(name) if name else (None, "no name")
        record = Record(file or name, listing.files[file] if file else Path(name), patient)
        grade = row[options.label_column]
        record.diagnosis = str(int(grade)) if grade.isascii() and grade.isdecimal() else UNKNOWN
        fault = _fault(row, record, grade, options)
        if file is None:
            fault = "missing", how
        elif file in seen:
            fault = "listed_twice", "an earlier row names the same file"
        if fault:
            record.drop("table", fault[0], f"line {number}: {fault[1]}")
        elif how:
            record.note("table", how, f"line {number} has {name}")
        seen.add(record.file)
        records.append(record)
    return records


def _fault(row: Row, record: Record, grade: str, options: FundusOptions) -> tuple[str, str] | None:
    if MISSING in row or SURPLUS in row:
        return "bad_row", "as many fields as the header were expected"
    if not record.patient_id:
        return "no_patient", f"{options.patient_column} is empty, so the split could not keep the patient together"
    if grade and record.diagnosis == UNKNOWN:
        return "bad_label", f"{options.label_column} is {grade!r}; expected a whole number from 0, or nothing"
    return None
