"""A graded set of fundus photographs: cropped squares, saliency maps, grades and sides by patient.

Crop and maps follow SSiT (Huang et al., JBHI 2024); see `fundus_crop` and `saliency`. What cannot be used stands in
report.csv with its reason. Command: ``python -m data_prep fundus EXPORT OUT --table labels.csv``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from . import stages
from .errors import EmptyResultError
from .file_stage import FileStage
from .fundus_crop import CropJob, Cropped, crop_chunk
from .fundus_options import FundusOptions
from .fundus_table import read_table
from .images import write_whole
from .output import MARK, check_nesting, check_target, claimed, fingerprint, finish, sweep
from .progress import Display, Usage
from .records import UNKNOWN, Record
from .split import SIDES, assign_splits, check_split
from .stages import Run, run_stage
from .store import WorkFolder
from .summary import report_csv, table_csv
from .workers import crew

COLUMNS = ("image", "patient", "label", "split")


def prepare_fundus(export: Path, out: Path, options: FundusOptions, usage: Usage | None = None) -> dict:
    """Write the graded set ``out`` (images/, saliency/, labels.csv, report.csv, summary); returns the summary.

    Args:
        export: folder of the photographs; it is only read.
        out: folder to write; it appears as a whole at the very end.
        options: parameters of the run.
        usage: filled with time and memory.

    Raises:
        DataPrepError: the export, an option or the output folder does not fit, or too little is left. Nothing is
            then left behind.
        InterruptedRun: a worker died or the disk is full; the same call goes on where this one stopped.
    """
    display = Display(options.quiet)
    check_split(options)
    check_nesting(out, export)
    if not WorkFolder(out).path.exists():
        check_target(out, options.overwrite)
    records, remarks = read_table(export, options)
    own = fingerprint(export, options, records, stages.CHUNK)
    with (
        crew(options.jobs, options.scheduler) as team,
        claimed(out, own, options.overwrite, display.say) as work,
    ):
        if work is None:
            return json.loads((out / MARK).read_text(encoding="utf-8"))
        run = Run(work, team, options, display, usage or Usage())
        how = crop_all(records, run, options)
        split_patients(records, options)
        summary = _write_tables(work.result, records, remarks, how, options)
        finish(work, 0)
    return summary


def crop_all(records: Sequence[Record], run: Run, options: FundusOptions) -> Counter[str]:
    """Crop every photograph; unreadable, flat and repeated ones are dropped. Returns how often a crop was found how."""
    wanted = [record for record in records if record.kept]
    folder, found = run.work.result, dict[int, Cropped]()
    name_targets(wanted)

    def job(number: int) -> CropJob:
        record = wanted[number]
        target = str(folder / "images" / record.out_file)
        found_map = str(folder / map_name(record.out_file)) if options.saliency else ""
        return CropJob(str(record.path.absolute()), target, found_map, options.size, options.crop)

    run_stage(FileStage("fundus", crop_chunk, len(wanted), job, found.__setitem__, run.work.holds), run)
    first: dict[bytes, Record] = {}
    for number, record in enumerate(wanted):
        one = found[number]
        record.width, record.height = one.size
        if one.fault:
            record.drop("decode", *one.fault)
        elif (twin := first.setdefault(one.digest, record)) is not record:
            record.drop("duplicates", "same_pixels", f"as {twin.file} of patient {twin.patient_id}", twin.file)
    kept = [found[number] for number, record in enumerate(wanted) if record.kept]
    sweep(folder, {Path(path).relative_to(folder).as_posix() for one in kept for path, _, _ in one.files})
    return Counter(one.how for one in kept)


def map_name(image: str) -> str:
    """Path of the map of an image, both relative: saliency/ and the image's own path, as .png."""
    return f"saliency/{PurePosixPath(image).with_suffix('.png').as_posix()}"


