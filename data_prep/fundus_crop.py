"""One fundus photograph, in a worker: cut to the retina as SSiT does (Huang et al., JBHI 2024), JPEG, saliency map.

Command: ``python -m data_prep fundus EXPORT OUT``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFilter

from .errors import UnreadableImage
from .images import decode, encode_png, write_whole
from .probe import FLAT_STD
from .saliency import frame_saliency

WIDE = 1.2  # times the height: frames at most so wide are cropped about their centre
LEAST = 0.8  # times the height: a retina that is less wide or high is a search gone wrong
STRIP = 32  # the outer 1/32 of the frame on either side is background
ABOVE = 10  # grey levels above the background

CropBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class CropJob:
    """One photograph: where from, where to; ``map_target`` is "" where no map is wanted."""

    source: str
    target: str
    map_target: str
    size: int
    crop: bool = True
    circle: bool = True


@dataclass(frozen=True)
class Cropped:
    """What became of one photograph; ``fault`` is (reason, detail) when it cannot be used."""

    fault: tuple[str, str] | None = None
    files: tuple[tuple[str, int, int], ...] = ()  # (path, size, time in ns)
    size: tuple[int, int] = (0, 0)  # (width, height) of the source
    how: str = ""  # retina, centre or whole
    digest: bytes = b""  # of the pixels


def crop_chunk(jobs: Sequence[CropJob]) -> list[Cropped]:
    """Crop and write some photographs. OSError (a full disk) stops the run, which can be taken up again."""
    return [_crop(job) for job in jobs]


def _crop(job: CropJob) -> Cropped:
    try:
        pixels = decode(Path(job.source)).pixels
    except UnreadableImage as error:
        return Cropped((error.reason, error.detail))
    spread = float(cv2.meanStdDev(pixels)[1].max())
    if spread < FLAT_STD:
        return Cropped(("flat", f"grey levels deviate by {spread:.1f}, expected at least {FLAT_STD:g}"))
    image = Image.fromarray(pixels).convert("RGB")
    box, how = crop_box(image) if job.crop else ((0, 0, *image.size), "whole")
    data = encode_jpeg(squeeze(image, box, job.size))
    write_whole(Path(job.target), data)
    if job.map_target:
        found = frame_saliency(np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)), job.circle)
        write_whole(Path(job.map_target), encode_png(found))
    facts = [(path, Path(path).stat()) for path in (job.target, job.map_target) if path]
    files = tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in facts)
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, person=b"%dx%d" % image.size).digest()
    return Cropped(None, files, image.size, how, digest)


def crop_box(image: Image.Image) -> tuple[CropBox, str]:
    """Box (left, top, right, bottom) of the part to keep, and how it was found: ``retina`` or ``centre``."""
    box = _retina(image)
    if box is not None:
        return box, "retina"
    width, height = image.size
    left = max(0, (width - height) // 2)
    return (left, 0, min(width, left + height), height), "centre"


def _retina(image: Image.Image) -> CropBox | None:
    """Box of what is brighter than the sides of a wide frame; None where the frame is not wide, or it is too small."""
    width, height = image.size
    if width <= WIDE * height:
        return None
    blurred = np.asarray(image.filter(ImageFilter.BLUR)).astype(np.int16)  # (H, W, 3)
    strip = max(1, width // STRIP)
    background = np.maximum(blurred[:, :strip].max((0, 1)), blurred[:, -strip:].max((0, 1)))  # (3,)
    lit = (blurred > background + ABOVE).any(axis=2)
    columns, rows = np.flatnonzero(lit.any(axis=0)), np.flatnonzero(lit.any(axis=1))
    if not len(columns):
        return None
    left, top, right, bottom = (int(end) for end in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return (left, top, right, bottom) if min(right - left, bottom - top) >= LEAST * height else None


def squeeze(image: Image.Image, box: CropBox, size: int) -> Image.Image:
    """The box as a square, aspect not kept, Lanczos: first the width, then the height.

    In one call Pillow chooses the order by itself, differently in different versions.
    """
    part = image.crop(box)
    filtering = Image.Resampling.LANCZOS
    return part.resize((size, part.height), filtering).resize((size, size), filtering)


def encode_jpeg(image: Image.Image) -> bytes:
    """JPEG at quality 100 without chroma subsampling."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=100, subsampling=0)
    return data.getvalue()
