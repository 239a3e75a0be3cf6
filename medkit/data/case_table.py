"""Images with subject, label, visit and split as a table, and lesions cut out of a COCO set into such a table.

``cases.csv`` has the columns image (path beside the table), subject, label, visit, split; only image must be filled.
Used by ``python tools/retrieve.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from medkit.data.graded import SPLITS
from medkit.data.lesion_dataset import read_coco
from medkit.data.refusal import doubled, refuse
from medkit.data.transforms.loading import read_image
from medkit.errors import DatasetError

__all__ = ["CASE_COLUMNS", "cut_lesions", "read_case_table"]

CASE_COLUMNS = ("image", "subject", "label", "visit", "split")


def read_case_table(table: str | Path) -> list[dict[str, str]]:
    """Rows of CASE_COLUMNS, ``image`` as written; columns that are missing are empty.

    Raises:
        DatasetError: no such file, no column or entry ``image``, an image that is not there or comes twice, an unknown
            split.
    """
    table = Path(table)
    if not table.is_file():
        raise DatasetError(f"table {table} does not exist; expected a csv with the columns {', '.join(CASE_COLUMNS)}")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "image" not in (reader.fieldnames or ()):
            raise DatasetError(f"{table} has no column image; it needs one, and may have {', '.join(CASE_COLUMNS[1:])}")
        rows = [{name: (row.get(name) or "").strip() for name in CASE_COLUMNS} for row in reader]
    if not rows:
        raise DatasetError(f"{table} lists no image")
    names = [row["image"] for row in rows]
    refuse((str(line) for line, name in enumerate(names, 2) if not name), f"{table}: line", "it names no image")
    refuse(doubled(names), f"{table}: image", "it is listed twice")
    refuse((n for n in names if not (table.parent / n).is_file()), f"{table}: image", "the file does not exist")
    refuse({row["split"] for row in rows} - {"", *SPLITS}, f"{table}: split", f"expected one of {', '.join(SPLITS)}")
    return rows


def cut_lesions(root: str | Path, out: str | Path, margin: float = 0.25) -> Path:
    """Cut every box out of the images of a COCO set, as a square with a margin, to ``out`` with a ``cases.csv``.

    The square is moved into the image where it would leave it, and made no larger than the image. The label is the
    category's name, the subject the image's ``patient_id``.

    Args:
        root: what ``python -m data_prep EXPORT OUT`` wrote.
        out: folder for the cut-outs.
        margin: part of the box's longer side that is added on each side.

    Returns:
        The table.

    Raises:
        DatasetError: no box, or an image cannot be read.
    """
    root, out, rows = Path(root), Path(out), []
    for split in SPLITS:
        content = read_coco(root / "annotations" / f"{split}.json")
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            name = f"{Path(image['file_name']).with_suffix('').as_posix()}_{annotation['id']}.png"
            picture = square_about(read_image(root / "images" / image["file_name"]), annotation["bbox"], margin)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imencode(".png", picture)[1].tofile(out / name)
            rows.append(_row(name, image, names[annotation["category_id"]], split))
    if not rows:
        raise DatasetError(f"{root} has no box in any split, so there is no lesion to cut out")
    with (out / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CASE_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return out / "cases.csv"


def square_about(image: np.ndarray, bbox: list[float], margin: float) -> np.ndarray:
    """The part (S, S) of an image (H, W, ...) about a box (x, y, w, h), S at most the shorter side of the image."""
    x, y, width, height = bbox
    side = round(min(max(width, height) * (1 + 2 * margin), *image.shape[:2]))
    left, top = (
        round(min(max(start + length / 2 - side / 2, 0), whole - side))
        for start, length, whole in ((x, width, image.shape[1]), (y, height, image.shape[0]))
    )
    return image[top : top + side, left : left + side]


def _row(name: str, image: Mapping, label: str, split: str) -> dict[str, str]:
    return {"image": name, "subject": str(image.get("patient_id") or ""), "label": label, "visit": "", "split": split}
