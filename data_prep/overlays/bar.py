"""The grey map's wedge beside the scan: a narrow upright box, every row of one grey, from white to black."""

from __future__ import annotations

import cv2
import numpy as np

LIT = 8  # grey value above which a pixel of the surround is not background
RANGE = 120  # grey levels that the ramp covers at least
COARSE = 4  # the search runs on a copy smaller by this factor
SLENDER = 4  # height by width at least


def find_bars(grey: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 0/255 of the wedges in a grey frame: they stand apart from the scan, on black."""
    mask = np.zeros_like(grey)
    small = cv2.resize(grey, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
    lit = (small > LIT).astype(np.uint8)
    # Without what is wide, a bar that touches the scan is a shape of its own.
    narrow = cv2.subtract(lit, cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((1, 60 // COARSE + 2), np.uint8)))
    shapes = [cv2.connectedComponentsWithStats(part, connectivity=4)[2][1:] for part in (lit, narrow)]
    for x, y, width, height, _ in (COARSE * np.concatenate(shapes)).tolist():
        if height >= SLENDER * (width - 2 * COARSE) and 300 <= width * height <= 0.2 * grey.size:
            top, left = max(0, y - 2 * COARSE), max(0, x - COARSE)
            _mark_bar(grey[top : y + height + 2 * COARSE, left : x + width + COARSE], mask[top:, left:])
    return mask


def _mark_bar(patch: np.ndarray, mask: np.ndarray) -> None:
    """Set ``mask``, which begins where ``patch`` does, on a wedge in the patch."""
    lit = cv2.threshold(patch, LIT, 255, cv2.THRESH_BINARY)[1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    if count < 2:
        return
    label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, width, height, pixels = stats[label].tolist()
    part = labels[y : y + height, x : x + width] == label
    full = np.flatnonzero(part.mean(axis=0) > 0.6)  # columns; a tick that touches the wedge fills none
    if pixels < 300 or not 5 <= len(full) <= 60 or height < SLENDER * len(full):
        return
    left, right = x + int(full[0]), x + int(full[-1]) + 1
    if _is_ramp(patch[y : y + height, left:right]):
        rows = np.flatnonzero(np.median(patch[:, left:right], axis=1) > 0)  # the dark end is fainter than LIT
        rows = rows[(rows >= y - 2 * COARSE) & (rows < y + height + 2 * COARSE)]
        mask[min(y, rows[0]) : max(y + height, rows[-1] + 1), left:right] = 255


def _is_ramp(patch: np.ndarray) -> bool:
    """Rows of one grey each (a frame round the wedge apart) whose grey falls or rises all the way."""
    inner = patch[2:-2, 2:-2].astype(np.float32)
    if inner.shape[0] < 8 or inner.shape[1] < 2:
        return False
    level = np.median(inner, axis=1)
    rough = float(np.abs(inner - level[:, None]).mean())
    step = np.diff(cv2.blur(level[:, None], (1, 5))[:, 0])
    slope = abs(float(step.sum()))
    return rough < 6 and slope > RANGE and slope > 0.9 * float(np.abs(step).sum())
