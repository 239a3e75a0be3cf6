"""Readers: one function per layout of a raw export, each returns an `Export`.

* ``table``: a csv or xlsx beside an image folder, its columns mapped by ``--columns map.yaml``.
* ``coco``, ``voc``, ``yolo``: the common annotation formats.
* ``masks``: EXPORT/images and EXPORT/masks (BUSI, colour-coded, black and white).
* ``dicom``: DICOM files alone; beside any other layout they count as images.

Nothing is dropped silently. docs/data_prep_inputs.md shows each layout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import ExportError
from ..options import Options
from ..records import Export, Record
from .checks import check_metadata
from .coco import coco_files, read_coco
from .columns import load_columns
from .dicom import add_headers, read_dicom
from .facts import TABLES, add_tables
from .listing import is_dicom, list_images
from .masks import read_masks
from .table import NAMES, read_table
from .voc import read_voc, voc_files
from .yolo import looks_like_yolo, read_yolo

READERS: dict[str, Callable[[Path, Options], Export]] = {
    "table": read_table,
    "masks": read_masks,
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "dicom": read_dicom,
}
# (what tells more, what is often there besides); all other mixtures are for the user to decide
STRONGER = (("table", "masks"), ("masks", "coco"))


def read_export(export: Path, options: Options | None = None) -> Export:
    """Read the export with the reader that ``options`` names, or with the one that fits its files.

    Raises:
        ExportError: the folder, its image folder or its table is missing or empty, or its layout is not clear.
    """
    options = options or Options()
    if not export.is_dir():
        raise ExportError(f"no folder {export}: expected the export, a folder that holds images/")
    name = find_reader(export, options) if options.reader == "auto" else options.reader
    if name not in READERS:
        raise ExportError(f"no reader {name!r}: expected auto or one of {', '.join(READERS)}")
    if name in ("table", "masks") and not (export / "images").is_dir() and options.columns is None:
        raise ExportError(f"{export} has no folder images/: expected images/ beside table.csv or masks/")
    result = READERS[name](export, options)
    if not result.records:
        raise ExportError(f"{export} holds no image and no table row: nothing to prepare")
    if name != "table" and any((export / table).is_file() for table in TABLES):
        add_tables(export, result, list_images(export))
    add_headers(result, options)
    check_metadata(result.records)
    result.records.sort(key=lambda record: record.file)
    _make_unique(result.records)
    return result


def find_reader(export: Path, options: Options | None = None) -> str:
    """Name of the reader for a folder.

    Raises:
        ExportError: no layout fits, or several do; it names them.
    """
    found = candidates(export, options or Options())
    left = [name for name in found if not any(weak == name and strong in found for strong, weak in STRONGER)]
    if len(left) == 1:
        return left[0]
    names = "|".join(READERS)
    if left:
        raise ExportError(f"{export} could be {' or '.join(left)}: name the layout with --reader {'|'.join(left)}")
    if not (export / "images").is_dir():
        raise ExportError(f"{export} has no folder images/ and no annotations: name the layout with --reader {names}")
    raise ExportError(
        f"{export} has neither table.csv nor masks/ nor COCO, VOC or YOLO files nor DICOM: "
        f"name the layout with --reader {names}"
    )


def candidates(export: Path, options: Options) -> list[str]:
    """Every layout of which the folder holds something; ``dicom`` only when there is nothing else."""
    columns = load_columns(options.columns)
    tests = {
        "table": lambda: bool(columns.columns or columns.table) or any((export / name).is_file() for name in NAMES),
        "masks": lambda: (export / "masks").is_dir(),
        "coco": lambda: bool(coco_files(export)),
        "voc": lambda: bool(voc_files(export)),
        "yolo": lambda: looks_like_yolo(export),
    }
    found = [name for name, test in tests.items() if test()]
    return found or ["dicom"] * any(is_dicom(path) for path in list_images(export).files.values())


def _make_unique(records: list[Record]) -> None:
    """Give a second record of one name a name of its own: the file name is the key of every later stage."""
    taken: set[str] = set()
    for record in records:
        name, number = record.file, 2
        while record.file in taken:
            record.file, number = f"{name}~{number}", number + 1
        taken.add(record.file)
