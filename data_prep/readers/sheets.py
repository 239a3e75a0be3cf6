"""Rows of a csv or xlsx file as text, with their line numbers."""

from __future__ import annotations

import csv
import importlib
import io
import zipfile
from pathlib import Path

from ..errors import ExportError
from .values import brief, text_of

Row = dict[str, str]
SURPLUS, MISSING = "\0surplus", "\0missing"  # marks of a row whose number of fields differs from the header's
MAX_UNPACKED = 1 << 30  # bytes of an unpacked xlsx; more is taken for a zip bomb


def read_rows(table: Path, separator: str = "", sheet: str = "") -> tuple[list[str], list[tuple[int, Row]]]:
    """Header and rows with their line numbers; a row with too few or too many fields has a `MISSING`/`SURPLUS` key.

    Raises:
        ExportError: no such file, or it cannot be read as what its suffix says.
    """
    if not table.is_file():
        raise ExportError(f"no table {table}: expected a csv or xlsx file with a row per image")
    lines = _xlsx(table, sheet) if table.suffix.casefold() in (".xlsx", ".xlsm") else _csv(table, separator)
    if not lines:
        return [], []
    header = [text_of(name) for name in lines[0][1]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ExportError(f"{table}: column {brief(twice[0])!r} stands there twice; rename one of them")
    return header, [(number, _row(header, values)) for number, values in lines[1:] if any(values)]


def _row(header: list[str], values: list[str]) -> Row:
    row = dict(zip(header, values, strict=False))
    if len(values) > len(header):
        row[SURPLUS] = str(len(values))
    elif len(values) < len(header):
        row[MISSING] = str(len(values))
        row.update({name: "" for name in header[len(values) :]})
    return row


def _csv(table: Path, separator: str) -> list[tuple[int, list[str]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{table} cannot be read as csv in UTF-8: {brief(error)}; save it as UTF-8 csv") from error
    except OSError as error:
        raise ExportError(f"{table}: {error.strerror or error}") from error
    first = text.partition("\n")[0]
    separator = separator or max(",;\t", key=first.count)  # a comma where none occurs
    lines: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for values in reader:
            lines.append((reader.line_num, [text_of(value) for value in values]))
    except csv.Error as error:
        raise ExportError(
            f"{table}, line {reader.line_num}, cannot be read as csv in UTF-8: {brief(error)}; is a quote never closed?"
        ) from error
    return [line for line in lines if line[1]]


def _xlsx(table: Path, sheet: str) -> list[tuple[int, list[str]]]:
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise ExportError(f"{table}: openpyxl is missing; pip install 'medkit[prep]', or save it as csv") from error
    try:
        with zipfile.ZipFile(table) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > MAX_UNPACKED:
            raise ValueError(f"unpacks to {size} bytes")
        book = openpyxl.load_workbook(table, read_only=True, data_only=True)
        names = list(book.sheetnames)
        if sheet and sheet not in names:
            raise ExportError(f"{table} has no sheet {brief(sheet)!r}; it has {brief(', '.join(names))}")
        found = book[sheet] if sheet else book[names[0]]
        lines = [(number, [text_of(cell) for cell in row]) for number, row in enumerate(found.values, start=1)]
        book.close()
    except ExportError:
        raise
    except Exception as error:  # a damaged zip or xml makes openpyxl raise nearly anything
        raise ExportError(f"{table} cannot be read as xlsx: {type(error).__name__}: {brief(error)}") from error
    return [line for line in lines if any(line[1])]
