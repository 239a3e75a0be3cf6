"""Removal of found marks: black outside the scan area, filled from the tissue around inside it."""

from __future__ import annotations

import cv2
import numpy as np

from ..scan import ScanArea
from .colour import chroma_of
from .types import Overlay


def fill_mask(overlay: Overlay, area: ScanArea) -> np.ndarray:
    """The pixels (H, W) 0/255 inside the scan area that removal fills: the marks and one pixel round them."""
    return cv2.dilate(overlay.mask, np.ones((3, 3), np.uint8)) & area.mask(overlay.mask.shape)


def remove_overlay(pixels: np.ndarray, overlay: Overlay, area: ScanArea, radius: int = 3) -> np.ndarray:
    """The image without the overlay: Telea inpainting inside the scan, black outside; grey where it can."""
    mask = cv2.dilate(overlay.mask, np.ones((3, 3), np.uint8))
    inside = area.mask(pixels.shape[:2])
    clean = pixels.copy()
    clean[(mask > 0) & (inside == 0)] = 0
    clean = cv2.inpaint(clean, mask & inside, radius, cv2.INPAINT_TELEA)
    if clean.ndim == 3 and int(chroma_of(clean).max()) == 0:
        clean = np.ascontiguousarray(clean[..., 0])
    return clean
