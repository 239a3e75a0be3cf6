"""The one look at a file: decode, scan area, hash, thumbnail, overlay. Runs in a worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import UnreadableImage
from .hashing import phash
from .images import decode, to_grey
from .overlays import find_overlay
from .scan import find_scan_area, scan_crop

THUMB = 64  # side of the thumbnail on which candidates are compared
FLAT_STD = 3.0  # grey levels; a scan area with less contrast has no usable hash


@dataclass(frozen=True)
class Probe:
    """Small, picklable facts about one file; ``fault`` is (reason, detail) when it cannot be used."""

    fault: tuple[str, str] | None = None
    width: int = 0
    height: int = 0
    file_digest: bytes = b""
    pixel_digest: bytes = b""
    hash: int = 0
    thumb: bytes = b""
    flat: bool = False
    scan_box: tuple[int, int, int, int] = (0, 0, 0, 0)
    overlay_pixels: int = 0
    flow_share: float = 0.0
    doppler: bool = False
    change: str = ""


def probe(path: str, min_size: int, frame: int | None = None) -> Probe:
    """Look at one file, or at one frame of a multi-frame file.

    Images of ``min_size`` and less on both sides are not examined further.
    """
    try:
        picture = decode(Path(path), frame)
    except UnreadableImage as error:
        return Probe(fault=(error.reason, error.detail))
    height, width = picture.pixels.shape[:2]
    digest = hashlib.blake2b(picture.data, digest_size=16).digest()
    if width <= min_size and height <= min_size:
        return Probe(width=width, height=height, file_digest=digest)
    grey = to_grey(picture.pixels)
    area = find_scan_area(grey)
    crop = scan_crop(grey, area)
    overlay = find_overlay(picture.pixels, area)
    return Probe(
        width=width,
        height=height,
        file_digest=digest,
        pixel_digest=hashlib.blake2b(grey.tobytes(), digest_size=16, person=b"%dx%d" % (width, height)).digest(),
        hash=phash(crop),
        thumb=cv2.resize(crop, (THUMB, THUMB), interpolation=cv2.INTER_AREA).tobytes(),
        flat=float(cv2.meanStdDev(np.ascontiguousarray(crop[::2, ::2]))[1].item()) < FLAT_STD,
        scan_box=area.box,
        overlay_pixels=overlay.pixels,
        flow_share=overlay.flow_share,
        doppler=overlay.doppler,
        change=picture.change,
    )
