"""What was done: ``summary.txt`` and ``summary.json`` for the whole, ``report.csv`` for every input image.

Written by ``python -m data_prep EXPORT OUT``; docs/data_prep_report.md says what the columns and codes mean.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence

from .records import Lesion, Record

STAGES = {
    "table": "read the table or the masks",
    "decode": "open and decode every file",
    "boxes": "clip or reject boxes",
    "size": "drop small frames",
    "labels": "check diagnosis against boxes",
    "duplicates": "drop near-duplicates",
    "overlays": "find and remove burned-in marks",
    "split": "sides by patient and duplicate group",
    "write": "write the images",
}
REPORT_COLUMNS = (
    *("file", "status", "stage", "reason", "detail", "partner", "hash_distance", "correlation", "notes"),
    *("patient_id", "age", "sex", "diagnosis", "width", "height", "boxes_in", "boxes_out", "overlay_pixels"),
    *("split", "out_file", "boxes_before", "boxes_after", "overlay_in_boxes"),
)


def status_of(record: Record) -> str:
    """``dropped``, ``changed`` (any note stands on it) or ``kept``."""
    return "dropped" if not record.kept else "changed" if record.notes else "kept"


def report_csv(records: Sequence[Record]) -> str:
    """One row per input image, in file order."""
    return table_csv(REPORT_COLUMNS, [_report_row(record) for record in records])


def table_csv(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Text of a csv file; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def _report_row(record: Record) -> list:
    r = record
    correlation = None if r.correlation is None else f"{r.correlation:.4f}"
    return [
        *(r.file, status_of(r), r.stage, r.reason, r.detail, r.partner, r.distance, correlation),
        *(
            "; ".join(map(str, r.notes)),
            r.patient_id,
            r.age,
            r.sex,
            r.diagnosis,
            r.width or None,
            r.height or None,
        ),
        *(r.boxes_in, len(r.lesions) if r.kept else 0, r.overlay_pixels, r.split, r.out_file),
        boxes_text(r.lesions if r.lesions_in is None else r.lesions_in),
        boxes_text(r.lesions) if r.kept else "",
        r.overlay_in_boxes,
    ]


def boxes_text(lesions: Sequence[Lesion]) -> str:
    """Boxes as in the table: ``x1,y1,x2,y2,class;...``."""
    return ";".join(",".join([*(f"{value:.10g}" for value in one.box), one.label]) for one in lesions)


def summarize(records: Sequence[Record], classes: Sequence[str], facts: dict) -> dict:
    """Counts per stage, of notes, and of every side of the split, as plain values."""
    notes = Counter((note.stage, note.code) for record in records for note in record.notes)
    kept = [record for record in records if record.kept]
    diagnoses = sorted({record.diagnosis for record in kept}, key=lambda name: (*_place(name, classes), name))
    return {
        **facts,
        "classes": list(classes),
        "input_images": len(records),
        "status": dict(sorted(Counter(map(status_of, records)).items())),
        "stages": _stages(records),
        "notes": [{"stage": s, "code": c, "times": n} for (s, c), n in sorted(notes.items())],
        "split": {side: _side([r for r in kept if r.split == side], diagnoses, classes) for side in facts["wanted"]},
    }


def _stages(records: Sequence[Record]) -> list[dict]:
    """Images before and after every stage, and why it dropped some; a stage that nobody planned comes last."""
    reasons: dict[str, Counter[str]] = {name: Counter() for name in STAGES}
    for record in records:
        if record.stage:
            reasons.setdefault(record.stage, Counter())[record.reason] += 1
    rows, left = [], len(records)
    for name, dropped in reasons.items():
        before, left = left, left - sum(dropped.values())
        row = {"stage": name, "what": STAGES.get(name, name), "before": before, "kept": left}
        rows.append({**row, "dropped": dict(sorted(dropped.items()))})
    return rows


def _place(name: str, classes: Sequence[str]) -> tuple[int]:
    return (list(classes).index(name) if name in classes else len(classes),)


def _side(records: Sequence[Record], diagnoses: Sequence[str], classes: Sequence[str]) -> dict:
    lesions = Counter(lesion.label for record in records for lesion in record.lesions)
    return {
        "images": len(records),
        "patients": len({record.patient_id for record in records}),
        "lesions": {name: lesions[name] for name in classes},
        "diagnosis": {
            name: {
                "images": len(own := [record for record in records if record.diagnosis == name]),
                "patients": len({record.patient_id for record in own}),
                "lesions": sum(len(record.lesions) for record in own),
            }
            for name in diagnoses
        },
    }


def summary_text(summary: dict) -> str:
    """The summary as the table that the command prints."""
    lines = [f"{'stage':<12}{'kept':>8}{'dropped':>9}  why"]
    for row in summary["stages"]:
        why = ", ".join(f"{reason} {count}" for reason, count in row["dropped"].items())
        lines.append(f"{row['stage']:<12}{row['kept']:>8}{sum(row['dropped'].values()):>9}  {why or row['what']}")
    lines += ["", "found or changed on images (report.csv has the details):"]
    lines += [f"  {note['stage']:<12}{note['times']:>6}  {note['code']}" for note in summary["notes"]] or ["  nothing"]
    lines += ["", f"split: {summary['split_rule']}", *_split_lines(summary["split"])]
    return "\n".join([*lines, "", *summary["remarks"]]).rstrip() + "\n"


def _split_lines(sides: dict) -> list[str]:
    """Rows diagnosis, columns side; each cell is images / patients / lesions."""
    lines = [f"{'images/patients/lesions':<26}" + "".join(f"{side:>18}" for side in sides)]
    for name in next(iter(sides.values()))["diagnosis"]:
        cells = [sides[side]["diagnosis"][name] for side in sides]
        lines.append(f"{name:<26}" + "".join(f"{_cell(c['images'], c['patients'], c['lesions']):>18}" for c in cells))
    totals = [_cell(s["images"], s["patients"], sum(s["lesions"].values())) for s in sides.values()]
    return [*lines, f"{'all':<26}" + "".join(f"{cell:>18}" for cell in totals)]


def _cell(images: int, patients: int, lesions: int) -> str:
    return f"{images}/{patients}/{lesions}"
