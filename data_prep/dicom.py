"""DICOM ultrasound: a whitelist of facts from the header, and frames cropped to the scan regions.

Nothing but what `Facts` names leaves the header, and no message repeats a value of it: what pydicom says about a
damaged field may quote a name. Pixels outside SequenceOfUltrasoundRegions, where names and dates are burned in, are
cut off or set to black. Follows DICOM PS3.3 C.7.6.3 (pixels), C.8.5.5 (regions), C.11 (rescale and window).
"""

from __future__ import annotations

import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataPrepError, UnreadableImage

Region = tuple[int, int, int, int]  # xyxy in pixels, right and lower edge exclusive

MAX_PIXELS = 80_000_000
MIN_FRAME_BYTES = 64  # less than that no compressed frame has; more frames than fit are a damaged number
UNITS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
IDENTIFYING = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "OtherPatientIDs", "PatientBirthName")


@dataclass(frozen=True)
class Facts:
    """What is taken from a header.

    Attributes:
        fault: (reason, detail) when the file has no usable frame.
        size: (width, height) of the stored frame. frames: their number.
        regions: the scan regions; empty when the header names none.
        burned_in: BurnedInAnnotation is YES.
        patient_id: as it stands; readers replace it by a pseudonym.
        years: age in years, None when not given. sex: as it stands.
        extra: device and pixel size.
        identifiers: words that must not appear in a file name of the output.
    """

    fault: tuple[str, str] | None = None
    size: tuple[int, int] = (0, 0)
    frames: int = 1
    regions: tuple[Region, ...] = ()
    burned_in: bool = False
    patient_id: str = field(default="", repr=False)
    years: float | None = None
    sex: str = ""
    extra: tuple[tuple[str, str | float], ...] = ()
    identifiers: tuple[str, ...] = field(default=(), repr=False)

    @property
    def crop(self) -> Region:
        """Bounding box of the regions, or the whole frame."""
        if not self.regions:
            return 0, 0, *self.size
        x1, y1, x2, y2 = zip(*self.regions, strict=True)
        return min(x1), min(y1), max(x2), max(y2)


@lru_cache(maxsize=64)
def read_facts(path: Path) -> Facts:
    """The header of one file; a file that has none gives a `Facts` with a fault."""
    pydicom = load_pydicom()
    try:
        with _quiet():
            length = path.stat().st_size
            return _facts(pydicom.dcmread(path, stop_before_pixels=True), length)
    except OSError as error:
        return Facts(fault=("missing", error.strerror or "cannot be opened"))
    except Exception as error:  # a damaged header makes pydicom raise nearly anything
        return Facts(fault=_fault(error))


def decode_frame(path: Path, frame: int | None) -> tuple[np.ndarray, bytes, str]:
    """Pixels uint8 (H, W) or (H, W, 3) RGB of one frame (the first for None), cut to the scan regions.

    Returns them with the file's bytes and a note of what was done.

    Raises:
        UnreadableImage: no DICOM image, or a damaged one; without any word from its header.
    """
    try:
        status = path.stat()
        with _quiet():
            data, dataset = _load(path, status.st_mtime_ns, status.st_size)
            facts = _facts(dataset, len(data))
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
        raise UnreadableImage(*_fault(error)) from None
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


KINDS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
)


def load_pydicom() -> Any:
    """The optional package pydicom."""
    try:
        return importlib.import_module("pydicom")
    except ImportError as error:
        raise DataPrepError("DICOM files need pydicom: pip install 'medkit[prep]'") from error


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


