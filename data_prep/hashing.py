"""Perceptual hash and exact search of all pairs within a Hamming distance.

The hash is imagehash's ``phash`` to the bit (Zauner 2010, "Implementation and benchmarking of perceptual
image hash functions"), taken of the scan area only and computed without imagehash.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32  # the image is shrunk to 32 x 32, its 8 x 8 lowest cosine frequencies make 64 bits
BITS = 8
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


def count_bits(values: np.ndarray) -> np.ndarray:
    """Number of set bits of each uint64."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    return _FLIPS[values.view(np.uint16)].reshape(*values.shape, 4).sum(axis=-1, dtype=np.uint8)  # NumPy 1


def near_pairs(hashes: np.ndarray, distance: int, block: int = 1024) -> np.ndarray:
    """All pairs i < j whose hashes (N,) uint64 differ in at most ``distance`` bits, as rows (i, j, bits).

    Exact, in blocks of rows: memory is block x N bytes whatever N is.
    """
    found = []
    for start in range(0, len(hashes), block):
        rows = hashes[start : start + block, None]
        bits = count_bits(rows ^ hashes[None, start:])  # (block, N - start)
        i, j = np.nonzero(bits <= distance)
        later = j > i
        i, j = i[later], j[later]
        found.append(np.stack([i + start, j + start, bits[i, j]], 1))
    return np.concatenate(found) if found else np.zeros((0, 3), np.int64)
