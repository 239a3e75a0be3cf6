"""What a predictor reads: images, DICOM files of one or more frames, videos, whole folders. One frame at a time.

Needs NumPy and OpenCV; DICOM files need pydicom (extra ``prep``). Of a DICOM file only the pixels and what is needed to
show them are used: no name, date or number of a patient comes out of this module. Command: tools/predict.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medkit.errors import DatasetError
from medkit.pixels import scale_to_uint8

__all__ = ["Frame", "Window", "find_files", "frames_of", "is_video", "read_frames", "to_uint8"]

IMAGES = {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
TIFFS = {".tif", ".tiff"}
DICOMS = {".dcm", ".dicom", ".ima"}
VIDEOS = {".avi", ".mp4", ".m4v", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".webm"}
# as the training reads: grey stays one channel, deep stays deep, alpha goes, turned upright by EXIF
_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR


@dataclass(frozen=True)
class Window:
    """Values that become 0 and 255 in an image deeper than 8 bits; where None, per cent of the image's own values."""

    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)


@dataclass(frozen=True)
class Frame:
    """One image: ``(H, W)`` or BGR ``(H, W, 3)``, or why it could not be read.

    ``number`` counts the frames of a file that may hold several, from 0; None for a file of one image.
    """

    image: np.ndarray | None
    path: str | None = None
    number: int | None = None
    error: str | None = None


def to_uint8(image: np.ndarray, window: Window) -> np.ndarray:
    """8-bit image of any numeric one; equal to what `medkit.LoadMedicalImage` makes of the same values.

    Raises:
        DatasetError: it is not (H, W) or (H, W, 3), is empty, or holds no numbers.
    """
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or image.size == 0:
        raise DatasetError(f"image has shape {image.shape}; expected (H, W) or (H, W, 3)")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind not in "uif":
        raise DatasetError(f"image has type {image.dtype}; expected integers or floats")
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise DatasetError("image holds NaN or infinity; expected finite values")
    return scale_to_uint8(values, window.window, window.percentiles)


def frames_of(source: str | Path | np.ndarray | Frame) -> Iterator[Frame]:
    """Frames of an array (RGB where it has colours), a path, or a frame itself."""
    if isinstance(source, Frame):
        yield source
    elif isinstance(source, np.ndarray):
        yield Frame(source[..., ::-1] if source.ndim == 3 else source)
    else:
        yield from read_frames(source)


def find_files(source: str | Path, leave_out: Path | None = None) -> Iterator[Path]:
    """``source`` itself, or the images, DICOM files and videos under a folder, sorted, without hidden ones.

    Args:
        source: File or folder.
        leave_out: A folder that is not entered: the one that results are written to.

    Raises:
        DatasetError: there is no such file or folder.
    """
    source = Path(source)
    if not source.exists():
        raise DatasetError(f"{source} does not exist; give an image, a DICOM file, a video or a folder of them")
    if not source.is_dir():
        yield source
        return
    barred = leave_out.resolve() if leave_out is not None else None
    for folder, subfolders, names in os.walk(source):
        inside = [name for name in sorted(subfolders) if name[0] != "." and Path(folder, name).resolve() != barred]
        subfolders[:] = inside
        for name in sorted(names):
            path = Path(folder, name)
            if name[0] != "." and (path.suffix.lower() in IMAGES | VIDEOS or is_dicom(path)):
                yield path


def is_dicom(path: Path) -> bool:
    """By its ending; a file without a known ending by DICOM's mark at byte 128."""
    if path.suffix.lower() in DICOMS:
        return True
    if path.suffix.lower() in IMAGES | VIDEOS | {".json", ".csv", ".txt"}:
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # it is reported where it was asked for by name


def is_video(path: str | Path) -> bool:
    """Whether the ending is that of a video."""
    return Path(path).suffix.lower() in VIDEOS


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Frames of a file, one at a time; a file, or its rest, that cannot be read gives one frame with the error."""
    path, number = Path(path), None
    reader = _video if is_video(path) else _dicom if is_dicom(path) else _images
    try:
        for number, image in reader(path):
            yield Frame(image, str(path), number)
    except DatasetError as error:
        yield Frame(None, str(path), None if number is None else number + 1, str(error))


def _images(path: Path) -> Iterator[tuple[int | None, np.ndarray]]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}") from error
    pages: list[np.ndarray | None] = []
    if data.size and path.suffix.lower() in TIFFS:
        pages = list(cv2.imdecodemulti(data, _FLAGS)[1])
    elif data.size:
        pages = [cv2.imdecode(data, _FLAGS)]
    if not pages or pages[0] is None:
        raise DatasetError(f"{data.size} bytes cannot be decoded; expected PNG, JPEG, TIFF, DICOM or a video")
    for number, page in enumerate(pages):
        assert page is not None, "OpenCV leaves out a page that it cannot decode"
        yield (number if len(pages) > 1 else None), page


def _video(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    video = cv2.VideoCapture(str(path))
    try:
        announced, number = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
        while True:
            there, image = video.read()
            if not there:
                break
            yield number, image
            number += 1
    finally:
        video.release()
    if number == 0:
        raise DatasetError("no frame can be decoded; expected a video that OpenCV's ffmpeg reads")
    if number < announced:
        raise DatasetError(f"ends after {number} of the {announced} frames that it announces")


def _dicom(path: Path) -> Iterator[tuple[int | None, np.ndarray]]:
    try:
        import pydicom
        from pydicom.pixels import iter_pixels
    except ImportError as error:
        raise DatasetError("DICOM files need pydicom: pip install 'medkit[prep]'") from error
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        several = int(header.get("NumberOfFrames") or 1) > 1
        for number, pixels in enumerate(iter_pixels(path)):  # RGB where it has colours: YBR is converted
            yield (number if several else None), _shown(pixels, header)
    except DatasetError:
        raise
    except Exception as error:  # pydicom and its decoders raise of every kind on damaged files
        raise DatasetError(f"DICOM pixels cannot be read: {type(error).__name__}") from error  # no text: it may name


def _shown(pixels: np.ndarray, header: Any) -> np.ndarray:
    """Grey (H, W) or BGR (H, W, 3) as a viewer shows it: palette, rescale, window of the file, polarity."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    kind = str(header.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        deep = apply_color_lut(pixels, header)
        pixels = (deep >> 8).astype(np.uint8) if deep.dtype == np.uint16 else deep
    if pixels.ndim == 3:
        return to_uint8(np.ascontiguousarray(pixels[..., ::-1]), Window())
    if pixels.dtype != np.uint8:
        pixels = to_uint8(apply_modality_lut(pixels, header), Window(_window_of(header)))
    return 255 - pixels if kind == "MONOCHROME1" else pixels


def _window_of(header: Any) -> tuple[float, float] | None:
    """The first window that the file gives, as lowest and highest value."""
    center, width = header.get("WindowCenter"), header.get("WindowWidth")
    if center is None or width is None:
        return None
    center, width = (float(np.ravel(value)[0]) for value in (center, width))  # a file may give several windows
    return (center - width / 2, center + width / 2) if width > 0 else None
