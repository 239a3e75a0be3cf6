"""Reader for a table (csv or xlsx) beside an image folder.

Without a map: EXPORT/images/* and EXPORT/table.csv (or .xlsx) with the columns `COLUMNS`. With ``--columns map.yaml``
any table: see `columns` and docs/data_prep_inputs.md.

Nothing is dropped silently: a row without a file and a file without a row both become records with a reason.
"""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath

from ..errors import ExportError
from ..options import Options
from ..records import LIVER_CLASSES, UNKNOWN, Box, Export, Lesion, Record
from .columns import CORNERS, FACTS, ColumnMap, load_columns
from .listing import Listing, image_folder, inside, list_images
from .pixels import image_size
from .sheets import MISSING, SURPLUS, Row, read_rows
from .values import age_of, brief, diagnosis_from_boxes, number_of, scalar_of, sex_of

COLUMNS = ("file", "patient_id", "age", "sex", "diagnosis", "boxes")
NAMES = ("table.csv", "table.xlsx")


def read_table(export: Path, options: Options) -> Export:
    """Read the table and compare it with the image files."""
    columns = load_columns(options.columns)
    table = find_table(export, columns)
    rows = _checked_rows(table, columns)
    columns = columns if columns.columns else ColumnMap(columns={name: name for name in COLUMNS})
    folder = export / columns.images if columns.images else image_folder(export)
    if not folder.is_dir():
        raise ExportError(f"{export} has no folder {brief(columns.images)}: expected the images named in {table.name}")
    listing = list_images(export, folder)
    records = _records(rows, listing, columns, table)
    if "diagnosis" not in columns.columns and "diagnosis" not in columns.constants:
        for record in records.values():
            if record.kept:
                diagnosis_from_boxes(record)
    named = {record.path for record in records.values()}
    for file in [file for file, path in listing.files.items() if path not in named]:
        record = records[file] = Record(file, listing.files[file])
        record.drop("table", "no_row", "the table has no row for this file")
    found = {lesion.label for record in records.values() for lesion in record.lesions}
    standard = tuple(columns.columns) == COLUMNS
    order = options.classes or (LIVER_CLASSES if standard else tuple(sorted(found)))
    everything = [*records.values(), *listing.faults]
    return Export(everything, order, "table", any(r.patient_id for r in everything), listing.remarks)


def find_table(export: Path, columns: ColumnMap) -> Path:
    """The table that the map names, else table.csv or table.xlsx, else (with a map) the only one there is."""
    if columns.table:
        if not (export / columns.table).is_file():
            raise ExportError(f"--columns {columns.path} under table: no table {brief(export / columns.table)}")
        return export / columns.table
    standard = [export / name for name in NAMES if (export / name).is_file()]
    if len(standard) > 1:
        raise ExportError(f"{export} holds {' and '.join(NAMES)}: remove one, or name it as `table:` in --columns")
    if not standard and columns.columns:
        standard = sorted(path for path in export.iterdir() if path.suffix.casefold() in (".csv", ".tsv", ".xlsx"))
        if len(standard) != 1:
            names = ", ".join(path.name for path in standard) or "none"
            raise ExportError(f"{export}: tables found: {names}; name one as `table:` in --columns {columns.path}")
    if not standard and columns.path:
        raise ExportError(f"--columns {columns.path} maps no columns and {export} has no {' or '.join(NAMES)}")
    if not standard:
        raise ExportError(f"no table {export / NAMES[0]}: expected a csv file with the columns {','.join(COLUMNS)}")
    return standard[0]


def _checked_rows(table: Path, columns: ColumnMap) -> list[tuple[int, Row]]:
    header, rows = read_rows(table, columns.separator, columns.sheet)
    mapped = columns.columns or {name: name for name in COLUMNS}
    if "file" not in mapped:
        raise ExportError(f"--columns {columns.path} under columns: no `file`; it names the column of the file names")
    missing = [name for name in (*mapped.values(), *columns.extra) if name not in header]
    if missing:
        raise ExportError(
            f"{table}: no column {brief(', '.join(missing))}; found {brief(', '.join(header)) or 'nothing'}; "
            f"expected {brief(','.join((*mapped.values(), *columns.extra)))}"
        )
    if not rows:
        raise ExportError(f"{table} has a header and no rows: expected one row per image")
    return rows


def _records(
    rows: list[tuple[int, Row]], listing: Listing, columns: ColumnMap, table: Path
) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for number, row in rows:
        cells = _Cells(row, columns)
        file, how = _file(cells, listing)
        record = Record(file, listing.files.get(file, listing.root / "-"), frame=cells.frame())
        match = re.fullmatch(r"(.+)#(\d{1,6})", file)
        if match and match[1] in listing.files:  # our own name of a frame
            file, record.frame, record.path = match[1], int(match[2]), listing.files[match[1]]
        if record.frame is not None and file in listing.files:
            record.file = f"{file}#{record.frame:04}"
        first = records.setdefault(record.file, record)
        if first is record:
            _fill(record, cells, row, number, how)
            if record.kept and file not in listing.files:
                record.drop("table", "no_file", f"line {number} names a file that is not in images/: {how}")
        elif not columns.by_row:
            first.note("table", "duplicate_row", f"line {number} names the file again and is ignored")
        elif SURPLUS in row or MISSING in row:
            first.note("table", "malformed_row", f"line {number} has not {len(row) - 1} fields and is ignored")
            continue
        elif first.kept:
            _compare(first, cells, number)
        if record.kept and first.kept and (columns.by_row or first is record):
            first.lesions += _lesions(first, cells, number)
    return records


