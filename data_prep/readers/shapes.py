"""Boxes of outlines: polygons and COCO's run-length masks, without painting them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..records import Box
from .values import number_of


def polygon_box(numbers: Sequence[object]) -> Box | None:
    """Box of x1, y1, x2, y2, ... with at least three points, None where that is not what it is."""
    values = [number_of(value) for value in numbers]
    if len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
        return None
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def segmentation_box(segmentation: object) -> Box | None:
    """Box of a COCO segmentation (list of polygons, or run lengths as list or string), None where it is neither."""
    if isinstance(segmentation, dict):
        return _rle_box(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if not isinstance(segmentation[0], list):
        segmentation = [segmentation]  # some tools write a single polygon bare
    boxes = [polygon_box(part) if isinstance(part, list) else None for part in segmentation]
    good = [box for box in boxes if box]
    if not good or len(good) < len(boxes):
        return None
    x1, y1, x2, y2 = zip(*good, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _rle_box(segmentation: dict) -> Box | None:
    """Runs of 0 and 1 in turn, down the columns (`counts`), of a mask of ``size`` [height, width]."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        return None
    if isinstance(counts, str):
        counts = _unpack(counts)
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        return None
    height, width = size
    if sum(counts) != height * width:
        return None
    place, boxes = 0, []
    for number, run in enumerate(counts):
        if number % 2 and run:
            first, last = divmod(place, height), divmod(place + run - 1, height)
            top, bottom = (first[1], last[1] + 1) if first[0] == last[0] else (0, height)
            boxes.append((first[0], top, last[0] + 1, bottom))
        place += run
    if not boxes:
        return None
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return float(min(x1)), float(min(y1)), float(max(x2)), float(max(y2))


def _unpack(text: str) -> list[int] | None:
    """Run lengths of COCO's string: 5 bits a letter, from the third run on as difference to the last but one."""
    counts: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 60:
            return None
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (1 << bits) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    return counts if not bits else None
