"""Which pixels round the core of a mark still carry ink: letters have half-covered rims, JPEG smears colour."""

from __future__ import annotations

import cv2
import numpy as np

BLACK = 12  # grey value up to which what surrounds a mark is background rather than tissue
SMEAR = 7  # pixels from ink up to which JPEG's blocks may carry its colour
CORE_SHARE = 0.25  # of the strongest colour so near that is ink rather than smear
FULL = 60  # grey levels between ink and surroundings from which brightness tells them apart


def near(mask: np.ndarray, reach: int) -> np.ndarray:
    """The mask (H, W) 0/255 and everything at most ``reach`` pixels away in x and in y."""
    return cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))


def window_of(mask: np.ndarray, margin: int = 12) -> tuple[slice, slice]:
    """Rows and columns of the mask's bounding box and a margin round it."""
    x, y, width, height = cv2.boundingRect(mask)
    return slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)


def _parts(window: tuple[slice, slice], *arrays: np.ndarray) -> list[np.ndarray]:
    """The window of every array, copied: OpenCV is many times slower on strided views."""
    return [np.ascontiguousarray(array[window]) for array in arrays]


def surroundings(grey: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean grey (H, W) float32 of the pixels 3 to 5 away from the mask, and whether most of them are black."""
    ring = cv2.subtract(near(mask, 5), near(mask, 2))
    weight = np.maximum(cv2.blur(ring.astype(np.float32), (11, 11)), 0.1)
    level = cv2.blur(cv2.min(grey, ring).astype(np.float32), (11, 11)) * 255 / weight
    low = cv2.threshold(grey, BLACK - 1, 255, cv2.THRESH_BINARY_INV)[1]
    dark = cv2.blur(cv2.min(ring, low).astype(np.float32), (11, 11)) > 0.5 * weight
    return np.where(dark, np.minimum(level, BLACK / 4), level), dark  # letters' own JPEG ripples are not the level


def with_rim(grey: np.ndarray, core: np.ndarray, tissue_share: float = 0.02) -> np.ndarray:
    """``core`` and the pixels beside it that are brighter than what surrounds it.

    A pixel belongs when it has at least ``tissue_share`` of the ink's contrast, on black a few grey levels.
    """
    if not cv2.countNonZero(core):
        return core
    window = window_of(core)
    result = np.zeros_like(core)
    result[window] = _with_rim(tissue_share, *_parts(window, grey, core))
    return result


def _with_rim(tissue_share: float, grey: np.ndarray, core: np.ndarray) -> np.ndarray:
    level, black = surroundings(grey, core)
    peak = near(cv2.min(grey, core), 2).astype(np.float32)
    rise = grey - level
    lit = np.where(black, rise > 1 + level, rise > tissue_share * (peak - level)) & (rise > 0)
    first = cv2.max(core, cv2.min(near(core, 1), lit.astype(np.uint8) * 255))
    half = np.where(black, lit, rise > 0.5 * (peak - level)).astype(np.uint8) * 255
    return cv2.max(first, cv2.min(near(first, 1), cv2.min(near(core, 2), half)))


def middle_channel(pixels: np.ndarray) -> np.ndarray:
    """Median of red, green and blue (H, W): high in yellow and blue ink, low where JPEG smeared them on black."""
    red, green, blue = cv2.split(pixels)
    return cv2.max(cv2.min(red, green), cv2.min(cv2.max(red, green), blue))


def without_smear(pixels: np.ndarray, chroma: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A coloured mark's true pixels, where JPEG's coarse colour grid has coloured their neighbours too.

    Brightness is kept at full resolution, so it decides where ink is brighter than what surrounds it; elsewhere a
    pixel needs a good part of the strongest colour beside it.
    """
    if not cv2.countNonZero(mask):
        return mask
    window = window_of(mask)
    result = np.zeros_like(mask)
    result[window] = _without_smear(*_parts(window, pixels, chroma, mask))
    return result


def _without_smear(pixels: np.ndarray, chroma: np.ndarray, mask: np.ndarray) -> np.ndarray:
    grey = middle_channel(pixels)
    level, black = surroundings(grey, mask)
    own = cv2.min(chroma, mask)
    strength, wide = near(own, 2).astype(np.float32), near(own, SMEAR).astype(np.float32)
    core = cv2.min(mask, ((chroma >= 0.6 * strength) & (chroma >= CORE_SHARE * wide)).astype(np.uint8) * 255)
    ink = near(cv2.min(grey, core), 2).astype(np.float32)
    share = (grey - level) / np.maximum(ink - level, 1)
    coloured = chroma >= 0.45 * strength
    ring = cv2.subtract(near(core, SMEAR - 1), near(core, 3))
    smeared = np.count_nonzero(cv2.min(ring, chroma) > 2) > 0.05 * cv2.countNonZero(ring)
    faint = 2 if smeared else 1  # without smear the faintest colour is ink
    on_black = black & (grey > level + np.maximum(1.5 * faint, 0.015 * faint * (ink - level)))
    plain = (ink - level > FULL) & ~black & (share > 0.05 * faint) & (chroma >= 0.06 * faint * strength)
    hidden = (ink - level <= FULL) & ~black & coloured
    keep = (on_black | plain | hidden).astype(np.uint8) * 255
    return cv2.min(cv2.min(near(mask, 1), near(core, 2)), keep)