def _facts(dataset: Any, length: int) -> Facts:
    """Facts of a parsed header of a file with ``length`` bytes."""
    width, height = int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)
    identifiers = _identifiers(dataset)
    if not width or not height:
        return Facts(fault=("not_an_image", "a DICOM file without pixels"), identifiers=identifiers)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if width * height > MAX_PIXELS:
        return Facts(fault=("too_large", f"{width} x {height} pixels"), identifiers=identifiers)
    if not 1 <= frames <= max(1, length // MIN_FRAME_BYTES):
        return Facts(fault=("truncated", f"{frames} frames in {length} bytes"), identifiers=identifiers)
    sequence = dataset.get("SequenceOfUltrasoundRegions") or []
    regions = _regions(sequence, width, height)
    if len(sequence) and not regions:
        return Facts(fault=("bad_region", "no scan region lies inside the frame"), identifiers=identifiers)
    return Facts(
        size=(width, height),
        frames=frames,
        regions=regions,
        burned_in=str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES",
        patient_id=str(dataset.get("PatientID") or "").strip(),
        years=_years(dataset),
        sex=str(dataset.get("PatientSex") or "").strip(),
        extra=_extra(dataset, sequence, identifiers),
        identifiers=identifiers,
    )


def _regions(sequence: Any, width: int, height: int) -> tuple[Region, ...]:
    """Two-dimensional regions (RegionSpatialFormat 1), or all when there is none, clipped to the frame."""
    flat = [item for item in sequence if item.get("RegionSpatialFormat") == 1]
    found = []
    for item in flat or sequence:
        x1, y1 = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
        x2, y2 = min(width, int(item.RegionLocationMaxX1) + 1), min(height, int(item.RegionLocationMaxY1) + 1)
        if x1 < x2 and y1 < y2:
            found.append((x1, y1, x2, y2))
    return tuple(found)


def _years(dataset: Any) -> float | None:
    """PatientAge (`045Y`, `006M`), else the years from birth to study."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY]?)\s*", str(dataset.get("PatientAge") or ""), re.IGNORECASE)
    if match:
        return int(match[1]) / UNITS[match[2].upper() or "Y"]
    born, seen = str(dataset.get("PatientBirthDate") or ""), str(dataset.get("StudyDate") or "")
    if re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", seen):
        return float((int(seen) - int(born)) // 10_000)  # yyyymmdd: a year is full when month and day have passed
    return None


def _extra(dataset: Any, sequence: Any, identifiers: tuple[str, ...]) -> tuple[tuple[str, str | float], ...]:
    """Modality, maker, model and the size of a pixel."""
    found: list[tuple[str, str | float]] = []
    for name, tag in (("modality", "Modality"), ("manufacturer", "Manufacturer"), ("model", "ManufacturerModelName")):
        text = re.sub(r"[^ -~]+", " ", str(dataset.get(tag) or "")).strip()[:64]
        if text and not any(word.casefold() in text.casefold() for word in identifiers):
            found.append((name, text))
    if len(sequence) == 1 and sequence[0].get("PhysicalUnitsXDirection") == 3:  # 3: centimetres
        found.append(("mm_per_pixel", round(abs(float(sequence[0].PhysicalDeltaX)) * 10, 6)))
    return tuple(found)


def _identifiers(dataset: Any) -> tuple[str, ...]:
    """Words of the tags that name a person, longest first."""
    words: set[str] = set()
    for tag in IDENTIFYING:
        text = str(dataset.get(tag) or "")
        words.update({text.strip(), *re.split(r"[\^=\s,\\]+", text)})
    return tuple(sorted((word for word in words if len(word) > 1), key=lambda word: (-len(word), word)))


def _fault(error: Exception) -> tuple[str, str]:
    """Reason and detail that quote nothing of the file."""
    name = type(error).__name__
    if name == "InvalidDicomError":
        return "not_an_image", "no DICOM mark (DICM at byte 128)"
    if isinstance(error, (RuntimeError, NotImplementedError)) and "plugin" in str(error):
        return "no_decoder", "its compression needs another decoder: pip install pylibjpeg pylibjpeg-libjpeg"
    return "truncated", f"damaged DICOM ({name})"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log, which quote values of the header, from the screen."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
