"""TIFFs that OpenSlide does not know, through tifffile: without tiles, without a pyramid, or of another layout.

A level lies in a file and not in memory: the TIFF itself where it is not compressed, otherwise a temporary copy that is
made when the level is first needed (a byte per pixel and colour in the folder that TMPDIR names). Used by
`data_prep.slides.reader.open_slide`.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataPrepError, SlideError
from .reader import Slide

_MICROMETRES = {2: 25_400.0, 3: 10_000.0}  # of TIFF's units of resolution, inch and centimetre
_FAULTS = (ValueError, OSError, RuntimeError, KeyError, IndexError, struct.error)  # of tifffile and imagecodecs


class PlainTiff(Slide):
    """See the module; `resolution_um` is (width, height) of a pixel by the resolution tags, or None."""

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ImportError as error:
            raise DataPrepError("reading plain TIFFs needs tifffile: pip install 'medkit[slides]'") from error
        try:
            self._file = tifffile.TiffFile(path)
            self._levels: list[Any] = list(self._file.series[0].levels)
        except _FAULTS as error:
            raise SlideError(f"{path}: no slide that OpenSlide or tifffile can read ({error})") from error
        try:
            sizes = [self._size(path, level) for level in self._levels]
            self.resolution_um = _resolution(self._levels[0].pages[0].tags)
        except (SlideError, *_FAULTS) as error:
            self._file.close()
            raise error if isinstance(error, SlideError) else SlideError(f"{path}: broken ({error})") from error
        super().__init__(path, sizes[0], [sizes[0][0] / width for width, _ in sizes])
        self._arrays: dict[int, np.ndarray] = {}

    @staticmethod
    def _size(path: Path, level: Any) -> tuple[int, int]:
        page = level.pages[0]
        kind = page.photometric.name
        if level.axes != "YXS" or level.dtype != np.uint8 or kind not in ("RGB", "YCBCR"):
            raise SlideError(
                f"{path} holds {level.dtype} {kind} of the axes {level.axes} {level.shape}; expected one 8-bit RGB "
                "picture; export it as such"
            )
        return level.shape[1], level.shape[0]

    def pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `Slide.pixels`."""
        array, scale = self._array(level), self.downsamples[level]
        left, top = round(x / scale), round(y / scale)
        out = np.full((height, width, 3), 255, np.uint8)
        first = max(left, 0), max(top, 0)
        last = min(left + width, array.shape[1]), min(top + height, array.shape[0])
        if first[0] < last[0] and first[1] < last[1]:
            inside = array[first[1] : last[1], first[0] : last[0], :3]
            out[first[1] - top : last[1] - top, first[0] - left : last[0] - left] = inside
        return out

    def _array(self, level: int) -> np.ndarray:
        """(H, W, 3 or 4) uint8, mapped from a file."""
        if level not in self._arrays:
            try:
                self._arrays[level] = self._levels[level].asarray(out="memmap")
            except _FAULTS as error:
                raise SlideError(f"{self.path}: broken ({error}); copy or export it again") from error
        return self._arrays[level]

    def close(self) -> None:
        """Close the file; a temporary copy goes with its array."""
        self._arrays.clear()
        self._file.close()


def _resolution(tags: Any) -> tuple[float, float] | None:
    """Micrometres per pixel by the resolution tags; None where one is absent, zero or without a unit."""
    found = [tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")]
    if None in found:
        return None
    unit = _MICROMETRES.get(int(found[2].value))
    counts = [above / below if below else math.nan for above, below in (found[0].value, found[1].value)]
    if unit is None or not all(count > 0 for count in counts):
        return None
    return unit / counts[0], unit / counts[1]
