"""Readers: one function per layout of a raw export, each returns an `Export`.

* ``table``: EXPORT/images/* and EXPORT/table.csv.
* ``masks``: EXPORT/images and EXPORT/masks (BUSI, colour-coded masks).

Nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import ExportError
from ..options import Options
from ..records import Export
from .masks import read_masks
from .table import read_table


def read_export(export: Path, options: Options | None = None) -> Export:
    """Read the export with the reader that ``options`` names, or with the one that fits its files.

    Raises:
        ExportError: the folder, its image folder or its table is missing or empty.
    """
    options = options or Options()
    if not export.is_dir():
        raise ExportError(f"no folder {export}: expected the export, a folder that holds images/")
    if not (export / "images").is_dir():
        raise ExportError(f"{export} has no folder images/: expected images/ beside table.csv or masks/")
    name = find_reader(export) if options.reader == "auto" else options.reader
    result = READERS[name](export, options)
    if not result.records:
        raise ExportError(f"{export} holds no image and no table row: nothing to prepare")
    result.records.sort(key=lambda record: record.file)
    return result


def find_reader(export: Path) -> str:
    """Name of the reader for a folder: a table wins over masks."""
    if (export / "table.csv").is_file():
        return "table"
    if (export / "masks").is_dir():
        return "masks"
    raise ExportError(f"{export} has neither table.csv nor masks/: name the layout with --reader {'|'.join(READERS)}")


READERS: dict[str, Callable[[Path, Options], Export]] = {
    "table": read_table,
    "masks": read_masks,
}
