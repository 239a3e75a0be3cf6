"""Write stage: copy a picture unchanged, or clean, shrink and encode it. Runs in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .images import decode, encode_png, to_grey, write_whole
from .overlays import find_overlay, remove_overlay
from .records import Box
from .scan import find_scan_area


@dataclass(frozen=True)
class WriteJob:
    """One kept image: where from, where to, and what is to be done with it."""

    source: str
    target: str
    mask_target: str  # where the overlay mask goes, "" when nothing is to be removed
    max_side: int
    copy: bool
    size: tuple[int, int]  # (width, height) of the source
    boxes: tuple[Box, ...]
    frame: int | None = None  # number of the frame in a multi-frame file


@dataclass(frozen=True)
class Written:
    """Size of the written image and how many overlay pixels were removed, in all and inside each box."""

    width: int
    height: int
    overlay_pixels: int = 0
    in_boxes: tuple[int, ...] = ()
    kinds: tuple[tuple[str, int], ...] = ()  # overlay pixels by kind of mark


def write_image(job: WriteJob) -> Written:
    """Write one image whole and say what was changed."""
    if job.copy:
        write_whole(Path(job.target), Path(job.source).read_bytes())
        return Written(*job.size)
    pixels, count = decode(Path(job.source), job.frame).pixels, 0
    in_boxes: tuple[int, ...] = ()
    kinds: tuple[tuple[str, int], ...] = ()
    if job.mask_target:
        area = find_scan_area(to_grey(pixels))
        overlay = find_overlay(pixels, area)
        pixels, count = remove_overlay(pixels, overlay, area), overlay.pixels
        kinds = tuple(overlay.kinds.items())
        in_boxes = tuple(_count(overlay.mask, box) for box in job.boxes)
        write_whole(Path(job.mask_target), encode_png(shrink(overlay.mask, job.max_side, cv2.INTER_NEAREST)))
    pixels = shrink(pixels, job.max_side)
    write_whole(Path(job.target), encode_png(pixels))
    return Written(pixels.shape[1], pixels.shape[0], count, in_boxes, kinds)


def shrink(pixels: np.ndarray, max_side: int, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """The image with its longer side at most ``max_side`` (0 leaves it)."""
    height, width = pixels.shape[:2]
    if not max_side or max(height, width) <= max_side:
        return pixels
    scale = max_side / max(height, width)
    return cv2.resize(
        pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=interpolation
    )


def _count(mask: np.ndarray, box: Box) -> int:
    x1, y1, x2, y2 = (int(value) for value in box)
    return int(np.count_nonzero(mask[y1 : y2 + 1, x1 : x2 + 1]))
