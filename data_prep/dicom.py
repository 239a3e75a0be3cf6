"""DICOM ultrasound: a whitelist of facts from the header. dicom_pixels.py decodes the frames.

Nothing but what `Facts` names leaves the header, and no message repeats a value of it: what pydicom says about a
damaged field may quote a name. Pixels outside SequenceOfUltrasoundRegions, where names and dates are burned in, are
cut off or set to black. Follows DICOM PS3.3 C.7.6.3 (pixels), C.8.5.5 (regions), C.11 (rescale and window).
"""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import DataPrepError

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
        with quiet():
            length = path.stat().st_size
            return facts_of(pydicom.dcmread(path, stop_before_pixels=True), length)
    except OSError as error:
        return Facts(fault=("missing", error.strerror or "cannot be opened"))
    except Exception as error:  # a damaged header makes pydicom raise nearly anything
        return Facts(fault=fault_of(error))


def load_pydicom() -> Any:
    """The optional package pydicom."""
    try:
        return importlib.import_module("pydicom")
    except ImportError as error:
        raise DataPrepError("DICOM files need pydicom: pip install 'medkit[prep]'") from error


def facts_of(dataset: Any, length: int) -> Facts:
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


def fault_of(error: Exception) -> tuple[str, str]:
    """Reason and detail that quote nothing of the file."""
    name = type(error).__name__
    if name == "InvalidDicomError":
        return "not_an_image", "no DICOM mark (DICM at byte 128)"
    if isinstance(error, (RuntimeError, NotImplementedError)) and "plugin" in str(error):
        return "no_decoder", "its compression needs another decoder: pip install pylibjpeg pylibjpeg-libjpeg"
    return "truncated", f"damaged DICOM ({name})"


@contextmanager
def quiet() -> Iterator[None]:
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
