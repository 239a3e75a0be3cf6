"""Reader for EXPORT/images with lesion masks in EXPORT/masks.

* Class folders (BUSI): ``images/<class>/<name>.jpg`` and ``masks/<class>/<name>_mask[_k].png``; every mask file is
  one lesion of the class, its box the bounding box of the non-zero pixels; empty masks are images without lesions.
* Colours: ``images/<name>`` and ``masks/<name>.png``; each connected blob of a colour is one lesion of its class
  (green = benign, red = malignant, or the ``colours`` of ``--columns map.yaml``).
* Black and white: each blob is a lesion of the class ``lesion`` (``label`` in the map), or, where an image has
  several mask files (``<name>_mask_1.png``, ``<name>_2.png``, ``<name>/*.png``), each file is one lesion.

None has patients, ages or sexes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..images import FORMATS, MAX_PIXELS
from ..options import Options
from ..records import NORMAL, Box, Export, Lesion, Record
from .columns import Colour, ColumnMap, load_columns
from .listing import Listing, list_files, list_images
from .values import brief

COLOURS: dict[str, Colour] = {"benign": (0, 255, 0), "malignant": (255, 0, 0)}
MIN_BLOB = 20  # pixels; smaller blobs of a colour-coded mask are specks of the brush
MASK_NAMES = (r"(.*)_(?:mask|seg|segmentation|label|lesion|gt)(?:_?\d+)?", r"(.*)_\d+", r"(.*)/[^/]+")


def read_masks(export: Path, options: Options) -> Export:
    """Read EXPORT/images with EXPORT/masks."""
    columns = load_columns(options.columns)
    listing = list_images(export)
    masks = list_files(export / "masks") if (export / "masks").is_dir() else Listing(export / "masks")
    own, strays = assign_masks(listing.files, masks.files)
    records = []
    for file, path in listing.files.items():
        record = Record(file, path)
        _fill(record, own.get(file, []), columns)
        records.append(record)
    for file in strays:
        record = Record(f"masks/{file}", masks.files[file])
        record.drop("table", "no_file", "no image has the name of this mask")
        records.append(record)
    found = {lesion.label for record in records for lesion in record.lesions}
    everything = [*records, *listing.faults, *masks.faults]
    remarks = [*listing.remarks, *(f"masks: {remark}" for remark in masks.remarks)]
    return Export(everything, options.classes or tuple(sorted(found)), "masks", False, remarks)


def assign_masks(images: Iterable[str], masks: dict[str, Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Mask files by their image, in the order _mask, _mask_1, ..., and the masks that belong to none."""
    stems = {file.rpartition(".")[0]: file for file in images}
    own: dict[str, list[Path]] = {}
    strays = []
    for file in sorted(masks):
        stem = file.rpartition(".")[0]
        names = [stem, *(match[1] for pattern in MASK_NAMES if (match := re.fullmatch(pattern, stem)))]
        image = next((stems[name] for name in names if name in stems), None)
        if image is None:
            strays.append(file)
        else:
            own.setdefault(image, []).append(masks[file])
    return own, strays


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


def _fill(record: Record, paths: list[Path], columns: ColumnMap) -> None:
    """Lesions and diagnosis of one image from its masks."""
    folder = record.file.partition("/")[0] if "/" in record.file else ""
    record.diagnosis = folder or NORMAL
    if not paths:
        stem = record.file.rpartition(".")[0]
        record.drop("table", "no_mask", f"no masks/{stem}.png, no masks/{stem}_mask*.png")
    whole = columns.masks == "whole" or (columns.masks == "" and (bool(folder) or len(paths) > 1))
    for path in paths:
        mask = _load(record, path)
        if mask is None:
            return
        grey = mask.ndim == 2 and not _grey_colours(columns)
        if grey:
            boxes = [mask_box(mask)] if whole else blob_boxes(mask > (127 if path.suffix in (".jpg", ".jpeg") else 0))
            record.lesions += [Lesion(box, folder or columns.label) for box in boxes if box]
            record.diagnosis = folder or (columns.label if record.lesions else NORMAL)
        else:
            _add_coloured(record, mask, path, columns)
    record.boxes_in = len(record.lesions)


def _add_coloured(record: Record, mask: np.ndarray, path: Path, columns: ColumnMap) -> None:
    """Each blob of a known colour is a lesion; blobs of other colours are noted."""
    known = np.zeros(mask.shape[:2], bool)
    for label, colour in (columns.colours or COLOURS).items():
        if (mask.ndim == 3) != isinstance(colour, tuple):
            continue
        own = (mask == colour).all(axis=2) if mask.ndim == 3 else mask == colour
        known |= own
        boxes = blob_boxes(own)
        record.lesions += [Lesion(box, label) for box in boxes]
        record.diagnosis = label if boxes else record.diagnosis  # the last class of the list wins
    lit = mask.any(axis=2) if mask.ndim == 3 else mask > 0
    other = blob_boxes(lit & ~known)
    if other:
        x, y = int(other[0][0]), int(other[0][1])
        record.note("boxes", "colour_unknown", f"{path.name}: {len(other)} blobs of other colours, one near {x},{y}")


def _grey_colours(columns: ColumnMap) -> bool:
    return any(isinstance(colour, int) for colour in columns.colours.values())


def _load(record: Record, path: Path) -> np.ndarray | None:
    """A mask as (H, W), or (H, W, 3) RGB where it has colours; one that cannot be decoded drops the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=(*FORMATS, "GIF")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many")
                size = image.size
                grey = image.mode in ("L", "1", "I", "F") or image.mode.startswith("I;")
                mask = np.asarray(image) if grey else np.asarray(image.convert("RGB"))
    except Exception as error:  # a decoder on damaged bytes raises nearly anything
        record.drop("table", "unreadable_mask", f"{path.name}: {brief(error, 120)}")
        return None
    if record.mask_size not in (None, size):
        record.drop("table", "mask_sizes_differ", f"{path.name} is {size}, another mask is {record.mask_size}")
        return None
    record.mask_size = size
    if mask.ndim == 3 and (mask[..., :1] == mask).all() and mask.any():
        return mask[..., 0]  # white on black, saved with colours; an empty mask stays what it says it is
    return mask
