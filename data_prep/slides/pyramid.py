"""Write a picture as a pyramidal TIFF that OpenSlide reads, its pixel size in the resolution tags.

    write_pyramid('slide.tif', image, mpp=0.5, levels=3)

Used by data_prep/wsi_phantom.py and by tests. OpenSlide opens such a file as ``generic-tiff`` and gives ``mpp`` as
``openslide.mpp-x`` and ``-y``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import DataPrepError, OptionError

TILE = 256  # side of the stored tiles in pixels
CODECS: dict[str, dict] = {"jpeg": {"level": 90}, "deflate": {"level": 6}}


def write_pyramid(path: str | Path, image: np.ndarray, mpp: float, levels: int = 3, codec: str = "jpeg") -> None:
    """Write a pyramid of ``levels`` levels, each half as wide and high as the one before; whole or not at all.

    Args:
        path: file to write, ``.tif`` or ``.tiff``.
        image: (H, W, 3) uint8 RGB, level 0.
        mpp: micrometres per pixel of level 0.
        levels: at least 1.
        codec: ``'jpeg'`` (quality 90, small, lossy) or ``'deflate'`` (exact).

    Raises:
        OptionError: an argument is out of range; DataPrepError: tifffile or imagecodecs is missing.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OptionError(f"image is {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB")
    if not (np.isfinite(mpp) and mpp > 0) or levels < 1 or codec not in CODECS:
        raise OptionError(f"mpp={mpp}, levels={levels}, codec={codec!r}; expected mpp > 0, levels >= 1, {list(CODECS)}")
    if min(image.shape[:2]) >> (levels - 1) < 1:
        raise OptionError(f"an image of {image.shape[1]} x {image.shape[0]} pixels has not {levels} levels")
    try:
        import imagecodecs  # noqa: F401  tifffile encodes JPEG with it
        import tifffile
    except ImportError as error:
        raise DataPrepError(f"writing slides needs {error.name}: pip install 'medkit[slides]'") from error
    path = Path(path)
    draft = path.with_name(f".{path.name}.part")
    with tifffile.TiffWriter(draft, bigtiff=image.nbytes > 2**31) as file:
        for level in range(levels):
            file.write(
                image,
                tile=(TILE, TILE),
                photometric="rgb",  # tifffile turns it into YCbCr for JPEG
                compression=codec,
                compressionargs=CODECS[codec],
                subfiletype=1 if level else 0,
                resolution=(10_000 / (mpp * 2**level),) * 2,  # pixels per centimetre
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            height, width = image.shape[:2]
            image = cv2.resize(image, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
    draft.replace(path)
