"""Reader for a table: EXPORT/images/* and EXPORT/table.csv with the columns `COLUMNS`.

Nothing is dropped silently: a row without a file and a file without a row both become records with a reason.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path, PurePosixPath

from ..errors import ExportError
from ..options import Options
from ..records import LIVER_CLASSES, UNKNOWN, Export, Lesion, Record

COLUMNS = ("file", "patient_id", "age", "sex", "diagnosis", "boxes")
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
AGE_RANGE = (1, 110)  # years; 0 is what many systems store when the age is not known


def read_table(export: Path, options: Options) -> Export:
    """Read EXPORT/table.csv and compare it with the files below EXPORT/images."""
    rows = _rows(export / "table.csv")
    files = _image_files(export / "images")
    records: dict[str, Record] = {}
    for number, row in rows:
        record = _record(export, row, number)
        first = records.setdefault(record.file, record)
        if first is not record:
            first.note("table", "duplicate_row", f"line {number} names the file again and is ignored")
        elif record.kept and record.file not in files:
            record.drop("table", "no_file", f"line {number} names a file that is not in images/")
    for file in sorted(files - records.keys()):
        record = records[file] = Record(file, export / "images" / file)
        record.drop("table", "no_row", "the table has no row for this file")
    order = options.classes or LIVER_CLASSES
    return Export(list(records.values()), order, "table", any(r.patient_id for r in records.values()))


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of the table with their line numbers; raises when it is no such table."""
    if not table.is_file():
        raise ExportError(f"no table {table}: expected a csv file with the columns {','.join(COLUMNS)}")
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, restkey="", restval=None)
            found = list(reader.fieldnames or [])
            missing = [name for name in COLUMNS if name not in found]
            if missing:
                raise ExportError(
                    f"{table}: no column {', '.join(missing)}; found {', '.join(found) or 'nothing'}; "
                    f"expected {','.join(COLUMNS)}"
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{table} cannot be read as csv in UTF-8: {error}; save it as UTF-8 csv") from error
    if not rows:
        raise ExportError(f"{table} has a header and no rows: expected one row per image")
    return rows


def _record(export: Path, row: dict[str, str], number: int) -> Record:
    """One table row as a record, its odd values turned into notes."""
    file = PurePosixPath((row["file"] or "").strip().replace("\\", "/")).as_posix()
    record = Record(file, export / "images" / file)
    if "" in row or None in row.values():
        record.drop("table", "malformed_row", f"line {number} has not {len(COLUMNS)} fields; quote the boxes column")
        return record
    if file in ("", ".") or file.startswith("/") or ".." in PurePosixPath(file).parts:
        record.drop("table", "bad_file_name", f"line {number}: {row['file']!r} does not lie below images/")
        return record
    record.patient_id = row["patient_id"].strip()
    if not record.patient_id:
        record.note("table", "patient_missing", "the image counts as a patient of its own")
    record.age = _age(record, row["age"])
    record.sex = _sex(record, row["sex"])
    record.diagnosis = row["diagnosis"].strip() or UNKNOWN
    if record.diagnosis == UNKNOWN:
        record.note("table", "diagnosis_missing")
    record.lesions = _lesions(record, row["boxes"])
    return record


def _age(record: Record, text: str) -> int | None:
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value.is_integer() and AGE_RANGE[0] <= value <= AGE_RANGE[1]:
        return int(value)
    record.note("table", "age_implausible" if text else "age_missing", f"{text!r} set to null")
    return None


def _sex(record: Record, text: str) -> str | None:
    text = text.strip()
    sex = SEXES.get(text.casefold())
    if sex is None:
        record.note("table", "sex_unknown" if text else "sex_missing", f"{text!r} set to null")
    elif sex != text:
        record.note("table", "sex_rewritten", f"{text!r} read as {sex}")
    return sex


def _lesions(record: Record, text: str) -> list[Lesion]:
    """Parse ``x1,y1,x2,y2,class;...``; an entry that does not parse is noted and left out."""
    lesions = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        record.boxes_in += 1
        fields = [value.strip() for value in entry.split(",", 4)]
        try:
            x1, y1, x2, y2 = (float(value) for value in fields[:4])
            label = fields[4]
        except (ValueError, IndexError):
            record.note("boxes", "box_unreadable", f"{entry!r} is not x1,y1,x2,y2,class")
            continue
        lesions.append(Lesion((x1, y1, x2, y2), label))
    return lesions


def _image_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