def name_targets(records: Sequence[Record]) -> None:
    """Set `Record.out_file`: the file's own path as .jpg; where two would share it, the suffix stays in the name."""
    plain = Counter(PurePosixPath(record.file).with_suffix("").as_posix() for record in records)
    for record in records:
        stem = PurePosixPath(record.file).with_suffix("").as_posix()
        record.out_file = f"{stem}.jpg" if plain[stem] == 1 else f"{record.file}.jpg"


def split_patients(records: Sequence[Record], options: FundusOptions) -> None:
    """Set `Record.split` of the kept records: by patient, stratified by the worst grade of the patient's images.

    Raises:
        EmptyResultError: no photograph is left, or too few patients for three sides.
    """
    kept = [record for record in records if record.kept]
    if not kept:
        reasons = Counter(record.reason for record in records)
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        raise EmptyResultError(f"no photograph is left of {len(records)}: {counts}")
    if all(record.diagnosis == UNKNOWN for record in kept):
        raise EmptyResultError(
            f"none of {len(kept)} photographs has a grade in column {options.label_column}: name the right one with "
            "--label-column"
        )
    own = [record.diagnosis for record in kept]
    worst: defaultdict[str, str] = defaultdict(lambda: UNKNOWN)
    for record in sorted((one for one in kept if one.diagnosis != UNKNOWN), key=lambda one: int(one.diagnosis)):
        worst[record.patient_id] = record.diagnosis
    for record in kept:
        record.diagnosis = worst[record.patient_id]
    assign_splits(kept, options)
    for record, grade in zip(kept, own, strict=True):
        record.diagnosis = grade


def _write_tables(
    folder: Path, records: Sequence[Record], remarks: list[str], how: Counter[str], options: FundusOptions
) -> dict:
    kept = [record for record in records if record.kept]
    rows = [(r.out_file, r.patient_id, "" if r.diagnosis == UNKNOWN else r.diagnosis, r.split) for r in kept]
    for record in records:
        record.out_file = record.out_file if record.kept else ""
    summary = {
        "kind": "graded photographs",
        "input_rows": len(records),
        "images": len(kept),
        "rejected": dict(sorted(Counter(record.reason for record in records if not record.kept).items())),
        "size": options.size,
        "crop": dict(sorted(how.items())),
        "saliency": options.saliency,
        "seed": options.seed,
        "split": {side: _side([record for record in kept if record.split == side]) for side in SIDES},
        "remarks": remarks,
    }
    write_whole(folder / "labels.csv", table_csv(COLUMNS, rows).encode())
    write_whole(folder / "report.csv", report_csv(records).encode())
    write_whole(folder / "summary.txt", summary_text(summary).encode())
    if options.saliency:  # by this file `data_prep saliency --overwrite` knows the maps as its own
        write_whole(folder / "saliency" / MARK, (json.dumps({"maps": len(kept), "circle": True}) + "\n").encode())
    write_whole(folder / MARK, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _side(records: Sequence[Record]) -> dict:
    grades = Counter(record.diagnosis for record in records)
    order = sorted(grades, key=lambda grade: (grade == UNKNOWN, grade.zfill(9)))
    return {
        "images": len(records),
        "patients": len({record.patient_id for record in records}),
        "grades": {grade: grades[grade] for grade in order},
    }


def summary_text(summary: dict) -> str:
    """The summary for a person."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items())
    lines = [f"{summary['input_rows']} rows, {summary['images']} images written, {summary['size']} px square"]
    lines.append(f"rejected: {reasons} (report.csv names each)" if reasons else "rejected: none")
    lines.append("crop: " + ", ".join(f"{how} {count}" for how, count in summary["crop"].items()))
    for side, facts in summary["split"].items():
        grades = ", ".join(f"{grade}: {count}" for grade, count in facts["grades"].items())
        lines.append(f"{side:5s} {facts['images']:6d} images, {facts['patients']:5d} patients; grades {grades}")
    return "\n".join([*lines, *summary["remarks"], ""])
