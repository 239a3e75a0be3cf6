"""Parameters of ``python -m data_prep anomaly``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import OptionError
from .options import Options

CROPS = ("none", "square")


@dataclass(frozen=True)
class AnomalyOptions(Options):
    """Parameters of a run; split, seed, jobs and the like as in `Options`.

    Attributes:
        table: csv or xlsx file with a row per image; None: a folder per class, or COCO.
        image_column, label_column, patient_column, mask_column: names of its columns; "" where there is none.
        healthy: labels (or folders) that mean healthy; every other one is anomalous, an empty one unknown.
        patient_pattern: regular expression that finds the patient in the path of an image that names none otherwise.
        coco: EXPORT is a set of ``python -m data_prep``: images with boxes are anomalous.
        patches: side in pixels of squares cut out of the images of a COCO set; 0 takes the images whole.
        patches_per_image: lesion-free squares wanted of each image.
        contamination: share of anomalous images in ``mixed``; None takes everything that is left, unlabelled too.
        healthy_share: share of the healthy training images that become ``healthy``; the rest is for ``mixed``.
        healthy_size, mixed_size: numbers of images in their place; 0 for as many as there are.
        size: side of the written squares in pixels; 0 leaves the size.
        crop: ``square`` cuts to the central square, ``none`` squeezes.
        drop_top: share of the rows cut off at the top first.
    """

    table: Path | None = None
    image_column: str = "image"
    label_column: str = "label"
    patient_column: str = ""
    mask_column: str = ""
    healthy: tuple[str, ...] = ("healthy", "normal")
    patient_pattern: str = ""
    coco: bool = False
    patches: int = 0
    patches_per_image: int = 2
    contamination: float | None = 0.3
    healthy_share: float = 0.5
    healthy_size: int = 0
    mixed_size: int = 0
    size: int = 256
    crop: str = "none"
    drop_top: float = 0.0
    split: tuple[float, ...] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        checks = {
            f"--contamination {self.contamination}: expected 0 to below 1, or as-is": (
                self.contamination is None or 0 <= self.contamination < 1
            ),
            f"--healthy-share {self.healthy_share}: expected more than 0 and less than 1": 0 < self.healthy_share < 1,
            f"--size {self.size}: expected 16 to 4096 pixels, or 0": self.size == 0 or 16 <= self.size <= 4096,
            f"--patches {self.patches}: expected 16 pixels or more, and --coco": (
                self.patches == 0 or (self.patches >= 16 and self.coco)
            ),
            f"--patches-per-image {self.patches_per_image}: expected 1 or more": self.patches_per_image >= 1,
            f"--crop {self.crop}: expected one of {', '.join(CROPS)}": self.crop in CROPS,
            f"--drop-top {self.drop_top}: expected 0 to below 1": 0 <= self.drop_top < 1,
            f"--jobs {self.jobs}: expected at least 1": self.jobs >= 1,
            "--healthy-size and --mixed-size: expected 0 or more": min(self.healthy_size, self.mixed_size) >= 0,
            "--healthy: expected at least one label": bool(self.healthy),
            "--coco with --table: EXPORT is the one or the other": not (self.coco and self.table),
        }
        for fault, fine in checks.items():
            if not fine:
                raise OptionError(fault)
        try:
            re.compile(self.patient_pattern)
        except re.error as error:
            what = f"--patient-pattern {self.patient_pattern!r} is no regular expression: {error}"
            raise OptionError(what) from error
