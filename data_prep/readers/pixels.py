"""The size of an image without decoding it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import Image

from ..images import FORMATS
from .listing import is_dicom


@lru_cache(maxsize=64)  # the boxes of one image are read one after the other
def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of the stored pixels; of the whole frame for DICOM; None where the header cannot be read."""
    if is_dicom(path):
        from ..dicom import read_facts

        facts = read_facts(path)
        return facts.size if not facts.fault else None
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # whatever is wrong with the file is said when it is decoded
        return None
