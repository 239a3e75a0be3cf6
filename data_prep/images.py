"""Decoding, the scan area, and writing files whole. Originals are only ever opened for reading."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import UnreadableImage

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAX_PIXELS = 80_000_000
BLACK = 4  # grey value up to which a pixel (averaged over a small block) counts as background


@dataclass(frozen=True)
class Picture:
    """A decoded file: pixels (H, W) or (H, W, 3) RGB uint8; `as_is` when its bytes may be copied."""

    pixels: np.ndarray
    data: bytes
    as_is: bool
    change: str = ""


def decode(path: Path) -> Picture:
    """Read and decode one file wholly.

    Raises:
        UnreadableImage: missing, empty, of another kind, or cut off.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage("missing", error.strerror or str(error)) from error
    if not data:
        raise UnreadableImage("zero_bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage("too_large", f"{image.width} x {image.height} pixels")
            image.load()
            return _picture(image, data)
    except UnidentifiedImageError as error:
        raise UnreadableImage("not_an_image", "no PNG, JPEG, BMP or TIFF header") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise UnreadableImage("truncated", " ".join(str(error).split())) from error


def _picture(image: Image.Image, data: bytes) -> Picture:
    change = "" if image.format in ("PNG", "JPEG") else f"{image.format} written as PNG"
    if image.getexif().get(274, 1) != 1:
        change = "orientation tag ignored, pixels as stored"
    if image.mode.startswith("I") or image.mode == "F":
        return Picture(_to_8_bit(np.asarray(image)), data, False, f"{image.mode} mapped to 8 bits")
    if image.mode == "CMYK":
        change = "CMYK written as RGB"
    grey = image.mode in ("L", "1", "LA")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))  # (H, W) or (H, W, 3)
    return Picture(pixels, data, not change, change)


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Map the range of an image with more than 8 bits linearly to 0..255."""
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return np.round((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Grey version (H, W) uint8 with Pillow's weights, those that imagehash uses."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


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


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG bytes of grey (H, W) or RGB (H, W, 3) pixels."""
    ok, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok
    return data.tobytes()
