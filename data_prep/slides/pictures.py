"""Pictures of a slide for a person to look at: ``thumbnails/SLIDE.jpg``, and ``grids/SLIDE.jpg`` with its tiles.

What is in no tile is faded, tiles have dark edges, the tissue that was found has a green outline.
Command: ``python -m data_prep slides``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..images import write_whole

EDGE, OUTLINE = (40, 40, 160), (0, 150, 60)  # RGB
QUALITY = 85


def draw_grid(image: np.ndarray, tissue: np.ndarray, corners: np.ndarray, side: float) -> np.ndarray:
    """The thumbnail with its tiles.

    Args:
        image: (H, W, 3) uint8 RGB.
        tissue: (h, w) bool, over the same area.
        corners: (N, 2) upper left corners (x, y) of the tiles in pixels of the image.
        side: of a tile in pixels of the image.
    """
    first, last = np.round(corners).astype(int), np.round(corners + side).astype(int)
    covered = np.zeros(image.shape[:2], bool)
    for (x1, y1), (x2, y2) in zip(first, last, strict=True):
        covered[y1:y2, x1:x2] = True
    out = np.where(covered[..., None], image, (128 + image // 2).astype(np.uint8))
    width = max(1, round(max(image.shape) / 1000))
    for (x1, y1), (x2, y2) in zip(first.tolist(), last.tolist(), strict=True):
        cv2.rectangle(out, (x1, y1), (x2, y2), EDGE, width)
    mask = cv2.resize(tissue.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(out, outlines, -1, OUTLINE, width)
    return out


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write RGB pixels as JPEG; the file appears whole or not at all."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    write_whole(path, data.tobytes())
