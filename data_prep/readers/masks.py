"""Reader for a folder with images and lesion masks.

* BUSI: ``images/<class>/<name>.jpg`` and ``masks/<class>/<name>_mask[_k].png``; every mask file is one
  lesion, its box the bounding box of the non-zero pixels; empty masks (class ``normal``) are images without
  lesions.
* Colour-coded: ``images/<name>`` and ``masks/<name>.png``; each connected blob of a colour is one lesion of
  its class (green = benign, red = malignant).

Neither has patients, ages or sexes.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..options import Options
from ..records import NORMAL, Box, Export, Lesion, Record

COLOURS = {"benign": (0, 255, 0), "malignant": (255, 0, 0)}
MIN_BLOB = 20  # pixels; smaller blobs of a colour-coded mask are specks of the brush


def read_masks(export: Path, options: Options) -> Export:
    """Read EXPORT/images with EXPORT/masks; class folders below images/ choose the BUSI layout."""
    files = sorted(path for path in (export / "images").rglob("*") if path.is_file())
    in_folders = any(path.parent != export / "images" for path in files)
    records = (_busi if in_folders else _colour_coded)(export, files)
    found = {lesion.label for record in records for lesion in record.lesions}
    return Export(records, options.classes or tuple(sorted(found)), "masks", has_patient_ids=False)


def mask_box(mask: np.ndarray) -> Box | None:
    """Box xyxy (right and bottom edge exclusive) of the non-zero pixels of a mask (H, W), None if empty."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(xs):
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


def blob_boxes(mask: np.ndarray, min_pixels: int = MIN_BLOB) -> list[Box]:
    """Boxes of the connected blobs (8 neighbours) of a boolean mask (H, W), specks left out."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    blobs = [stats[index] for index in range(1, count) if stats[index][cv2.CC_STAT_AREA] >= min_pixels]
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in blobs]


def _busi(export: Path, files: list[Path]) -> list[Record]:
    masks = _mask_files(export / "masks")
    records = []
    for path in files:
        relative = path.relative_to(export / "images")
        diagnosis = relative.parts[0] if len(relative.parts) > 1 else NORMAL
        record = Record(relative.as_posix(), path, diagnosis=diagnosis)
        own = masks.get(relative.with_suffix("").as_posix(), [])
        if not own:
            record.drop("table", "no_mask", f"no masks/{relative.with_suffix('').as_posix()}_mask*.png")
        for mask_path in own:
            box = _read(record, mask_path, lambda image: mask_box(np.asarray(image.convert("L"))))
            if box:
                record.lesions.append(Lesion(box, diagnosis))
        record.boxes_in = len(record.lesions)
        records.append(record)
    return records


def _colour_coded(export: Path, files: list[Path]) -> list[Record]:
    records = []
    for path in files:
        record = Record(path.name, path, diagnosis=NORMAL)
        records.append(record)
        mask_path = export / "masks" / f"{path.stem}.png"
        if not mask_path.is_file():
            record.drop("table", "no_mask", f"no masks/{path.stem}.png")
            continue
        for label, colour in COLOURS.items():
            boxes = _read(record, mask_path, partial(_blobs, colour=colour))
            record.lesions += [Lesion(box, label) for box in boxes or []]
            record.diagnosis = label if boxes else record.diagnosis  # malignant comes last and wins
        record.boxes_in = len(record.lesions)
    return records


def _blobs(image: Image.Image, colour: tuple[int, int, int]) -> list[Box]:
    return blob_boxes((np.asarray(image.convert("RGB")) == colour).all(axis=2))


def _mask_files(folder: Path) -> dict[str, list[Path]]:
    """Mask files by their image (``class/name`` without suffix), in the order _mask, _mask_1, ..."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        match = re.fullmatch(r"(.*)_mask(_\d+)?", path.with_suffix("").relative_to(folder).as_posix())
        if match and path.is_file():
            found.setdefault(match[1], []).append(path)
    return found


def _read(record: Record, path: Path, measure):
    """Apply ``measure`` to an opened mask; a mask that cannot be decoded drops the image."""
    try:
        with Image.open(path) as image:
            record.mask_size = image.size
            return measure(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        if record.kept:
            record.drop("table", "unreadable_mask", f"{path.name}: {error}")
        return None
