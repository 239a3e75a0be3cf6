"""Parameters of ``python -m data_prep fundus``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import OptionError
from .options import Options


@dataclass(frozen=True)
class FundusOptions(Options):
    """Parameters of a run; split, seed, jobs and the like as in `Options`.

    Attributes:
        table: csv or xlsx file with a row per photograph, in the export or anywhere.
        image_column, patient_column, label_column: names of its columns.
        images: folder of the export that the names of images start from; None finds it.
        size: side of the written squares, pixels.
        crop: cut to the retina; else the whole frame is squeezed to the square.
        saliency: write maps too.
    """

    table: Path = Path("labels.csv")
    image_column: str = "image"
    patient_column: str = "patient"
    label_column: str = "label"
    images: Path | None = None
    size: int = 512
    crop: bool = True
    saliency: bool = True
    split: tuple[float, ...] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise OptionError(f"--size {self.size}: expected 16 to 4096 pixels")
        if self.jobs < 1:
            raise OptionError(f"--jobs {self.jobs}: expected at least 1")
