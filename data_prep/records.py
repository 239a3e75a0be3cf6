"""What the stages hand to each other: one `Record` per input image, with everything that happened to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

Box = tuple[float, float, float, float]

LIVER_CLASSES = ("cyst", "HCC", "hemangioma", "metastasis")
NORMAL = "normal"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Lesion:
    """One lesion box, xyxy in pixels of the original image."""

    box: Box
    label: str


@dataclass(frozen=True)
class Note:
    """Something that was found or changed and did not drop the image."""

    stage: str
    code: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}({self.detail})" if self.detail else self.code


@dataclass
class Record:
    """One input image (a table row, a file, or both) on its way through the stages.

    Attributes:
        file: path relative to the export's image folder, with forward slashes; the key of the report.
        path: where the original lies. It is only ever read.
        frame: number of the frame in a multi-frame file, from 0; None for a plain image.
        patient_id: as in the table, "" when the export has none.
        lesions: boxes in original pixels; the box stage clips and rejects.
        mask_size: (width, height) of the mask file that the boxes came from, None for tables.
        width, height: filled when the image has been decoded.
        extra: further facts of the image (day, view, ...), kept as fields of the COCO image.
        group: number of the near-duplicate group, -1 when alone.
        stage, reason, detail, partner, distance, correlation: why and against what the image was dropped.
        split, out_file, overlay_pixels: filled when the image is written.
        lesions_in: the boxes as they were read, set when the box stage has looked at them.
        overlay_in_boxes: pixels of removed marks that lie inside lesion boxes.
    """

    file: str
    path: Path
    patient_id: str = ""
    age: int | None = None
    sex: str | None = None
    diagnosis: str = UNKNOWN
    lesions: list[Lesion] = field(default_factory=list)
    mask_size: tuple[int, int] | None = None
    boxes_in: int = 0
    frame: int | None = None
    extra: dict[str, str | int | float | None] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    group: int = -1
    stage: str = ""
    reason: str = ""
    detail: str = ""
    partner: str = ""
    distance: int | None = None
    correlation: float | None = None
    split: str = ""
    out_file: str = ""
    overlay_pixels: int = 0
    notes: list[Note] = field(default_factory=list)
    lesions_in: tuple[Lesion, ...] | None = None
    overlay_in_boxes: int = 0

    @property
    def kept(self) -> bool:
        """True until a stage drops the image."""
        return not self.reason

    def note(self, stage: str, code: str, detail: str = "") -> None:
        """Remember a finding; it becomes part of the image's row in report.csv."""
        self.notes.append(Note(stage, code, detail))

    def drop(self, stage: str, reason: str, detail: str = "", partner: str = "") -> None:
        """Drop the image. The first reason stands; a second call is an error in the pipeline."""
        assert self.kept, f"{self.file} was dropped twice: {self.reason}, {reason}"
        self.stage, self.reason, self.detail, self.partner = stage, reason, detail, partner


@dataclass
class Export:
    """A read export: its records in sorted file order and the fixed order of its classes.

    Attributes:
        remarks: what concerns no single image (files passed over, annotations of unknown images), a line each.
    """

    records: list[Record]
    classes: tuple[str, ...]
    reader: str
    has_patient_ids: bool
    remarks: list[str] = field(default_factory=list)
