"""Perceptual hash of the scan area.

The hash is imagehash's ``phash`` to the bit (Zauner 2010, "Implementation and benchmarking of perceptual
image hash functions"), taken of the scan area only and computed without imagehash.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .errors import UnreadableImage
from .scan import find_scan_area, scan_crop

SIDE = 32  # the image is shrunk to 32 x 32, its 8 x 8 lowest cosine frequencies make 64 bits
BITS = 8
REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_FLIPS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def _cosine_rows() -> np.ndarray:
    """First rows (8, 32) of the unnormalised DCT-II, as scipy.fftpack.dct computes it."""
    k, n = np.arange(BITS)[:, None], np.arange(SIDE)[None]
    return 2.0 * np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))


_ROWS = _cosine_rows()


def phash(grey: np.ndarray) -> int:
    """64-bit pHash of a grey image (H, W) uint8; the first bit of imagehash's hash is the highest here."""
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = _ROWS @ np.asarray(small, np.float64) @ _ROWS.T  # (8, 8)
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def quick_phash(grey: np.ndarray) -> int:
    """`phash` without the rounding of the 32 x 32 image to bytes, as two matrix products: a few bits may differ.

    ``docs/data_prep_duplicates.md`` says how many.
    """
    height, width = grey.shape
    return int(_hashes(_shrink_rows(height) @ grey.astype(np.float32) @ _shrink_rows(width).T))


def hash_file(path: str | Path, reduce: int = 4, scan_only: bool = True) -> int:
    """Hash straight from a file: decoded at 1/``reduce`` of its size (JPEG does it inside), `quick_phash`.

    For scanning large folders; the pipeline itself decodes wholly and takes `phash`.

    Args:
        path: an image that OpenCV reads.
        reduce: 1, 2, 4 or 8.
        scan_only: of the scan area only, as the pipeline does; else of the whole frame.

    Raises:
        UnreadableImage: the file is missing, or OpenCV cannot decode it.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadableImage("missing", error.strerror or str(error)) from error
    grey = cv2.imdecode(data, REDUCED[reduce]) if data.size else None
    if grey is None:
        raise UnreadableImage("not_an_image" if data.size else "zero_bytes")
    return quick_phash(scan_crop(grey, find_scan_area(grey)) if scan_only else grey)


def turned_hashes(thumbs: np.ndarray, block: int = 4096) -> np.ndarray:
    """Hashes (N, 8) uint64 of the eight mirrored and rotated versions (`verify.turn`) of thumbnails (N, S, S).

    A mirror changes the sign of the odd frequencies, a transposition swaps the axes: so the frequencies of the
    thumbnail as it stands give all eight hashes exactly (without rounding, as in `quick_phash`).
    """
    found = np.zeros((len(thumbs), 8), np.uint64)
    sign = np.where(np.arange(BITS) % 2, -1, 1).astype(np.float32)
    for start in range(0, len(thumbs), block):
        part = np.asarray(thumbs[start : start + block], np.float32)  # (B, S, S)
        rows = _shrink_rows(part.shape[1])
        low = rows @ part @ rows.T  # (B, 8, 8)
        for number in range(8):
            turned = low.swapaxes(1, 2) if number & 4 else low
            turned = turned * sign[:, None] if number & 2 else turned
            found[start : start + block, number] = _hashes(turned * sign if number & 1 else turned)
    return found


def _hashes(low: np.ndarray) -> np.ndarray:
    """Hashes (...) uint64 of the lowest frequencies (..., 8, 8)."""
    flat = low.reshape(*low.shape[:-2], BITS * BITS)
    middle = np.partition(flat, (31, 32), axis=-1)[..., 31:33].mean(axis=-1, keepdims=True)
    return np.packbits(flat > middle, axis=-1).view(">u8")[..., 0].astype(np.uint64)


@lru_cache(maxsize=256)
def _shrink_rows(size: int) -> np.ndarray:
    """Rows (8, size) float32: the cosines after Pillow's Lanczos reduction from ``size`` to 32 samples."""
    scale = size / SIDE
    reach = 3.0 * max(scale, 1.0)
    centre = (np.arange(SIDE) + 0.5) * scale
    low = np.maximum((centre - reach + 0.5).astype(int), 0)[:, None]
    high = np.minimum((centre + reach + 0.5).astype(int), size)[:, None]
    place = np.arange(size)[None]
    x = (place - centre[:, None] + 0.5) / max(scale, 1.0)
    weight = np.where((place >= low) & (place < high) & (np.abs(x) < 3), np.sinc(x) * np.sinc(x / 3), 0.0)  # (32, size)
    return (_ROWS @ (weight / weight.sum(axis=1, keepdims=True))).astype(np.float32)


def count_bits(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Number of set bits of each uint64, as uint8."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values, out=out)
    return _FLIPS[values.view(np.uint16)].reshape(*values.shape, 4).sum(axis=-1, dtype=np.uint8, out=out)  # NumPy 1
