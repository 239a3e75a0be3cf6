"""Parameters of a run; the command line has one option for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .dedup import DISTANCE

NO_INFLUENCE = ("jobs", "scheduler", "overwrite", "quiet")  # options on which no byte of the output depends


@dataclass(frozen=True)
class Options:
    """Parameters of a run.

    Attributes:
        reader: name of the layout, or ``auto``.
        columns: yaml file that maps the columns of a foreign table to ours.
        classes: lesion classes in their fixed order; None takes the layout's own.
        min_size: pixels; images that wide or less and that high or less are dropped.
        dedup_distance: bits of 64 within which two hashes are candidates.
        dedup_invariant: also find rotated (by 90 degrees) and mirrored copies.
        split: shares of train, val and test.
        folds: number of folds of a k-fold split in place of three sides; 0 for the three sides.
        split_from: folder of an earlier output whose patients keep their sides.
        leaky_random: split by image, for comparison only.
        seed: seed of the split.
        jobs: worker processes.
        scheduler: address of a Dask scheduler that takes the place of the worker processes.
        keep_overlays: leave burned-in marks in the images.
        indent: blanks by which the annotation json is indented; None writes one line.
        max_side: pixels; written images are shrunk to this longer side, 0 leaves them.
        overwrite: replace an earlier output.
        keep_patient_ids: patient ids of DICOM headers stay as they are in place of a pseudonym, and frames that
            say they carry burned-in text are kept.
        quiet: show no progress bar.
        pseudonym_key: file with the secret that turns patient ids of DICOM headers into pseudonyms.
    """

    reader: str = "auto"
    columns: Path | None = None
    classes: tuple[str, ...] | None = None
    min_size: int = 400
    dedup_distance: int = DISTANCE
    dedup_invariant: bool = False
    split: tuple[float, ...] = (0.8, 0.1, 0.1)
    folds: int = 0
    split_from: Path | None = None
    leaky_random: bool = False
    seed: int = 0
    jobs: int = 1
    scheduler: str = ""
    keep_overlays: bool = False
    indent: int | None = None
    max_side: int = 0
    overwrite: bool = False
    keep_patient_ids: bool = False
    pseudonym_key: Path | None = None
    quiet: bool = False
