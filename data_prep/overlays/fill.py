"""Removal of found marks: black outside the scan area, filled with the speckle around it inside."""

from __future__ import annotations

import cv2
import numpy as np

from ..images import to_grey
from ..scan import ScanArea, find_scan_area
from .colour import STRONG, chroma_of
from .rim import near
from .speckle import TEXTURE, fill_speckle
from .types import Overlay

SMEAR = 8  # pixels round a mark on which JPEG may have left its colour
OFF_TINT = 8  # grey levels in one channel from which a pixel there is not in the frame's tint


def fill_mask(pixels: np.ndarray, overlay: Overlay, area: ScanArea) -> np.ndarray:
    """The pixels (H, W) 0/255 that removal fills: the marks and one pixel round them, inside the scan area."""
    return cv2.min(near(overlay.mask, 1), _inside(to_grey(pixels), overlay, area))


def remove_overlay(pixels: np.ndarray, overlay: Overlay, area: ScanArea, texture: float = TEXTURE) -> np.ndarray:
    """The image without the overlay: filled inside the scan area, black outside; grey (H, W) where it can.

    Colour that JPEG smeared round a mark is taken back to the frame's own tint.
    """
    if not overlay.pixels:
        return pixels
    grey = to_grey(pixels)
    inside = _inside(grey, overlay, area)
    mask = near(overlay.mask, 1)
    filled = fill_speckle(grey, cv2.min(mask, inside), inside, texture)
    clean = filled if pixels.ndim == 2 else _tinted(pixels, filled, mask)
    clean[(mask > 0) & (inside == 0)] = 0
    if clean.ndim == 3 and int(chroma_of(clean).max()) == 0:
        clean = np.ascontiguousarray(clean[..., 0])
    return clean


def _inside(grey: np.ndarray, overlay: Overlay, area: ScanArea) -> np.ndarray:
    """The scan area (H, W) 0/255, found anew where a mark beside the scan has been taken for a part of it."""
    without = find_scan_area(cv2.subtract(grey, near(overlay.mask, 1)))
    return cv2.min(area.mask(grey.shape), without.mask(grey.shape))


def _tinted(pixels: np.ndarray, filled: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGB from the filled grey frame where a mark was and JPEG smeared its colour; the rest is as it was.

    The tint of a frame is a function of its grey value, read from the pixels that carry no mark.
    """
    around = near(mask, SMEAR)
    chroma = chroma_of(pixels)
    plain = (around == 0) & (chroma <= STRONG)
    shift = _tint_of(pixels, to_grey(pixels), plain)  # (256, 3)
    own = np.clip(np.rint(filled[..., None] + shift[filled]), 0, 255).astype(np.uint8)
    off = np.abs(own.astype(np.int16) - pixels).max(axis=2) > OFF_TINT
    smeared = (mask > 0) | ((around > 0) & (chroma <= STRONG) & off)
    return np.where(smeared[..., None], own, pixels)


def _tint_of(pixels: np.ndarray, grey: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Mean difference (256, 3) of red, green and blue to the grey value, by grey value."""
    level = grey[plain]
    count = np.bincount(level, minlength=256).astype(np.float64)
    total = np.stack([np.bincount(level, pixels[..., c][plain].astype(np.float64) - level, 256) for c in range(3)], 1)
    kernel = (1, 21)
    smooth = cv2.blur(total.T.copy(), (kernel[1], 1)).T / np.maximum(cv2.blur(count[None], (kernel[1], 1)).T, 1e-9)
    return np.where(cv2.blur(count[None], (kernel[1], 1)).T > 0, smooth, 0)
