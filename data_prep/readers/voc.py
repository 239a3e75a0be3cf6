"""Reader for Pascal VOC: an xml file per image, in Annotations/ or beside the images.

VOC counts pixels from 1 and its right edge belongs to the box; many tools count from 0. Where any box of the export
starts at 0, all are taken as they stand, else 1 is subtracted from the left and upper edge; a remark says which.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

from ..errors import ExportError
from ..options import Options
from ..records import Export, Lesion, Record
from .listing import Listing, list_files, list_images
from .values import brief, diagnosis_from_boxes, number_of, text_of

FOLDERS = ("Annotations", "annotations", "labels", "xml", "images", "JPEGImages", ".")
MAX_XML = 16 << 20  # bytes


def voc_files(export: Path) -> dict[str, Path]:
    """Xml files by their path without suffix, relative to the folder they were found in."""
    for name in FOLDERS:
        folder = export / name
        if folder.is_dir():
            found = list_files(folder).files if name != "." else {p.name: p for p in sorted(folder.glob("*.xml"))}
            files = {file: path for file, path in found.items() if path.suffix.casefold() == ".xml"}
            if files:
                return {file.rpartition(".")[0]: path for file, path in files.items()}
    return {}


def read_voc(export: Path, options: Options) -> Export:
    """Read EXPORT/Annotations/*.xml and compare them with the images."""
    parser = _parser()
    xmls = voc_files(export)
    if not xmls:
        raise ExportError(f"{export} holds no xml file: expected Annotations/*.xml beside JPEGImages/ or images/")
    listing = list_images(export)
    files = {path for path in xmls.values()}
    listing.files = {file: path for file, path in listing.files.items() if path not in files}
    stems = {file.rpartition(".")[0]: file for file in listing.files}
    records: dict[str, Record] = {}
    for stem, path in xmls.items():
        _read_one(parser, records, listing, stems.get(stem), path)
    remarks = [*listing.remarks, _shift(list(records.values()))]
    for record in records.values():
        if record.kept:
            diagnosis_from_boxes(record)
    for file in listing.files.keys() - records.keys():
        record = records[file] = Record(file, listing.files[file])
        record.drop("table", "no_row", "no xml names this file")
    found = {lesion.label for record in records.values() for lesion in record.lesions}
    everything = [*records.values(), *listing.faults]
    return Export(everything, options.classes or tuple(sorted(found)), "voc", False, remarks)


def _parser() -> ModuleType:
    try:
        return importlib.import_module("defusedxml.ElementTree")
    except ImportError as error:
        raise ExportError("Pascal VOC needs defusedxml: pip install 'medkit[prep]'") from error


def _read_one(parser: ModuleType, records: dict, listing: Listing, same_stem: str | None, path: Path) -> None:
    """Turn one xml into a record; an xml that cannot be read drops its image."""
    root, fault = None, ""
    try:
        if path.stat().st_size > MAX_XML:
            raise ValueError(f"larger than {MAX_XML} bytes")
        root = parser.fromstring(path.read_bytes())
        fault = "" if root.tag == "annotation" else f"its root is {text_of(root.tag)[:40]!r}, not 'annotation'"
    except Exception as error:  # expat and defusedxml raise a dozen kinds, entities among them
        fault = f"{type(error).__name__}: {brief(error, 120)}"
    name = text_of(root.findtext("filename")) if root is not None and not fault else ""
    file, how = (same_stem, "") if same_stem else listing.find(name) if name else (None, "it names no file")
    key = file or name or path.name
    if key in records:
        if records[key].kept:
            records[key].note("table", "duplicate_row", f"{path.name} describes the file again and is ignored")
        return
    record = records[key] = Record(key, listing.files[file] if file else listing.root / "-")
    if fault:
        record.drop("table", "unreadable_annotation", f"{path.name}: {fault}")
    elif file is None:
        record.drop("table", "no_file", f"{path.name}: {how}")
    else:
        _fill(record, root, path.name)


def _fill(record: Record, root, name: str) -> None:
    sides = [number_of(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if all(math.isfinite(side) and side >= 1 for side in sides):
        record.mask_size = int(sides[0]), int(sides[1])
    for place, item in enumerate(root.findall("object")):
        record.boxes_in += 1
        corners = [number_of(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
        label = text_of(item.findtext("name"))
        if not all(map(math.isfinite, corners)) or not label:
            record.note("boxes", "box_unreadable", f"{name}, object {place + 1}: no name, or no number in bndbox")
            continue
        for flag in ("difficult", "truncated", "occluded"):
            if text_of(item.findtext(flag)) == "1":
                record.note("boxes", f"box_{flag}", f"{name}, object {place + 1}")
        record.lesions.append(Lesion((corners[0], corners[1], corners[2], corners[3]), label))


def _shift(records: list[Record]) -> str:
    """Bring boxes that are counted from 1 to pixels from 0, in place; says what was done."""
    if any(min(lesion.box[:2]) < 1 for record in records for lesion in record.lesions):
        return "boxes are counted from 0 (some start there) and taken as they stand"
    for record in records:
        record.lesions = [
            Lesion((x1 - 1, y1 - 1, x2, y2), lesion.label)
            for lesion in record.lesions
            for x1, y1, x2, y2 in [lesion.box]
        ]
    return "boxes are counted from 1, as Pascal VOC does; 1 was subtracted from their left and upper edge"
