"""Decoding and writing files whole. Originals are only ever opened for reading."""

from __future__ import annotations

import contextlib
import io
import secrets
import warnings
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


def decode(path: Path, frame: int | None = None) -> Picture:
    """Read and decode one file wholly.

    Args:
        path: a PNG, JPEG, BMP, TIFF or DICOM file; DICOM frames are cut to their scan region.
        frame: number of the frame in a multi-frame DICOM file, from 0; ``data`` is the whole file all the same.

    Raises:
        UnreadableImage: missing, empty, of another kind, or cut off.
    """
    try:
        if frame is not None:
            return _dicom(path, frame)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImage("missing", error.strerror or str(error)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnreadableImage("not_readable", getattr(error, "strerror", None) or str(error)) from error
    if not data:
        raise UnreadableImage("zero_bytes")
    if data[128:132] == b"DICM":
        return _dicom(path, None)
    try:
        with warnings.catch_warnings():  # too many pixels are a reason of our own, and stray tags are no trouble
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImage("too_large", f"{image.width} x {image.height} pixels")
                image.load()
                return _picture(image, data)
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("not_an_image", "no PNG, JPEG, BMP, TIFF or DICOM header") from error
    except Exception as error:  # a decoder on damaged bytes raises nearly anything
        raise UnreadableImage("truncated", " ".join(str(error).split()) or type(error).__name__) from error


def _dicom(path: Path, frame: int | None) -> Picture:
    from .dicom_pixels import decode_frame

    pixels, data, change = decode_frame(path, frame)
    return Picture(pixels, data, False, change)


def _picture(image: Image.Image, data: bytes) -> Picture:
    change = "" if image.format in ("PNG", "JPEG") else f"{image.format} written as PNG"
    if image.getexif().get(274, 1) != 1:
        change = "orientation tag ignored, pixels as stored"
    if getattr(image, "n_frames", 1) > 1:
        change = f"first of {image.n_frames} pages, written as PNG"  # type: ignore[attr-defined]
    if image.mode.startswith("I") or image.mode == "F":
        return Picture(_to_8_bit(np.asarray(image)), data, False, f"{image.mode} mapped to 8 bits")
    if _deep_colour(image, data):
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if deep is not None and deep.dtype == np.uint16 and deep.ndim == 3 and deep.shape[2] >= 3:
            return Picture(_to_8_bit(deep[..., 2::-1]), data, False, "16-bit colour mapped to 8 bits")
        change = "16 bits per channel, the upper 8 kept"
    if image.mode == "CMYK":
        change = "CMYK written as RGB"
    grey = image.mode in ("L", "1", "LA")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))  # (H, W) or (H, W, 3)
    return Picture(pixels, data, not change, change)


def _deep_colour(image: Image.Image, data: bytes) -> bool:
    """True for colour PNG and TIFF with 16 bits per channel, of which Pillow keeps the upper 8 without a word."""
    if image.format == "PNG":
        return data[24] == 16
    return image.format == "TIFF" and max(image.tag_v2.get(258) or (8,)) == 16  # type: ignore[attr-defined]


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Map the range of an image with more than 8 bits linearly to 0..255."""
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return np.round((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Grey version (H, W) uint8 with Pillow's weights, those that imagehash uses."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG bytes of grey (H, W) or RGB (H, W, 3) pixels."""
    ok, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok
    return data.tobytes()
