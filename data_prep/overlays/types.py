"""What a search for overlays found in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

KINDS = ("colour", "text", "caliper", "grey_bar")


@dataclass(frozen=True)
class Overlay:
    """What was found in one frame.

    Attributes:
        mask: (H, W) uint8, 255 where a mark is.
        pixels: how many pixels that are.
        flow_share: share of the scan area under colour flow.
        doppler: the frame has so much of it that it is to be left alone.
        kinds: pixels by kind of mark, of `KINDS`, only those that occur; their sum is ``pixels``.
    """

    mask: np.ndarray
    pixels: int
    flow_share: float
    doppler: bool
    kinds: dict[str, int] = field(default_factory=dict)