def _file(cells: _Cells, listing: Listing) -> tuple[str, str]:
    """The listed file that the row means and how it was found; else the row's own words and why not."""
    name = cells["file"].replace("\\", "/")
    if name and cells.columns.suffix and not PurePosixPath(name).suffix:
        name += cells.columns.suffix
    if name in listing.files:
        return name, ""
    name = PurePosixPath(name).as_posix()
    if not inside(name):
        return name, "no such file"
    found, how = listing.find(name)
    return (found, how) if found else (name, how)


def _fill(record: Record, cells: _Cells, row: Row, number: int, how: str) -> None:
    """One table row's facts, its odd values turned into notes."""
    if SURPLUS in row or MISSING in row:
        wanted = len(row) - 1
        record.drop("table", "malformed_row", f"line {number} has not {wanted} fields; quote the boxes column")
        return
    if not inside(record.file):
        record.drop("table", "bad_file_name", f"line {number}: {cells['file']!r} does not lie below images/")
        return
    if cells["frame"] and record.frame is None:
        record.drop("table", "bad_frame", f"line {number}: frame {cells['frame']!r} is no number of a frame")
        return
    if how in ("name_normalised", "name_case", "name_elsewhere"):
        record.note("table", how, f"line {number} writes {cells['file']}")
    record.patient_id = cells["patient_id"]
    if cells.given("patient_id") and not record.patient_id:
        record.note("table", "patient_missing", "the image counts as a patient of its own")
    record.age = age_of(record, cells["age"]) if cells.given("age") else None
    record.sex = sex_of(record, cells["sex"]) if cells.given("sex") else None
    record.diagnosis = cells["diagnosis"] or UNKNOWN
    if cells.given("diagnosis") and record.diagnosis == UNKNOWN:
        record.note("table", "diagnosis_missing")
    record.extra = {name: scalar_of(row[name]) for name in cells.columns.extra if row[name]}


def _compare(first: Record, cells: _Cells, number: int) -> None:
    """In tables with a row per box the facts of an image stand there several times, and may differ."""
    for name, known in (("patient_id", first.patient_id), ("diagnosis", first.diagnosis)):
        if cells[name] and cells[name] != known:
            first.note("table", "rows_differ", f"line {number} has {name} {cells[name]!r}, {known!r} stays")


def _lesions(record: Record, cells: _Cells, number: int) -> list[Lesion]:
    columns = cells.columns
    label = cells["label"] or ("" if record.diagnosis == UNKNOWN else record.diagnosis)
    lesions = []
    if columns.by_row:
        fields = [cells[key] for key in CORNERS[columns.box_format]]
        entries = [(" ".join(fields), fields, label)] if any(fields) else []
    else:
        entries = [_entry(part.strip(), columns, label) for part in cells["boxes"].split(columns.box_separator)]
    for text, fields, name in entries:
        if not text:
            continue
        record.boxes_in += 1
        box = _box(record, fields, columns)
        if box is None or not name:
            wanted = ",".join((*CORNERS[columns.box_format], "class"))
            record.note("boxes", "box_unreadable", f"line {number}: {text!r} is not {wanted}")
        else:
            lesions.append(Lesion(box, name))
    return lesions


def _entry(text: str, columns: ColumnMap, label: str) -> tuple[str, list[str], str]:
    """One box of a cell: its text, four fields and the class, which may be left out where it is known otherwise."""
    fields = [value.strip() for value in text.split(columns.value_separator, 4)]
    own = fields[4] if len(fields) == 5 else ""
    return text, fields[:4], columns.values.get("label", {}).get(own, own) or (label if columns.path else "")


def _box(record: Record, fields: list[str], columns: ColumnMap) -> Box | None:
    """Box xyxy in pixels, None where a field is no number."""
    try:
        a, b, c, d = (float(value) for value in fields)
    except ValueError:
        return None
    if columns.box_format == "cxcywh":
        a, b = a - c / 2, b - d / 2
    box = (a, b, c, d) if columns.box_format == "xyxy" else (a, b, a + c, b + d)
    if columns.normalised:
        width, height = image_size(record.path) or (math.nan, math.nan)
        box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    return box


class _Cells:
    """A row under our own column names, constants and replaced values included."""

    def __init__(self, row: Row, columns: ColumnMap) -> None:
        self.row, self.columns = row, columns

    def given(self, name: str) -> bool:
        return name in self.columns.columns or name in self.columns.constants

    def __getitem__(self, name: str) -> str:
        text = self.row.get(self.columns.columns.get(name, "\0"), "").strip()
        text = self.columns.values.get(name, {}).get(text, text)
        return text or self.columns.constants.get(name, "")

    def frame(self) -> int | None:
        """Frame number from 0, None where the row names none."""
        value = number_of(self["frame"]) - self.columns.frames_from
        return int(value) if value.is_integer() and 0 <= value < 1_000_000 else None


assert set(COLUMNS) == {*FACTS, "boxes"}
