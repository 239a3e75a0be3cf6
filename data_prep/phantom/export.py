"""Writes a phantom export: images, table.csv, truth.csv, truth_boxes.csv and, on request, the clean twins."""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_prep.phantom.patient import TABLE, TRUTH_BOXES, Result, render_patient
from data_prep.phantom.plan import Job, Options, plan_jobs


@dataclass(frozen=True)
class ExportSummary:
    """What was written: counts of patients, images, table rows, files, true boxes by class, faults by kind.

    ``num_images`` counts the planned images: files plus the rows whose file is missing on purpose.
    """

    num_patients: int
    num_images: int
    num_rows: int
    num_files: int
    boxes: dict[str, int]
    faults: dict[str, int]


def generate_export(
    out: str | Path,
    num_patients: int | None = None,
    images_per_patient: tuple[int, int] = (2, 4),
    num_images: int | None = None,
    size: int = 480,
    seed: int = 0,
    jobs: int = 1,
    faults: float = 1.0,
    twins: bool = False,
) -> ExportSummary:
    """Write an export into the folder ``out``, which must not hold one yet.

    Args:
        out: The folder; it gets ``images/``, ``table.csv``, ``truth.csv``, ``truth_boxes.csv``.
        num_patients: Number of patients. With ``num_images`` alone, as many as these need.
        images_per_patient: Least and most frames of a patient (inclusive).
        num_images: Exact number of images in all; spread evenly where ``num_patients`` is given too.
        size: Nominal short side of a frame in pixels; the machines of the hospitals vary about it.
        seed: Seed of everything.
        jobs: Processes (started by spawn, so a script needs the usual ``__main__`` guard above 1).
        faults: Multiplies the fault rates of ``faults.RATES``; 0 gives a clean export.
        twins: Write overlay masks and clean twins into ``truth/``.

    Raises:
        OptionError: a number is out of range, or ``out`` already holds an export.
    """
    out = Path(out)
    options = Options(out, num_patients, images_per_patient, num_images, size, seed, jobs, faults, twins)
    (out / "images").mkdir(parents=True, exist_ok=True)
    if twins:
        (out / "truth").mkdir(exist_ok=True)
    return _write_tables(out, _render_all(plan_jobs(options), jobs))


def _render_all(todo: list[Job], jobs: int) -> list[Result]:
    if jobs == 1:
        return [render_patient(job) for job in todo]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(render_patient, todo, chunksize=8))


def _write_csv(path: Path, columns: Iterable[str], rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_tables(out: Path, results: list[Result]) -> ExportSummary:
    rows = [row for r in results for row in r.rows]
    boxes = [box for r in results for box in r.boxes]
    truth = [t for r in results for t in r.truth]
    _write_csv(out / "truth_boxes.csv", TRUTH_BOXES, boxes)
    records = [{"file": t.file, "kind": t.kind, "detail": json.dumps(t.detail)} for t in truth]
    _write_csv(out / "truth.csv", ("file", "kind", "detail"), records)
    _write_csv(out / "table.csv", TABLE, rows)
    return ExportSummary(
        num_patients=len(results),
        num_images=sum(r.num_images for r in results),
        num_rows=len(rows),
        num_files=sum(r.num_files for r in results),
        boxes=dict(Counter(b["class"] for b in boxes)),
        faults=dict(Counter(t.kind for t in truth)),
    )
