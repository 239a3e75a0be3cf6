"""Coloured scales, calipers and letters: found by colour, inpainted inside the scan area, black outside.

Saturated pixels from yellow over green to blue are overlays. Red, orange and magenta regions, and thick
coloured regions inside the scan area, are colour flow (Doppler): they stay, and a frame with much of it is
left alone and reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .rim import without_smear

STRONG = 60  # chroma (largest minus smallest channel, tint removed) that no tissue grey reaches
WEAK = 18  # chroma of blurred rims and of half-transparent lines
WEAK_TINTED = 36  # the same on tinted frames, where lines without a strong pixel are not searched
STANDS_OUT = 8  # chroma of a line without a strong pixel, above the mean of 15 x 15 pixels round it
LINK = 9  # pixels; marks that near to each other, as the dots of a line, count as one
LINE_LENGTH = 30  # pixels; a weak component at least that long and thin is a line
FLOW_HUE = (20, 135)  # OpenCV hue (degrees / 2) from yellow to blue; the rest of the circle is flow colour
FLOW_SHARE = 0.01  # share of the scan area from which on a frame counts as Doppler frame
MIN_PIXELS = 12


@dataclass(frozen=True)
class Colours:
    """Coloured marks of a frame: their mask (H, W) 0/255 and the share of the scan area under colour flow."""

    mask: np.ndarray
    flow_share: float = 0.0

    @property
    def doppler(self) -> bool:
        """So much flow that the frame is to be left alone."""
        return self.flow_share > FLOW_SHARE


def find_colours(pixels: np.ndarray, grey: np.ndarray, inside: np.ndarray) -> Colours:
    """Find coloured overlays in an RGB image (H, W, 3); ``grey`` is its grey version, ``inside`` the scan area."""
    nothing = Colours(np.zeros(pixels.shape[:2], np.uint8))
    gains = tint_gains(pixels)
    plain = pixels if gains is None else remove_tint(pixels, gains)
    chroma = chroma_of(plain)
    strong = (chroma > STRONG).astype(np.uint8)
    weak = (chroma > (WEAK if gains is None else WEAK_TINTED)).astype(np.uint8)
    if cv2.countNonZero(weak) < MIN_PIXELS:
        return nothing
    hue = cv2.cvtColor(plain, cv2.COLOR_RGB2HSV)[..., 0]
    cold = cv2.inRange(hue, *FLOW_HUE)  # type: ignore[call-overload]  # the stub leaves out scalar bounds
    flow = _flow(strong, cold, inside)
    flow_share = cv2.countNonZero(flow & inside) / max(1, cv2.countNonZero(inside))
    if flow_share > FLOW_SHARE:
        return Colours(nothing.mask, flow_share)
    near_flow: np.ndarray = cv2.dilate(flow, np.ones((7, 7), np.uint8))
    thin = cv2.subtract(chroma, cv2.blur(chroma, (15, 15))) > STANDS_OUT if gains is None else None
    mask = _marks(strong & (cold > 0), weak & (cold > 0), thin) & ~near_flow
    mask = without_smear(plain, chroma, mask)
    return Colours(mask if cv2.countNonZero(mask) >= MIN_PIXELS else nothing.mask, flow_share)


def chroma_of(pixels: np.ndarray) -> np.ndarray:
    """Largest minus smallest channel (H, W) uint8."""
    red, green, blue = cv2.split(pixels)
    return cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)


def tint_gains(pixels: np.ndarray) -> np.ndarray | None:
    """Gains of red, green and blue that make typical tissue grey; None when it is grey as it stands."""
    sample = pixels[::8, ::8].reshape(-1, 3).astype(np.float32)
    mean = sample.mean(axis=1)
    sample = sample[(mean > 30) & (mean < 240)]
    if len(sample) < 20:
        return None
    gains = np.median(sample.mean(axis=1, keepdims=True) / np.maximum(sample, 1), axis=0)
    return gains if np.abs(gains - 1).max() >= 0.02 else None


def remove_tint(pixels: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Undo a coloured grey map (greenish, bluish tissue) by scaling every channel."""
    tables = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)  # (256, 3)
    return cv2.LUT(pixels, tables.reshape(256, 1, 3))


def _marks(strong: np.ndarray, weak: np.ndarray, thin: np.ndarray | None) -> np.ndarray:
    """Weak pixels (H, W) 0/1 that belong to a mark, as mask 0/255.

    Pixels at most `LINK` apart count as connected, as in a dotted line. A component is a mark when it has a
    strong pixel, or, where ``thin`` is given, when it is long and narrow and made of thin pixels.
    """
    wide = cv2.dilate(weak, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LINK, LINK)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    flat, spots = labels.ravel(), np.flatnonzero(weak)
    keep = np.zeros(count, np.uint8)
    keep[flat[np.flatnonzero(strong)]] = 255
    extent = stats[:, cv2.CC_STAT_WIDTH] + stats[:, cv2.CC_STAT_HEIGHT] - 2 * LINK
    pixels = np.bincount(flat[spots], minlength=count)
    if thin is not None:
        standing = np.bincount(flat[spots], thin.ravel()[spots], count)
        narrow = (pixels <= 5 * extent) & (pixels >= extent // 2)
        keep[(extent >= LINE_LENGTH) & narrow & (standing > 0.6 * pixels)] = 255
    mask = np.zeros_like(weak)
    mask.ravel()[spots] = keep[flat[spots]]
    return mask


def _flow(strong: np.ndarray, cold: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Coloured components that are colour flow, as mask 0/255: warm ones, and thick ones inside the scan."""
    closed = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(closed)
    mask = np.zeros_like(strong)
    if count < 2:
        return mask
    spots = np.flatnonzero(closed)
    part: np.ndarray = labels.ravel()[spots]
    area = np.bincount(part, minlength=count)
    warm = np.bincount(part, (cold.ravel()[spots] == 0) & (strong.ravel()[spots] > 0), count)
    within = np.bincount(part, inside.ravel()[spots] > 0, count)
    thick = np.zeros(count)
    np.maximum.at(thick, part, cv2.distanceTransform(closed, cv2.DIST_L2, 3).ravel()[spots])
    limit = max(6.0, 0.012 * float(np.hypot(*strong.shape)))
    flow = (warm > 0.4 * area) | ((thick > limit) & (within > 0.5 * area))
    mask.ravel()[spots] = np.where(flow[part], 255, 0)
    return mask
