"""The search for all kinds of overlay in one frame, cheap where there is none."""

from __future__ import annotations

import cv2
import numpy as np

from ..images import to_grey
from ..scan import ScanArea
from .bar import find_bars
from .colour import Colours, find_colours
from .types import Overlay
from .white import find_white


def find_overlay(pixels: np.ndarray, area: ScanArea) -> Overlay:
    """Find burned-in marks in a grey (H, W) or RGB (H, W, 3) image.

    A frame with large coloured regions is reported as Doppler frame, with an empty mask.
    """
    grey = to_grey(pixels)
    inside = area.mask(grey.shape)
    colours = find_colours(pixels, grey, inside) if pixels.ndim == 3 else Colours(np.zeros_like(grey))
    if colours.doppler:
        return Overlay(colours.mask, 0, colours.flow_share, True)
    # A ruler beside the bar would make one shape of the two.
    apart = cv2.subtract(grey, cv2.dilate(colours.mask, np.ones((3, 3), np.uint8))) if colours.mask.any() else grey
    bars = cv2.subtract(find_bars(apart), colours.mask)
    taken = cv2.max(bars, colours.mask)
    letters, calipers = find_white(grey, inside, taken)
    mask, kinds = colours.mask, {"colour": cv2.countNonZero(colours.mask)}
    for kind, part in (("grey_bar", bars), ("text", letters), ("caliper", calipers)):
        if part.any():
            kinds[kind] = cv2.countNonZero(cv2.subtract(part, mask))
            mask = cv2.max(mask, part)
    kinds = {kind: count for kind, count in kinds.items() if count}
    return Overlay(mask, sum(kinds.values()), colours.flow_share, False, kinds)
