"""COCO json that pycocotools and mmdet's CocoDataset load: one file per side of the split, or two per fold.

Categories stand in the fixed order of the classes; patient, age, sex, diagnosis and whatever else the reader knew
are fields of the image. ``info`` names the tool, the command and a hash of the inputs, nothing of the machine or
the clock, so the same input gives the same bytes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from . import __version__
from .images import write_whole
from .options import NO_INFLUENCE, Options
from .records import Box, Export, Record
from .split import leaks, wanted_shares


def number_records(records: Sequence[Record]) -> dict[str, tuple[int, int]]:
    """Image id and first annotation id of every file: one count through all sides, whatever the boxes per image."""
    ids, annotation = {}, 1
    for number, record in enumerate(records, start=1):
        ids[record.file] = (number, annotation)
        annotation += len(record.lesions)
    return ids


def coco_dict(
    records: Sequence[Record], classes: Sequence[str], ids: dict[str, tuple[int, int]], info: dict
) -> dict:
    """One side of the split as a COCO dictionary; ``ids`` comes from `number_records` of all sides."""
    category = {name: number for number, name in enumerate(classes, start=1)}
    annotations = []
    for record in records:
        image_id, first = ids[record.file]
        for place, lesion in enumerate(record.lesions):
            x, y, width, height = xywh(lesion.box)
            annotations.append(
                {
                    "id": first + place,
                    "image_id": image_id,
                    "category_id": category[lesion.label],
                    "bbox": [x, y, width, height],
                    "area": round(width * height, 4),
                    "iscrowd": 0,
                }
            )
    return {
        "info": info,
        "licenses": [],
        "images": [_image(record, ids[record.file][0]) for record in records],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category.items()],
    }


def _image(record: Record, number: int) -> dict:
    own = {
        "id": number,
        "file_name": record.out_file or record.file,
        "width": record.width,
        "height": record.height,
        "patient_id": record.patient_id,
        "age": record.age,
        "sex": record.sex,
        "diagnosis": record.diagnosis,
    }
    extra = {name if name not in own else f"extra_{name}": value for name, value in sorted(record.extra.items())}
    return {**own, **extra}


def xywh(box: Box) -> tuple[float, float, float, float]:
    """COCO's x, y, width, height of an xyxy box, to a ten-thousandth of a pixel."""
    x1, y1, x2, y2 = box
    return round(x1, 4), round(y1, 4), round(x2 - x1, 4), round(y2 - y1, 4)


def write_json(path: Path, content: dict, indent: int | None = None) -> None:
    """Write json whole; the same content gives the same bytes."""
    write_whole(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


def write_annotations(
    kept: Sequence[Record], classes: Sequence[str], folder: Path, facts: dict, options: Options
) -> None:
    """Write ``folder``/annotations: a file per side; for folds ``foldK_train`` and ``foldK_val``, mmdet's ann_file."""
    ids = number_records(kept)
    for name, own in side_files(kept, list(wanted_shares(options)), bool(options.folds)):
        info = {"description": f"{name} side, split {facts['split_rule']}", **facts}
        write_json(folder / "annotations" / f"{name}.json", coco_dict(own, classes, ids, info), options.indent)


def side_files(
    kept: Sequence[Record], sides: Sequence[str], folds: bool
) -> Iterator[tuple[str, list[Record]]]:
    """Name and records of every annotation file: a side each, or for folds what trains and what validates."""
    for side in sides:
        own = [record for record in kept if record.split == side]
        if folds:
            yield f"{side}_train", [record for record in kept if record.split != side]
        yield f"{side}_val" if folds else side, own


def run_facts(records: Sequence[Record], options: Options, source: Export, digest: str) -> dict:
    """What the json files say of the run; nothing of the machine, the clock or the number of workers."""
    kept = [record for record in records if record.kept]
    wanted = wanted_shares(options)
    shares = f"{options.folds} folds" if options.folds else "/".join(f"{value:g}" for value in wanted.values())
    rule = f"leaky random {shares}" if options.leaky_random else f"by patient and duplicate group {shares}"
    remarks = list(source.remarks)
    if not source.has_patient_ids:
        remarks.append("no patient ids: each image, with its near-duplicates, counts as a patient of its own")
    if options.leaky_random:
        remarks.append(f"leaky: {leaks(kept)} patients or duplicate groups stand on more than one side")
    return {
        "version": __version__,
        "tool": f"data_prep {__version__}",
        "command": command_line(options),
        "split_rule": f"{rule}, seed {options.seed}",
        "reader": source.reader,
        "options": {name: value for name, value in _plain(options).items() if name not in NO_INFLUENCE},
        "wanted": wanted,
        "inputs_sha256": digest,
        "remarks": remarks,
    }


def command_line(options: Options) -> str:
    """The command with every option that was not left alone and that changes the output; paths by their last part."""
    words = ["python", "-m", "data_prep", "EXPORT", "OUT"]
    plain = _plain(options)
    for field in fields(options):
        standard = field.default if field.default is not MISSING else None
        if field.name in NO_INFLUENCE or getattr(options, field.name) == standard:
            continue
        value = plain[field.name]
        name = f"--{field.name.replace('_', '-')}"
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [name] if value is True else [name, text]
    return shlex.join(words)


def _plain(options: Options) -> dict:
    """Options as json values; of a path only the last part, for the rest belongs to the machine."""
    values = {}
    for field in fields(options):
        value = getattr(options, field.name)
        value = value.name if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        values[field.name] = value
    return values
