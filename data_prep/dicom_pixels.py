"""DICOM ultrasound: frames as they are meant to be shown, 8 bits, cropped to the scan regions.

Pixels outside SequenceOfUltrasoundRegions, where names and dates are burned in, are cut off or set to black. Follows
DICOM PS3.3 C.7.6.3 (pixels) and C.11 (rescale and window). No message repeats a value of the header.
"""

from __future__ import annotations

import importlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .dicom import Facts, facts_of, fault_of, load_pydicom, quiet
from .errors import DataPrepError, UnreadableImage

KINDS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
)


def decode_frame(path: Path, frame: int | None) -> tuple[np.ndarray, bytes, str]:
    """Pixels uint8 (H, W) or (H, W, 3) RGB of one frame (the first for None), cut to the scan regions.

    Returns them with the file's bytes and a note of what was done.

    Raises:
        UnreadableImage: no DICOM image, or a damaged one; without any word from its header.
    """
    try:
        status = path.stat()
        with quiet():
            data, dataset = _load(path, status.st_mtime_ns, status.st_size)
            facts = facts_of(dataset, len(data))
            if facts.fault:
                raise UnreadableImage(*facts.fault)
            if not 0 <= (frame or 0) < facts.frames:
                raise UnreadableImage("bad_frame", f"frame {frame} of {facts.frames}, counted from 0")
            pixels = to_8_bit(dataset, _raw_frame(dataset, facts, frame or 0))
            kind = str(dataset.PhotometricInterpretation)
    except (UnreadableImage, DataPrepError):
        raise
    except FileNotFoundError as error:
        raise UnreadableImage("missing", error.strerror or "") from None
    except Exception as error:  # as above, and the decoders of compressed frames besides
        raise UnreadableImage(*fault_of(error)) from None
    if pixels.shape[1::-1] != facts.size:
        raise UnreadableImage("truncated", f"the frame is {pixels.shape[1]} x {pixels.shape[0]}, the header says else")
    change = f"DICOM {kind if kind in KINDS else 'frame'} written as PNG"
    if facts.regions:
        change += f", cut to the scan region {','.join(map(str, facts.crop))}"
    return cut(pixels, facts), data, change


@lru_cache(maxsize=1)  # the frames of one file come one after the other
def _load(path: Path, changed: int, length: int) -> tuple[bytes, Any]:
    data = path.read_bytes()
    return data, load_pydicom().dcmread(io.BytesIO(data))


def cut(pixels: np.ndarray, facts: Facts) -> np.ndarray:
    """The bounding box of the regions, black between them."""
    if not facts.regions:
        return pixels
    out = np.zeros_like(pixels)
    for x1, y1, x2, y2 in facts.regions:
        out[y1:y2, x1:x2] = pixels[y1:y2, x1:x2]
    x1, y1, x2, y2 = facts.crop
    return np.ascontiguousarray(out[y1:y2, x1:x2])




def to_8_bit(dataset: Any, values: np.ndarray) -> np.ndarray:
    """Stored values as they are meant to be shown, uint8: palette, rescale, window, inverted where white is 0."""
    pixels = importlib.import_module("pydicom.pixels")
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        colours = pixels.apply_color_lut(values, dataset)
        return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
    if values.ndim == 3:
        return values if values.dtype == np.uint8 else _stretch(values)
    windowed = dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None
    shown = pixels.apply_modality_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        grey = _stretch(pixels.apply_voi_lut(values if shown is values else shown.astype(values.dtype), dataset))
    elif windowed:
        grey = _window(shown, _first(dataset.WindowCenter), _first(dataset.WindowWidth))
    elif shown.dtype == np.uint8:
        grey = shown
    else:
        grey = _stretch(shown)
    return 255 - grey if kind == "MONOCHROME1" else grey


def _window(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """The linear window of PS3.3 C.11.2.1.2."""
    if width <= 1:
        return np.where(values <= center - 0.5, 0, 255).astype(np.uint8)
    shares = (values.astype(np.float64) - (center - 0.5)) / (width - 1) + 0.5
    return np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _stretch(values: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return np.round((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)


def _first(value: Any) -> float:
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)


def _raw_frame(dataset: Any, facts: Facts, frame: int) -> np.ndarray:
    """Stored values of one frame, YBR as RGB."""
    pixels = importlib.import_module("pydicom.pixels")
    bits, samples = int(dataset.BitsAllocated), int(dataset.get("SamplesPerPixel", 1))
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        shared = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else samples
        needed = facts.size[0] * facts.size[1] * facts.frames * shared * bits // 8
        if len(dataset.PixelData) < needed:
            raise UnreadableImage("truncated", f"{len(dataset.PixelData)} bytes of pixels, expected {needed}")
    found = pixels.pixel_array(dataset, index=frame)
    return found[..., :3] if found.ndim == 3 else found
