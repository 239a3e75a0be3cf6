"""What ``python -m data_prep anomaly EXPORT OUT`` reads: a table, a folder per class, or a prepared COCO set.

`Record.diagnosis` becomes ``healthy``, ``anomalous`` or ``unknown``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .anomaly_options import AnomalyOptions
from .errors import ExportError
from .readers.coco import load_json
from .readers.listing import Listing, list_files
from .readers.sheets import MISSING, SURPLUS, Row, read_rows
from .records import UNKNOWN, Lesion, Record

HEALTHY, ANOMALOUS = "healthy", "anomalous"


def read_images(export: Path, options: AnomalyOptions) -> tuple[list[Record], list[str]]:
    """Records sorted by file, those that cannot be used dropped already, and remarks on the whole.

    ``extra['mask']`` is the path of a mask where the table names one.

    Raises:
        ExportError: no such folder, table or column, no image, or none that is healthy.
    """
    if not export.is_dir():
        raise ExportError(f"EXPORT {export} is no folder: expected one with images in it")
    remarks: list[str] = []
    if options.coco:
        records = _coco(export)
    elif options.table is not None:
        records, remarks = _table(export, options)
    else:
        records, remarks = _folders(export, options)
    records.sort(key=lambda record: record.file)
    counts = Counter(record.diagnosis for record in records if record.kept)
    if not counts[HEALTHY]:
        names = "an image without boxes" if options.coco else f"a label that is {' or '.join(options.healthy)}"
        raise ExportError(f"no image of {export} is healthy ({dict(counts)}): expected {names}; see --healthy")
    _name_patients(records, options)
    nobody = sum(not record.patient_id for record in records if record.kept)
    if nobody:
        remarks.append(f"{nobody} images name no patient: each counts as one of its own (see --patient-pattern)")
    return records, remarks


def label_of(text: str, options: AnomalyOptions) -> str:
    """``healthy``, ``anomalous``, or ``unknown`` for an empty label."""
    if not text:
        return UNKNOWN
    return HEALTHY if text.casefold() in {name.casefold() for name in options.healthy} else ANOMALOUS


def _name_patients(records: Sequence[Record], options: AnomalyOptions) -> None:
    for record in records:
        found = re.search(options.patient_pattern, record.file) if options.patient_pattern else None
        if found and not record.patient_id:
            record.patient_id = found[1] if found.re.groups else found[0]


def _table(export: Path, options: AnomalyOptions) -> tuple[list[Record], list[str]]:
    assert options.table is not None
    inside = export / options.table
    header, rows = read_rows(inside if inside.is_file() else options.table)
    wanted = (options.image_column, options.label_column, options.patient_column, options.mask_column)
    lacking = [name for name in wanted if name and name not in header]
    if lacking:
        raise ExportError(
            f"{options.table} has no column {', '.join(lacking)}; it has {', '.join(header)}: name them with "
            "--image-column, --label-column, --patient-column and --mask-column"
        )
    if not rows:
        raise ExportError(f"{options.table} has no rows: expected one per image")
    listing, seen, records = list_files(export, only_images=True), set(), []
    for number, row in rows:
        record = _row(number, row, listing, options)
        if record.kept and record.file in seen:
            record.drop("table", "listed_twice", f"line {number}: an earlier row names the same file")
        seen.add(record.file)
        records.append(record)
    return records, listing.remarks


def _row(number: int, row: Row, listing: Listing, options: AnomalyOptions) -> Record:
    name, mask = row[options.image_column], row.get(options.mask_column, "")
    file, how = listing.find(name) if name else (None, "no name")
    record = Record(file or name, listing.files[file] if file else Path(name), row.get(options.patient_column, ""))
    record.diagnosis = label_of(row[options.label_column], options)
    found, why = listing.find(mask) if mask else (None, "")
    if MISSING in row or SURPLUS in row:
        record.drop("table", "bad_row", f"line {number}: as many fields as the header were expected")
    elif file is None:
        record.drop("table", "missing", f"line {number}: {how}")
    elif mask and found is None:
        record.drop("table", "mask_missing", f"line {number}: {mask}: {why}")
    elif found:
        record.extra["mask"] = str(listing.files[found].absolute())
    return record


def _folders(export: Path, options: AnomalyOptions) -> tuple[list[Record], list[str]]:
    """The label is the name of the folder that an image lies in; masks lie in EXPORT/masks, with the same paths."""
    listing = list_files(export, only_images=True, without=("masks",))
    records = []
    for file, path in listing.files.items():
        record = Record(file, path)
        record.diagnosis = label_of(PurePosixPath(file).parent.name, options)
        mask = (export / "masks" / file).with_suffix(".png")
        if mask.is_file():
            record.extra["mask"] = str(mask.absolute())
        records.append(record)
    return [*records, *listing.faults], listing.remarks


def _coco(export: Path) -> list[Record]:
    files = sorted((export / "annotations").glob("*.json"))
    if not files:
        raise ExportError(f"EXPORT {export} has no annotations/*.json: expected an OUT of `python -m data_prep`")
    records = []
    for file in files:
        content = load_json(file)
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ExportError(f"{file} is no COCO file: expected images and annotations in it")
        boxes = defaultdict(list)
        for one in content["annotations"]:
            x, y, width, height = one["bbox"]
            boxes[one["image_id"]].append(Lesion((x, y, x + width, y + height), "lesion"))
        for image in content["images"]:
            name = image["file_name"]
            record = Record(name, export / "images" / name, str(image.get("patient_id") or ""))
            record.lesions = boxes[image["id"]]
            record.boxes_in = len(record.lesions)
            record.diagnosis = ANOMALOUS if record.lesions else HEALTHY
            records.append(record)
    return records
