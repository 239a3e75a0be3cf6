"""The stages in order: read, decode, boxes, size, labels, duplicates, overlays, split, COCO, summary.

Every stage takes the list of records and marks what it drops, so that the report is complete by construction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path, PurePosixPath

import numpy as np

from . import stages
from .boxes import check_boxes, check_labels
from .dedup import drop_duplicates, find_pairs
from .errors import EmptyResultError, InterruptedRun
from .options import Options
from .output import MARK, check_nesting, check_target, claimed, fingerprint, finish, sweep
from .probe import Probe
from .progress import Display, Usage
from .readers import read_export
from .records import Box, Export, Lesion, Record
from .results import write_results
from .split import assign_splits, check_split
from .stages import Look, Run, Write, run_stage
from .store import Thumbs, WorkFolder
from .tasks import Outcome
from .workers import crew
from .writing import WriteJob, Written


def prepare(
    export: Path,
    out: Path,
    options: Options | None = None,
    executor: Executor | None = None,
    usage: Usage | None = None,
) -> dict:
    """Clean ``export`` and write the COCO data set ``out``; returns the summary.

    Args:
        export: folder of the raw export; it is only read.
        out: folder to write; it appears as a whole at the very end.
        options: parameters of the run.
        executor: any ``concurrent.futures`` executor, in place of ``options.jobs`` processes.
        usage: filled with time and memory.

    Raises:
        DataPrepError: the export, an option or the output folder does not fit, or too little is left. Nothing is
            then left behind.
        InterruptedRun: a worker died; the same call goes on where this one stopped.
    """
    options, display = options or Options(), Display((options or Options()).quiet)
    check_split(options)
    check_nesting(out, export)
    if not WorkFolder(out).path.exists():
        check_target(out, options.overwrite)
    source = read_export(export, options)
    own = fingerprint(export, options, source.records, stages.CHUNK)
    with (
        crew(options.jobs, options.scheduler, executor) as team,
        claimed(out, own, options.overwrite, display.say) as work,
    ):
        if work is None:
            return json.loads((out / MARK).read_text(encoding="utf-8"))
        run = Run(work, team, options, display, usage or Usage())
        summary = _prepare(export, source, run)
        finish(work, sum(record.stage == "write" for record in source.records))
    return summary


def _prepare(export: Path, source: Export, run: Run) -> dict:
    """All stages; the result lies in the work folder."""
    records, options = source.records, run.options
    probes, thumbs, rows = look(records, run)
    digest = inputs_digest(records, probes)
    pairs = clean(records, probes, source.classes, options, lambda left: thumbs.select([rows[r.file] for r in left]))
    kept = [record for record in records if record.kept]
    if not kept:
        raise EmptyResultError(f"no image is left of {len(records)}: {_reasons(records)}")
    name_patients(kept)
    assign_splits(records, options)
    kept = [record for record in kept if record.kept]
    write_images(kept, probes, run)
    if not any(record.kept for record in kept):
        raise InterruptedRun(f"not one of {len(kept)} images could be written: {kept[0].detail}")
    return write_results(run.work.result, export, source, pairs, digest, options)


def look(records: Sequence[Record], run: Run) -> tuple[dict[str, Probe], Thumbs, dict[str, int]]:
    """Decode every file once; unreadable files are dropped.

    Returns the probes by file, the thumbnails, and the row of each file in them.
    """
    wanted = [record for record in records if record.kept]
    files = [(str(record.path.absolute()), record.frame) for record in wanted]
    thumbs = Thumbs(run.work.path / "thumbs.u8", len(wanted))
    probes: dict[str, Probe] = {}

    def use(number: int, found: Probe) -> None:
        record = wanted[number]
        probes[record.file] = found
        record.width, record.height = found.width, found.height
        if found.fault:
            record.drop("decode", *found.fault)

    run_stage(Look(files, thumbs, run.options.min_size, use), run)
    return probes, thumbs, {record.file: row for row, record in enumerate(wanted)}


def clean(
    records: Sequence[Record],
    probes: dict[str, Probe],
    classes: tuple[str, ...],
    options: Options,
    thumbs_of: Callable[[Sequence[Record]], np.ndarray],
) -> list[tuple]:
    """Boxes, size, labels and duplicates, in place; returns the verified near-duplicate pairs."""
    for record in records:
        if record.kept:
            check_boxes(record, classes)
        if record.kept and record.width <= options.min_size and record.height <= options.min_size:
            limit = f"{options.min_size} x {options.min_size}"
            record.drop("size", "too_small", f"{record.width} x {record.height} is not above {limit}")
        if record.kept:
            check_labels(record)
    left = [record for record in records if record.kept]
    own = [probes[record.file] for record in left]
    for record, found in zip(left, own, strict=True):
        if found.flat:
            record.note("duplicates", "flat_frame", "no contrast: compared by equal pixels only")
    pairs = find_pairs(own, thumbs_of(left), options.dedup_distance, invariant=options.dedup_invariant)
    drop_duplicates(left, own, pairs)
    return [(left[p.first].file, left[p.second].file, p.distance, f"{p.correlation:.4f}") for p in pairs]


def name_patients(kept: Sequence[Record]) -> None:
    """Where no patient id is known, the duplicate group (named by its first file) stands for the patient."""
    first: dict[int, str] = {}
    for record in kept:
        if not record.patient_id:
            record.patient_id = f"no-id:{first.setdefault(record.group, record.file)}"


def write_images(kept: Sequence[Record], probes: dict[str, Probe], run: Run) -> None:
    """Write every kept image and note what was changed; what cannot be written is dropped."""
    options, folder = run.options, run.work.result
    taken = {record.file for record in kept}
    for record in kept:
        copy = not (_removes(record, probes, options) or _shrinks(record, options) or probes[record.file].change)
        record.out_file = record.file if copy else _png_name(record.file, taken)

    def job(number: int) -> tuple[WriteJob, bytes]:
        record = kept[number]
        own, remove = probes[record.file], _removes(record, probes, options)
        copy = not (remove or _shrinks(record, options) or own.change)
        mask = str(folder / mask_name(record)) if remove else ""
        boxes = tuple(lesion.box for lesion in record.lesions)
        size = (record.width, record.height)
        target = str(folder / "images" / record.out_file)
        source = str(record.path.absolute())
        return WriteJob(source, target, mask, options.max_side, copy, size, boxes, record.frame), own.file_digest

    def use(number: int, outcome: Outcome) -> None:
        record = kept[number]
        if outcome.written is None:
            record.drop("write", "not_written", outcome.fault)
            record.split = record.out_file = ""
        else:
            files.update(Path(path).relative_to(folder).as_posix() for path, _, _ in outcome.files)
            _note_changes(record, probes[record.file], outcome.written)

    files: set[str] = set()
    run_stage(Write(len(kept), job, use, run.work.holds), run)
    sweep(folder, files)


def mask_name(record: Record) -> str:
    """Path of the mask of an image's overlays, below OUT."""
    return f"overlay_masks/{_png_name(record.out_file, set())}"


