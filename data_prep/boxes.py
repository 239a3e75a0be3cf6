"""Box stage: every box ends inside its image or is rejected with a reason.

Images whose diagnosis names a lesion while no usable box is left are dropped.
"""

from __future__ import annotations

import math

from .records import NORMAL, UNKNOWN, Box, Lesion, Record

MIN_BOX = 2.0  # pixels; a box that is thinner after clipping shows no lesion
SAME_IOU = 0.98
HUGE = 0.6  # share of the image's area
TINY = 0.015  # share of the image's shorter side


def check_boxes(record: Record, classes: tuple[str, ...]) -> None:
    """Clip, reject and note the boxes of one decoded record, in place."""
    if record.mask_size and record.mask_size != (record.width, record.height):
        record.drop("boxes", "mask_size", f"annotation is {record.mask_size}, image is {(record.width, record.height)}")
        return
    record.lesions_in = tuple(record.lesions)
    names = {name.casefold(): name for name in classes}
    kept: list[Lesion] = []
    for lesion in record.lesions:
        label = names.get(lesion.label.strip().casefold())
        clipped, fault = clip_box(lesion.box, record.width, record.height)
        if label is None:
            record.note("boxes", "box_unknown_class", f"{lesion.label!r} is not one of {','.join(classes)}")
        elif clipped is None:
            record.note("boxes", f"box_{fault}", _show(lesion.box))
        elif any(other.label == label and iou(other.box, clipped) > SAME_IOU for other in kept):
            record.note("boxes", "box_repeated", _show(lesion.box))
        else:
            if clipped != lesion.box:
                record.note("boxes", "box_clipped", f"{_show(lesion.box)} -> {_show(clipped)}")
            kept.append(Lesion(clipped, label))
            _note_size(record, clipped)
    record.lesions = kept


def _note_size(record: Record, box: Box) -> None:
    """Note a box that is too large or too small to mark a lesion; it is kept, for lesions differ."""
    width, height = box[2] - box[0], box[3] - box[1]
    if width * height > HUGE * record.width * record.height:
        record.note("boxes", "box_huge", _show(box))
    elif min(width, height) < TINY * min(record.width, record.height):
        record.note("boxes", "box_tiny", _show(box))


def check_labels(record: Record) -> None:
    """Drop an image whose diagnosis names a lesion while no usable box is left; note other contradictions.

    As an image without boxes it would teach the detector that the lesion is background.
    """
    found = {lesion.label for lesion in record.lesions}
    if not found and record.diagnosis not in (NORMAL, UNKNOWN):
        why = "all its boxes were rejected" if record.boxes_in else "the table gives no box"
        record.drop("labels", "lesion_without_box", f"diagnosis {record.diagnosis}, {why}")
    elif found and record.diagnosis not in found | {UNKNOWN}:
        record.note("labels", "diagnosis_differs", f"diagnosis {record.diagnosis}, boxes {','.join(sorted(found))}")


def clip_box(box: Box, width: int, height: int) -> tuple[Box | None, str]:
    """Box clipped to the image, or None and the fault: not_finite, inverted, outside, empty."""
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return None, "not_finite"
    if x2 < x1 or y2 < y1:
        return None, "inverted"
    if x2 - x1 < MIN_BOX or y2 - y1 < MIN_BOX:
        return None, "empty"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return None, "outside"
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if clipped[2] - clipped[0] < MIN_BOX or clipped[3] - clipped[1] < MIN_BOX:
        return None, "outside"
    return clipped, ""


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two xyxy boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _show(box: Box) -> str:
    return "[" + " ".join(f"{value:.6g}" for value in box) + "]"
