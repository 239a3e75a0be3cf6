"""Decoding and writing files whole. Originals are only ever opened for reading."""

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
