"""Reader for COCO: json files next to or above the images, several of them together.

Boxes that only have an outline get its box; crowds are noted; fields of an image beyond COCO's own (also nested ones,
``metadata: {...}``) are kept as facts, patient, age and sex under our names. Files without entry and entries without
file are records with a reason.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ExportError
from ..options import Options
from ..records import Box, Export, Lesion, Record
from .facts import take_facts
from .listing import Listing, list_images
from .shapes import segmentation_box
from .values import brief, diagnosis_from_boxes, number_of, shown, text_of

OWN_FIELDS = ("id", "file_name", "width", "height", "license", "coco_url", "flickr_url", "date_captured")


def coco_files(export: Path) -> list[Path]:
    """Json files in the usual places that speak of images and annotations."""
    folders = (export, export / "annotations", export / "images")
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))]
    return [path for path in files if path.is_file() and not path.name.startswith(".") and _looks_like_coco(path)]


def read_coco(export: Path, options: Options) -> Export:
    """Read every COCO json of the export as one data set; categories are joined by name."""
    paths = coco_files(export)
    if not paths:
        raise ExportError(f"{export} holds no COCO json: expected one with images and annotations in {export}")
    listing = list_images(export)
    listing.files = {file: path for file, path in listing.files.items() if path not in paths}
    reading = _Reading(listing)
    for path in paths:
        reading.read(path)
    for record in reading.records.values():
        if record.kept and record.diagnosis == "unknown":
            diagnosis_from_boxes(record)
    for file in listing.files.keys() - reading.records.keys():
        record = reading.records[file] = Record(file, listing.files[file])
        record.drop("table", "no_row", "no json has an entry for this file")
    records = [*reading.records.values(), *listing.faults]
    classes = options.classes or tuple(reading.classes)
    remarks = [*listing.remarks, *reading.remarks]
    return Export(records, classes, "coco", any(record.patient_id for record in records), remarks)


@dataclass
class _Reading:
    """Records by file, gathered from several json files."""

    listing: Listing
    records: dict[str, Record] = field(default_factory=dict)
    classes: dict[str, None] = field(default_factory=dict)  # an ordered set
    remarks: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        content = load_json(path)
        images, annotations, categories = (
            _entries(path, content, name) for name in ("images", "annotations", "categories")
        )
        names = {_key(entry.get("id")): text_of(entry.get("name")) for entry in categories}
        self.classes.update(dict.fromkeys(filter(None, names.values())))
        by_id: dict[str, Record] = {}
        for place, image in enumerate(images):
            record = self._image(path, place, image)
            own = by_id.setdefault(_key(image.get("id")), record)
            if own is not record:
                number = shown(image.get("id"))
                for other in filter(lambda one: one.kept, (own, record)):
                    other.drop("table", "duplicate_id", f"{path.name}: id {number} stands there twice")
        strays: list[str] = []
        for annotation in annotations:
            owner = by_id.get(_key(annotation.get("image_id")))
            if owner is None:
                strays.append(text_of(annotation.get("image_id")) or "none")
            elif owner.kept:
                _annotate(owner, annotation, names)
        if strays:
            some = ", ".join(sorted(set(strays))[:5])
            self.remarks.append(f"{path.name}: {len(strays)} annotations of images that it does not list (ids {some})")

    def _image(self, path: Path, place: int, image: dict) -> Record:
        """The record of an entry; a file that another entry named already keeps its first record."""
        name = text_of(image.get("file_name"))
        file, how = self.listing.find(name) if name else (None, "no file_name")
        key = file or name or f"{path.name}: images[{place}]"
        record = self.records.get(key)
        if record is not None:
            record.note("table", "duplicate_row", f"{path.name} names the file again (images[{place}])")
            return record
        record = self.records[key] = Record(key, self.listing.files[file] if file else self.listing.root / "-")
        if file is None:
            record.drop("table", "no_file", f"{path.name}, images[{place}]: {how}")
            return record
        if how:
            record.note("table", how, f"{path.name} writes {name}")
        sides = [number_of(image.get(side)) for side in ("width", "height")]
        if all(math.isfinite(side) and side >= 1 for side in sides):
            record.mask_size = int(sides[0]), int(sides[1])
        take_facts(record, {key: value for key, value in image.items() if key not in OWN_FIELDS})
        return record


def load_json(path: Path) -> object:
    """Content of a json file.

    Raises:
        ExportError: it cannot be read, or is no json; with the place.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read as json in UTF-8: {brief(error)}") from error


def _looks_like_coco(path: Path) -> bool:
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return b'"images"' in data and b'"annotations"' in data


def _key(value: object) -> str:
    """An id as key; what is no scalar is no id."""
    return repr(value) if isinstance(value, (str, int, float)) else ""


def _entries(path: Path, content: object, name: str) -> list[dict]:
    found = content.get(name) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise ExportError(f"{path}: no list {name!r}; expected COCO, a mapping with images, annotations and categories")
    for place, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise ExportError(f"{path}: {name}[{place}] is {shown(entry)}; expected a mapping, {{...}}")
    return found


def _annotate(record: Record, annotation: dict, names: dict[str, str]) -> None:
    """Add one annotation; one that has no usable box or an unknown category is noted."""
    record.boxes_in += 1
    number = text_of(annotation.get("id")) or "without id"
    label = names.get(_key(annotation.get("category_id")))
    box = _bbox(annotation.get("bbox"))
    if box is None:
        box = segmentation_box(annotation.get("segmentation"))
        if box:
            record.note("boxes", "box_from_outline", f"annotation {number}")
    if box is None:
        odd = shown(annotation.get("bbox"))
        record.note("boxes", "box_unreadable", f"annotation {number}: bbox {odd} is not x,y,width,height")
        return
    if not label:
        wrong = shown(annotation.get("category_id"))
        record.note("boxes", "box_unknown_class", f"annotation {number}: no category {wrong}")
        return
    if annotation.get("iscrowd") in (1, True, "1"):
        record.note("boxes", "box_crowd", f"annotation {number} is marked iscrowd; kept as one box")
    record.lesions.append(Lesion(box, label))


def _bbox(bbox: object) -> Box | None:
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    x, y, width, height = (number_of(value) for value in bbox)
    if not all(map(math.isfinite, (x, y, width, height))):
        return None
    return x, y, x + width, y + height
