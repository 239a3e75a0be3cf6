"""Are two frames the same picture? Candidates of the hash search, checked on thumbnails of the scan areas.

The measure is the largest normalised correlation over small shifts: the middle of one thumbnail against every
window of the other. Gain and offset do not matter to it. Cheap checks at 16 x 16 and 32 x 32 pixels come before the
one at 64 x 64. All windows of a frame meet all its candidates in a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import cv2
import numpy as np

FIRST_SIDE, FIRST_MIN = 16, 0.85  # the first check: side of the copies and least correlation over shifts of one
SECOND_SIDE, SECOND_SHIFT, SECOND_MIN = 32, 3, 0.82
SHIFT = 6  # pixels of 64
BATCH = 256  # first images whose windows are held at once
Gather = Callable[[np.ndarray], np.ndarray]  # numbers (K,) -> images (K, side, side)


def correlations(first: Gather, second: Gather, pairs: np.ndarray, shift: int) -> np.ndarray:
    """Largest correlation (M,) of the pairs (M, 2+): windows of ``first`` against the middle of ``second``.

    Rows of one first image should stand together.
    """
    best = np.zeros(len(pairs), np.float32)
    for start, stop in _runs(pairs):
        best[start:stop] = _against(first(pairs[start : start + 1, 0])[0], second(pairs[start:stop, 1]), shift)
    return best


def _runs(pairs: np.ndarray, longest: int = 1024) -> list[tuple[int, int]]:
    """(start, stop) of the runs of rows with one first image."""
    edges = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1, append=-1)).tolist()
    return [
        (low, min(stop, low + longest))
        for start, stop in pairwise(edges)
        for low in range(start, stop, longest)
    ]


def quick_correlations(small: np.ndarray, centres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """`correlations` at shifts of one for many pairs: small images (N, S, S), `middles` of the others (N, P)."""
    best = np.zeros(len(pairs), np.float32)
    runs = _runs(pairs)
    for low in range(0, len(runs), BATCH):
        part = runs[low : low + BATCH]
        images = small[pairs[[start for start, _ in part], 0]]
        width = images.shape[1] - 2
        windows = [images[:, y : y + width, x : x + width] for y in range(3) for x in range(3)]
        table = np.stack([unit_vectors(window) for window in windows], 1)  # (runs, 9, P)
        for (start, stop), rows in zip(part, table, strict=True):
            best[start:stop] = (centres[pairs[start:stop, 1]] @ rows.T).max(axis=1)
    return best


def correlation(a: np.ndarray, b: np.ndarray, shift: int = SHIFT) -> float:
    """Largest normalised correlation of two thumbnails over shifts of up to ``shift`` pixels, gain aside."""
    return float(_against(a, b[None], shift)[0])


def _against(image: np.ndarray, others: np.ndarray, shift: int) -> np.ndarray:
    """Image (S, S) against K others (K, S, S): their largest correlations (K,), 0 where there is no contrast."""
    side = len(image)
    width, steps = side - 2 * shift, 2 * shift + 1
    centres = middles(others, shift)
    norms = _window_norms(image, width)  # (steps, steps)
    strips = np.stack([image[:, x : x + width] for x in range(steps)]).astype(np.float32).reshape(steps, side * width)
    best = np.zeros(len(centres), np.float32)
    for y in range(steps):
        windows = strips[:, y * width : (y + width) * width]  # (steps, width * width), one for each shift in x
        np.maximum(best, (windows @ centres.T / norms[y][:, None]).max(axis=0), out=best)
    return best


def middles(images: np.ndarray, shift: int) -> np.ndarray:
    """Middles of images (K, S, S), all but ``shift`` pixels on every side, as `unit_vectors`."""
    return unit_vectors(images[:, shift:-shift, shift:-shift])


def unit_vectors(images: np.ndarray) -> np.ndarray:
    """Images (K, h, w) as float32 vectors (K, h * w) of mean 0 and length 1, or 0 where there is no contrast."""
    vectors = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("kp,kp->k", vectors, vectors))
    vectors *= np.where(length > 1e-2, 1.0 / np.maximum(length, 1e-2), 0.0)[:, None]
    return vectors


def _window_norms(image: np.ndarray, width: int) -> np.ndarray:
    """Length of every window less its mean, infinite where it has no contrast."""
    total, squares = (
        table[width:, width:] - table[:-width, width:] - table[width:, :-width] + table[:-width, :-width]
        for table in (np.asarray(table, np.float64) for table in cv2.integral2(image))
    )
    variance = squares - total**2 / width**2
    return np.where(variance > 1e-2, np.sqrt(np.maximum(variance, 1e-2)), np.inf).astype(np.float32)


def shrink(images: Iterable[np.ndarray], count: int, side: int) -> np.ndarray:
    """``count`` images (S, S) uint8, by the mean of whole blocks of pixels: (count, side, side) uint8."""
    small = np.empty((count, side, side), np.uint8)
    for image, out in zip(images, small, strict=True):
        cv2.resize(image, (side, side), dst=out, interpolation=cv2.INTER_AREA)
    return small


def turn(images: np.ndarray, number: int) -> np.ndarray:
    """One of eight versions of images (..., S, S): transposed (bit 2), then mirrored up-down (1) and left-right (0)."""
    if number & 4:
        images = images.swapaxes(-1, -2)
    if number & 2:
        images = images[..., ::-1, :]
    return images[..., ::-1] if number & 1 else images


class Verifier:
    """The checks in their order; holds small copies of the thumbnails (2 KB for each image), not the large ones.

    Args:
        thumbs: (N, 64, 64) uint8, possibly a memory map.
        use: numbers of the thumbnails that the pairs count through.
        min_correlation: least correlation at 64 x 64.
        number: which version (`turn`) of the second image of a pair is meant.
    """

    def __init__(self, thumbs: np.ndarray, use: np.ndarray, min_correlation: float, number: int = 0) -> None:
        self.thumbs, self.use, self.min_correlation, self.number = thumbs, use, min_correlation, number
        self.medium = shrink((thumbs[index] for index in use), len(use), SECOND_SIDE)
        self.small = shrink(self.medium, len(use), FIRST_SIDE)
        self.centres = middles(turn(self.small, number), 1)

    def __call__(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``pairs`` (M, 2+) that hold, in order, and their correlations; unturned ones may stand either way."""
        pairs = pairs[quick_correlations(self.small, self.centres, pairs) >= FIRST_MIN]
        if self.number == 0:
            pairs[:, :2].sort(axis=1)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        pairs = pairs[self._values(self.medium.__getitem__, pairs, SECOND_SHIFT) >= SECOND_MIN]
        values = self._values(lambda k: self.thumbs[self.use[k]], pairs, SHIFT)
        good = values >= self.min_correlation
        return pairs[good], values[good]

    def _values(self, images: Gather, pairs: np.ndarray, shift: int) -> np.ndarray:
        return correlations(images, lambda k: turn(images(k), self.number), pairs, shift)
