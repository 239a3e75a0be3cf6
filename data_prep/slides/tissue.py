"""Where the tissue of a slide is, on its thumbnail: saturation against Otsu's threshold, pen marks left out.

Saturation tells stained tissue from glass, which is grey (as in Lu et al., "Data-efficient and weakly supervised
computational pathology on whole-slide images", 2021, Methods). All sizes are in micrometres, so that a thumbnail of
another resolution gives the same mask. Command: ``python -m data_prep slides``.
"""

from __future__ import annotations

import cv2
import numpy as np

WORK_UM = 8.0  # side of a pixel of the mask; cells are smaller, so their gaps do not count
SATURATION = (15, 50)  # of 255: Otsu's threshold is kept between these, for slides of only glass or only tissue
GREY = (40, 240)  # darker is ink, an edge of the scan or dust; lighter is glass
CLOSE_UM, OPEN_UM = 40.0, 20.0
HOLE_MM2, PIECE_MM2 = 0.05, 0.02  # smaller holes are filled, smaller pieces dropped
PEN_UM = 80.0  # ink is looked for in colours averaged over this width: a line of ink is wider, a few cells are not
PEN_REACH_UM = 200.0  # so far from sure ink, what might be ink is ink
# Hue from and to (of 180, red lies at both ends) and the least saturation of sure ink, and of what might be ink.
INKS = {
    "green": ((35, 100), 40, (30, 125), 25),
    "blue": ((100, 118), 85, (95, 122), 25),
    "deep blue": ((100, 124), 150, (95, 126), 60),
    "red": ((172, 8), 165, (167, 12), 90),
}


def tissue_mask(image: np.ndarray, um_per_px: float) -> np.ndarray:
    """Tissue (h, w) bool of a thumbnail (H, W, 3) uint8 RGB; a pixel is `WORK_UM` wide, or the thumbnail's if wider."""
    factor = min(1.0, um_per_px / WORK_UM)
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if factor < 1 else image
    um = um_per_px / factor
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    saturation = cv2.medianBlur(np.ascontiguousarray(hsv[..., 1]), 3)
    otsu, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    tissue = (saturation > np.clip(otsu, *SATURATION)) & (grey > GREY[0]) & (grey < GREY[1])
    ink = pen_mask(small, um)
    tissue = _morph(_morph(tissue & ~ink, cv2.MORPH_CLOSE, CLOSE_UM, um), cv2.MORPH_OPEN, OPEN_UM, um)
    tissue = ~_without_small(~tissue, HOLE_MM2, um) & ~ink  # what was filled may be ink
    return _without_small(tissue, PIECE_MM2, um)


def pen_mask(image: np.ndarray, um_per_px: float) -> np.ndarray:
    """Green, blue and red ink (H, W) bool in an image (H, W, 3) uint8 RGB."""
    side = max(1, round(PEN_UM / um_per_px))
    averaged = cv2.cvtColor(cv2.blur(image, (side, side)), cv2.COLOR_RGB2HSV)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    found, dark = np.zeros(hsv.shape[:2], bool), hsv[..., 2] < 80
    for hues, saturation, wide_hues, low in INKS.values():
        sure = _of_hue(averaged, hues) & (averaged[..., 1] > saturation)
        maybe = (_of_hue(hsv, wide_hues) & (hsv[..., 1] > low)) | dark
        found |= sure | (maybe & _morph(sure, cv2.MORPH_DILATE, 2 * PEN_REACH_UM, um_per_px))
    return found


def _of_hue(hsv: np.ndarray, hues: tuple[int, int]) -> np.ndarray:
    first, last = hues
    above, below = hsv[..., 0] >= first, hsv[..., 0] <= last
    return above & below if first <= last else above | below


def _morph(mask: np.ndarray, operation: int, width_um: float, um_per_px: float) -> np.ndarray:
    """A morphological operation with a disc; one that is not wider than a pixel does nothing."""
    side = 2 * round(width_um / um_per_px / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.morphologyEx(mask.astype(np.uint8), operation, disc).astype(bool)


def _without_small(mask: np.ndarray, area_mm2: float, um_per_px: float) -> np.ndarray:
    """The mask without connected pieces below an area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] * um_per_px**2 >= area_mm2 * 1e6
    keep[0] = False
    return keep[labels]
