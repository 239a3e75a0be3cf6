"""The stages in order: read, decode, boxes, size, labels, duplicates, overlays, split, COCO, summary.

Every stage takes the list of records and marks what it drops, so that the report is complete by construction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .boxes import check_boxes, check_labels
from .dedup import drop_duplicates, find_pairs
from .errors import EmptyResultError
from .options import Options
from .output import new_folder
from .probe import Probe, probe
from .readers import read_export
from .records import Box, Lesion, Record
from .results import write_results
from .split import assign_splits, wanted_shares
from .workers import run_all
from .writing import WriteJob, Written, write_image


def prepare(export: Path, out: Path, options: Options | None = None) -> dict:
    """Clean ``export`` and write the COCO data set ``out``; returns the summary.

    Raises:
        DataPrepError: the export, an option or the output folder does not fit, or too little is left.
            Nothing is then written: the output appears as a whole at the very end.
    """
    options = options or Options()
    wanted_shares(options)
    with new_folder(out, export, options.overwrite) as folder:
        source = read_export(export, options)
        records = source.records
        probes = look(records, options)
        digest = inputs_digest(records, probes)
        pairs = clean(records, probes, source.classes, options)
        kept = [record for record in records if record.kept]
        if not kept:
            raise EmptyResultError(f"no image is left of {len(records)}: {_reasons(records)}")
        name_patients(kept)
        assign_splits(kept, options)
        kept = [record for record in kept if record.kept]
        write_images(kept, probes, folder, options)
        summary = write_results(folder, export, source, pairs, digest, options)
    return summary


def look(records: Sequence[Record], options: Options) -> dict[str, Probe]:
    """Decode every file once; unreadable files are dropped. Returns the probes by file."""
    wanted = [record for record in records if record.kept]
    found = run_all(probe, [(str(record.path), options.min_size) for record in wanted], options.jobs)
    probes = {}
    for record, result in zip(wanted, found, strict=True):
        probes[record.file] = result
        record.width, record.height = result.width, result.height
        if result.fault:
            record.drop("decode", *result.fault)
    return probes


def clean(
    records: Sequence[Record], probes: dict[str, Probe], classes: tuple[str, ...], options: Options
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
    pairs = find_pairs(own, options.dedup_distance)
    drop_duplicates(left, own, pairs)
    return [(left[p.first].file, left[p.second].file, p.distance, f"{p.correlation:.4f}") for p in pairs]


def name_patients(kept: Sequence[Record]) -> None:
    """Where no patient id is known, the duplicate group (named by its first file) stands for the patient."""
    first: dict[int, str] = {}
    for record in kept:
        if not record.patient_id:
            record.patient_id = f"no-id:{first.setdefault(record.group, record.file)}"


def write_images(kept: Sequence[Record], probes: dict[str, Probe], folder: Path, options: Options) -> None:
    """Write every kept image below ``folder``/images and note what was changed."""
    jobs, taken = [], {record.file for record in kept}
    for record in kept:
        own = probes[record.file]
        remove = own.overlay_pixels > 0 and not options.keep_overlays
        shrinks = 0 < options.max_side < max(record.width, record.height)
        copy = not (remove or shrinks or own.change)
        record.out_file = record.file if copy else _png_name(record.file, taken)
        mask = str(folder / "overlay_masks" / _png_name(record.out_file, set())) if remove else ""
        boxes = tuple(lesion.box for lesion in record.lesions)
        size = (record.width, record.height)
        target = str(folder / "images" / record.out_file)
        jobs.append((WriteJob(str(record.path), target, mask, options.max_side, copy, size, boxes),))
    for record, written in zip(kept, run_all(write_image, jobs, options.jobs), strict=True):
        _note_changes(record, probes[record.file], written)


def _png_name(file: str, taken: set[str]) -> str:
    """Name with the suffix .png that no other image has."""
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
        row = (
            record.file,
            record.patient_id,
            record.age,
            record.sex,
            record.diagnosis,
            record.lesions,
            record.reason,
        )
        digest.update(repr(row).encode())
        digest.update(probes[record.file].file_digest if record.file in probes else b"")
    return digest.hexdigest()


def _reasons(records: Sequence[Record]) -> str:
    counts: dict[str, int] = {}
    for record in records:
        counts[record.reason] = counts.get(record.reason, 0) + 1
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
