"""Reader for YOLO: a txt file per image with ``class cx cy width height`` or an outline, all as shares of the image.

The txt files lie in labels/ (the folders below it as below images/; images/ and labels/ may also lie inside train/,
val/, ...) or beside the images. Class names come from data.yaml, classes.txt or obj.names. An image without txt file
is, by YOLO's rule, one without lesions; it is kept and noted.
"""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from ..errors import ExportError
from ..options import Options
from ..records import Box, Export, Lesion, Record
from .listing import Listing, list_files, list_images
from .pixels import image_size
from .shapes import polygon_box
from .values import brief, diagnosis_from_boxes, number_of, shown, text_of

CLASS_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels/classes.txt")
NO_LABELS = ("classes", "readme", "requirements", "license", "notes", "train", "val", "test", "valid")
MOST = 2.0  # shares beyond this are pixels that somebody forgot to divide


def class_file(export: Path) -> Path | None:
    """The file with the class names, if any."""
    return next((export / name for name in CLASS_FILES if (export / name).is_file()), None)


def label_files(export: Path) -> dict[str, Path]:
    """Txt files with boxes by the stem of their image, ``labels`` in the path read as ``images``."""
    found = {}
    for file, path in list_files(export).files.items():
        parts = file.split("/")
        if path.suffix.casefold() == ".txt" and path.stem.casefold() not in NO_LABELS:
            found["/".join("images" if part == "labels" else part for part in parts).rpartition(".")[0]] = path
    return found


def looks_like_yolo(export: Path) -> bool:
    """True where class names lie beside txt files, or a folder labels/ holds txt files."""
    if class_file(export) is not None:
        return True
    folders = (export / "labels", *export.glob("*/labels"))
    return any(path.suffix.casefold() == ".txt" for folder in folders if folder.is_dir() for path in folder.rglob("*"))


def read_yolo(export: Path, options: Options) -> Export:
    """Read the txt files and compare them with the images."""
    names = _class_names(export)
    listing = list_images(export)
    base = "images/" if listing.root != export else ""
    labels = label_files(export)
    if base:
        listing.files = {file: path for file, path in listing.files.items() if path not in labels.values()}
    records: dict[str, Record] = {}
    used: set[str] = set()
    for file, path in listing.files.items():
        record = records[file] = Record(file, path)
        stem = (base + file).rpartition(".")[0]
        if stem in labels:
            used.add(stem)
            _fill(record, labels[stem], names)
        else:
            record.note("table", "no_label_file", "taken as an image without lesions, as YOLO does")
        if record.kept:
            diagnosis_from_boxes(record)
    _strays(records, listing, {stem: path for stem, path in labels.items() if stem not in used}, export)
    everything = [*records.values(), *listing.faults]
    found = sorted({lesion.label for record in everything for lesion in record.lesions})
    classes = options.classes or tuple(dict.fromkeys(names.values())) or tuple(found)
    return Export(everything, classes, "yolo", False, listing.remarks)


def _strays(records: dict[str, Record], listing: Listing, labels: dict[str, Path], export: Path) -> None:
    """Label files without an image become records too, so that a lost image is seen."""
    for path in labels.values():
        name = path.relative_to(export).as_posix()
        record = records.setdefault(name, Record(name, path))
        if record.kept:
            record.drop("table", "no_file", "no image has this name; the label file stands alone")


def _class_names(export: Path) -> dict[str, str]:
    """Class names by the number that the txt files use; empty without any such file."""
    path = class_file(export)
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix not in (".yaml", ".yml"):
            return {str(number): text_of(line) for number, line in enumerate(text.splitlines()) if text_of(line)}
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read in UTF-8: {brief(error)}") from error
    found = content.get("names") if isinstance(content, dict) else None
    if isinstance(found, list):
        found = {str(number): name for number, name in enumerate(found)}
    if not isinstance(found, dict) or not all(isinstance(name, str) and name for name in found.values()):
        raise ExportError(f"{path}: names: {shown(found)}; expected a list of class names, or number: name")
    return {str(number).strip(): text_of(name) for number, name in found.items()}


def _fill(record: Record, path: Path, names: dict[str, str]) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        record.drop("table", "unreadable_annotation", f"{path.name}: {brief(error, 120)}")
        return
    size = image_size(record.path) if any(line.strip() for line in lines) else None
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        record.boxes_in += 1
        share = _share(fields[1:])
        if share is None:
            record.note(
                "boxes", "box_unreadable", f"{path.name}, line {number}: expected class cx cy width height from 0 to 1"
            )
        elif size:
            index = number_of(fields[0])
            key = str(int(index)) if index.is_integer() else fields[0]
            box = (share[0] * size[0], share[1] * size[1], share[2] * size[0], share[3] * size[1])
            record.lesions.append(Lesion(box, names.get(key, f"class {text_of(key)}")))


def _share(fields: list[str]) -> Box | None:
    """Box xyxy as shares of the image from four numbers, four and a score, or an outline of three points and more."""
    values = [number_of(field) for field in fields]
    if not all(math.isfinite(value) and abs(value) <= MOST for value in values):
        return None
    if len(values) in (4, 5):
        cx, cy, width, height = values[:4]
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    return polygon_box(values)
