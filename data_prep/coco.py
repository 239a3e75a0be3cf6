"""COCO json that pycocotools loads: categories in a fixed order, patient, age, sex, diagnosis per image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .images import write_whole
from .records import Box, Record


def coco_dict(records: Sequence[Record], classes: Sequence[str], ids: dict[str, int], info: dict) -> dict:
    """One side of the split as a COCO dictionary; ``ids`` gives the image id of every kept file."""
    category = {name: number for number, name in enumerate(classes, start=1)}
    images, annotations = [], []
    for record in records:
        images.append(_image(record, ids[record.file]))
        for place, lesion in enumerate(record.lesions):
            x, y, width, height = xywh(lesion.box)
            annotations.append(
                {
                    "id": ids[record.file] * 10_000 + place,
                    "image_id": ids[record.file],
                    "category_id": category[lesion.label],
                    "bbox": [x, y, width, height],
                    "area": round(width * height, 4),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in category.items()]
    return {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _image(record: Record, number: int) -> dict:
    return {
        "id": number,
        "file_name": record.out_file,
        "width": record.width,
        "height": record.height,
        "patient_id": record.patient_id,
        "age": record.age,
        "sex": record.sex,
        "diagnosis": record.diagnosis,
    }


def xywh(box: Box) -> tuple[float, float, float, float]:
    """COCO's x, y, width, height of an xyxy box, to a ten-thousandth of a pixel."""
    x1, y1, x2, y2 = box
    return round(x1, 4), round(y1, 4), round(x2 - x1, 4), round(y2 - y1, 4)


def write_json(path: Path, content: dict, indent: int | None = None) -> None:
    """Write json whole; the same content gives the same bytes."""
    write_whole(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())
