"""Slide files with a known pixel size: OpenSlide's formats, and plain TIFFs through tifffile.

    with open_slide('slide.svs') as slide:
        slide.size, slide.mpp, slide.mpp_source         # (width, height) of level 0, micrometres per pixel, who says so
        slide.read(x, y, side_px=448, out_px=224)       # (224, 224, 3) uint8 RGB; x, y, side_px in pixels of level 0
        slide.thumbnail(2048)                           # (H, W, 3) uint8 RGB, and level-0 pixels per pixel

The pixel size is never guessed. Command: ``python -m data_prep slides``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import DataPrepError, MissingPixelSize, SlideError

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".czi", ".dcm")
CREDIBLE_UM = (0.05, 10.0)  # micrometres per pixel of a scanner; 72 to 1200 dpi, as programs write them, is above
SAME = 0.01  # width and height of a pixel may differ by this share
BAND_PX = 2**24  # pixels of a level that are in memory at a time while a thumbnail is made


class Slide(AbstractContextManager, ABC):
    """An open slide.

    Attributes:
        path: of the file.
        size: (width, height) of level 0.
        downsamples: of each level; the first is 1.
        mpp: micrometres per pixel of level 0.
        mpp_source: ``given``, ``scanner`` or ``resolution tag``.
    """

    def __init__(self, path: Path, size: tuple[int, int], downsamples: Sequence[float]) -> None:
        self.path, self.size, self.downsamples = path, size, tuple(downsamples)
        self.mpp, self.mpp_source = math.nan, ""

    @abstractmethod
    def pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """RGB (height, width, 3) uint8 of a level from (x, y) in pixels of level 0; white outside the slide."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, x: int, y: int, side_px: int, out_px: int) -> np.ndarray:
        """A square of ``side_px`` pixels of level 0 as (out_px, out_px, 3) uint8 RGB, averaged where it shrinks."""
        level = self._level(side_px / out_px)
        side = max(1, round(side_px / self.downsamples[level]))
        return _resize(self.pixels(level, int(x), int(y), side, side), out_px, out_px)

    def thumbnail(self, max_side: int) -> tuple[np.ndarray, float]:
        """The whole slide (H, W, 3) uint8 RGB with at most ``max_side`` pixels a side, and level-0 pixels per pixel."""
        downsample = max(1.0, max(self.size) / max_side)
        width, height = (max(1, round(side / downsample)) for side in self.size)
        level = self._level(downsample)
        scale = self.downsamples[level]
        wide = max(1, round(self.size[0] / scale))
        rows = max(1, int(BAND_PX / wide / (downsample / scale)))  # of the thumbnail, in a band
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            end = min(top + rows, height)
            first, last = (round(row * self.size[1] / height) for row in (top, end))
            band = self.pixels(level, 0, first, wide, max(1, round((last - first) / scale)))
            image[top:end] = _resize(band, width, end - top)
        return image, self.size[0] / width

    def _level(self, downsample: float) -> int:
        """The smallest level that is no smaller than wanted, but for a hundredth: levels are rounded to pixels."""
        fine = [level for level, scale in enumerate(self.downsamples) if scale <= max(1.0, downsample) * 1.01]
        return max(fine, key=lambda level: self.downsamples[level])


def open_slide(path: str | Path, mpp: float | None = None) -> Slide:
    """Open a slide with OpenSlide, or with tifffile where OpenSlide does not know the file.

    Args:
        path: of the file.
        mpp: micrometres per pixel of level 0, in place of what the file says.

    Raises:
        SlideError: missing, broken, of an unknown format, no 8-bit colour, pixels that are not square.
        MissingPixelSize: the file says no credible pixel size, and ``mpp`` is not given.
        DataPrepError: a package is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise SlideError(f"{path}: no such file; name a slide file")
    slide, found, source = _open(path)
    try:
        slide.mpp, slide.mpp_source = _pixel_size(path, mpp, found, source)
    except SlideError:
        slide.close()
        raise
    return slide


def _open(path: Path) -> tuple[Slide, tuple[float, float] | None, str]:
    """The slide, (width, height) of a pixel in micrometres where the file says them, and who says so."""
    try:
        import openslide
    except ImportError as error:
        raise DataPrepError(f"reading slides needs {error.name}: pip install 'medkit[slides]'") from error
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError:
        from .plain_tiff import PlainTiff

        tiff = PlainTiff(path)
        return tiff, tiff.resolution_um, "resolution tag"
    except openslide.OpenSlideError as error:
        raise SlideError(f"{path}: broken ({error}); copy or export it again") from error
    return _OpenSlide(path, handle), *_stated(handle.properties)


def _stated(properties: Mapping[str, str]) -> tuple[tuple[float, float] | None, str]:
    """What OpenSlide says of the pixel size; for a generic TIFF it comes from the resolution tags."""
    source = "resolution tag" if properties.get("openslide.vendor") == "generic-tiff" else "scanner"
    try:
        return (float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"])), source
    except (KeyError, ValueError):
        return None, source


def _pixel_size(
    path: Path, given: float | None, found: tuple[float, float] | None, source: str
) -> tuple[float, str]:
    """The pixel size to use and where it is from."""
    if given is not None:
        if not (math.isfinite(given) and given > 0):
            raise SlideError(f"{path}: mpp={given}; expected micrometres per pixel, above 0")
        return given, "given"
    cure = "give the micrometres per pixel of level 0 with --mpp-override, such as --mpp-override 0.25"
    if found is None:
        raise MissingPixelSize(f"{path} does not say how large its pixels are (mpp); {cure}")
    if not all(CREDIBLE_UM[0] <= side <= CREDIBLE_UM[1] for side in found):
        raise MissingPixelSize(
            f"{path}: its {source} says pixels of {found[0]:.4g} x {found[1]:.4g} um, which no slide scanner has "
            f"(expected {CREDIBLE_UM[0]} to {CREDIBLE_UM[1]}); {cure}"
        )
    if abs(found[0] - found[1]) > SAME * max(found):
        raise MissingPixelSize(f"{path}: its pixels are not square, {found[0]:.4g} x {found[1]:.4g} um; {cure}")
    return sum(found) / 2, source


class _OpenSlide(Slide):
    """A slide of one of OpenSlide's formats. Threads may read from it at the same time."""

    def __init__(self, path: Path, handle: Any) -> None:
        super().__init__(path, handle.dimensions, handle.level_downsamples)
        self._handle = handle

    def pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `Slide.pixels`."""
        import openslide

        try:
            rgba = np.asarray(self._handle.read_region((x, y), level, (width, height)))  # (h, w, 4)
        except openslide.OpenSlideError as error:
            raise SlideError(f"{self.path}: broken at x={x}, y={y} ({error}); copy or export it again") from error
        return _on_white(rgba)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """RGB of RGBA pixels; where a scanner saw nothing they are transparent."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    share = alpha / np.float32(255)
    return np.round(rgba[..., :3] * share + 255 * (1 - share)).astype(np.uint8)


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Averaged where it shrinks, smoothly enlarged where it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
