"""From whole-slide files to bags: reading with a known pixel size, tissue, tiles (docs/slides.md).

Command: ``python -m data_prep slides IN OUT --mpp 0.5 --tile 224``.
"""

from .reader import Slide, open_slide
from .tiles import Patches, read_patches

__all__ = ["Patches", "Slide", "open_slide", "read_patches"]
