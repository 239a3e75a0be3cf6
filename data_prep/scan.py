"""The scan area of a frame: where there is tissue, as a convex polygon."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BLACK = 4  # grey value up to which a pixel (averaged over a small block) counts as background


@dataclass(frozen=True)
class ScanArea:
    """The part of a frame that shows tissue: a convex polygon (N, 2) int32 and its bounding box xyxy."""

    polygon: np.ndarray
    box: tuple[int, int, int, int]

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """The area as uint8 mask (H, W), 255 inside."""
        return cv2.fillConvexPoly(np.zeros(shape, np.uint8), self.polygon, 255)


def find_scan_area(grey: np.ndarray, side: int = 160) -> ScanArea:
    """Convex hull of the largest region that is not black, found on a copy of at most ``side`` pixels.

    Letters and scales that stand apart from the sector are not in it. A black frame gives itself.
    """
    height, width = grey.shape
    scale = min(1.0, side / max(height, width))
    small = cv2.resize(
        grey, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    lit = cv2.morphologyEx((small > BLACK).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    if count < 2:
        corners = [(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]
        return ScanArea(np.array(corners, np.int32), (0, 0, width, height))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    region = labels == largest
    ys = np.flatnonzero(region.any(axis=1))
    left, right = region[ys].argmax(axis=1), region.shape[1] - region[ys, ::-1].argmax(axis=1)
    cells = np.concatenate([np.stack([x, ys + dy], 1) for x in (left, right) for dy in (0, 1)])  # (4 rows, 2)
    corners = cells * (width / small.shape[1], height / small.shape[0])
    corners = np.minimum(np.round(corners), (width - 1, height - 1)).astype(np.int32)
    hull = cv2.convexHull(corners).reshape(-1, 2)
    (x1, y1), (x2, y2) = hull.min(axis=0).tolist(), hull.max(axis=0).tolist()
    return ScanArea(hull, (x1, y1, x2 + 1, y2 + 1))


def scan_crop(grey: np.ndarray, area: ScanArea) -> np.ndarray:
    """The scan area's bounding box with everything outside the area set to the area's mean.

    So two sectors of one probe do not look alike merely because both are black outside.
    """
    x1, y1, x2, y2 = area.box
    crop = grey[y1:y2, x1:x2]
    inside = area.mask(grey.shape)[y1:y2, x1:x2]
    mean = round(cv2.mean(crop, mask=inside)[0])  # type: ignore[index]  # the stub says "or a float"; it is always four
    return np.where(inside > 0, crop, np.uint8(mean)).astype(np.uint8)