def _removes(record: Record, probes: dict[str, Probe], options: Options) -> bool:
    return probes[record.file].overlay_pixels > 0 and not options.keep_overlays


def _shrinks(record: Record, options: Options) -> bool:
    return 0 < options.max_side < max(record.width, record.height)


def _png_name(file: str, taken: set[str]) -> str:
    """Name with the suffix .png that no other image has; frame 3 of a file becomes name_0003.png."""
    base, mark, frame = file.rpartition("#")
    if mark and frame.isdecimal():
        file = f"{PurePosixPath(base).with_suffix('')}_{frame}{PurePosixPath(base).suffix}"
    name = PurePosixPath(file).with_suffix(".png").as_posix()
    if name != file:
        while name in taken:
            name = f"{name}.png"
        taken.add(name)
    return name


def _note_changes(record: Record, own: Probe, written: Written) -> None:
    if own.change:
        record.note("decode", "re_encoded", own.change)
    if own.doppler:
        record.note("overlays", "doppler_frame", f"colour on {own.flow_share:.1%} of the scan, left as it is")
    elif own.flow_share:
        record.note("overlays", "colour_flow_left", f"on {own.flow_share:.2%} of the scan")
    record.overlay_pixels = written.overlay_pixels
    if written.overlay_pixels:
        record.note("overlays", "scale_removed", f"{written.overlay_pixels} pixels")
    record.overlay_in_boxes = sum(written.in_boxes)
    if any(written.in_boxes):
        record.note("overlays", "scale_on_lesion", f"{sum(written.in_boxes)} pixels inside boxes")
    if (written.width, written.height) != (record.width, record.height):
        record.note("overlays", "shrunk", f"{record.width} x {record.height} -> {written.width} x {written.height}")
        x, y = written.width / record.width, written.height / record.height
        record.lesions = [Lesion(_scale(lesion.box, x, y), lesion.label) for lesion in record.lesions]
        record.width, record.height = written.width, written.height


def _scale(box: Box, x: float, y: float) -> Box:
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def inputs_digest(records: Sequence[Record], probes: dict[str, Probe]) -> str:
    """SHA-256 over every file's content and every row's values."""
    digest = hashlib.sha256()
    for record in records:
        row = (record.file, record.patient_id, record.age, record.sex, record.diagnosis, record.lesions, record.reason)
        digest.update(repr(row).encode())
        digest.update(probes[record.file].file_digest if record.file in probes else b"")
    return digest.hexdigest()


def _reasons(records: Sequence[Record]) -> str:
    counts: dict[str, int] = {}
    for record in records:
        counts[record.reason] = counts.get(record.reason, 0) + 1
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
