"""A set for anomaly detection: an unlabelled mix with a wanted contamination, healthy images, val and test.

No patient has two roles, no picture occurs twice, and what a trivial score reaches is reported. Read by
`medkit.data.anomaly_table`. Command: ``python -m data_prep anomaly EXPORT OUT --contamination 0.3``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from . import stages
from .anomaly_cut import Cut, CutJob, Part, cut_chunk
from .anomaly_options import AnomalyOptions
from .anomaly_roles import ROLES, assign_roles
from .anomaly_table import ANOMALOUS, HEALTHY, read_images
from .file_stage import FileStage
from .images import write_whole
from .output import MARK, check_nesting, check_target, claimed, fingerprint, finish, sweep
from .progress import Display, Usage
from .records import UNKNOWN, Record
from .split import check_split
from .stages import Run, run_stage
from .store import WorkFolder
from .summary import report_csv, table_csv
from .workers import crew

COLUMNS = ("image", "role", "label", "patient", "mask")
NUMBERS = {HEALTHY: 0, ANOMALOUS: 1, UNKNOWN: ""}
Cuts = list[tuple[Record, Part]]


def prepare_anomaly(export: Path, out: Path, options: AnomalyOptions, usage: Usage | None = None) -> dict:
    """Write the set ``out`` (images/, masks/, anomaly.csv, report.csv, summary); returns the summary.

    Args:
        export: folder of the images; it is only read.
        out: folder to write; it appears as a whole at the very end.
        options: parameters of the run.
        usage: filled with time and memory.

    Raises:
        DataPrepError: the export, an option or the output folder does not fit, or a role has too few images. Nothing
            is then left behind.
        InterruptedRun: a worker died or the disk is full; the same call goes on where this one stopped.
    """
    display = Display(options.quiet)
    check_split(options)
    check_nesting(out, export)
    if not WorkFolder(out).path.exists():
        check_target(out, options.overwrite)
    records, remarks = read_images(export, options)
    own = fingerprint(export, options, records, stages.CHUNK)
    with (
        crew(options.jobs, options.scheduler) as team,
        claimed(out, own, options.overwrite, display.say) as work,
    ):
        if work is None:
            return json.loads((out / MARK).read_text(encoding="utf-8"))
        run = Run(work, team, options, display, usage or Usage())
        records, cuts = cut_all(records, run, options)
        drop_copies(cuts)
        assign_roles(records, options)
        _keep_wanted(work.result, cuts)
        summary = _write_tables(work.result, records, cuts, remarks, options)
        finish(work, 0)
    return summary


def cut_all(records: Sequence[Record], run: Run, options: AnomalyOptions) -> tuple[list[Record], Cuts]:
    """Cut every image; returns a record for each square (and each image without one), and the squares."""
    wanted = [record for record in records if record.kept]
    stems, centres, found = _stems(wanted), _centres(wanted, options), dict[int, Cut]()

    def job(number: int) -> CutJob:
        record = wanted[number]
        return CutJob(
            source=str(record.path.absolute()),
            folder=str(run.work.result),
            stem=stems[number],
            anomalous=record.diagnosis == ANOMALOUS,
            size=options.size,
            square=options.crop == "square",
            drop_top=options.drop_top,
            mask=str(record.extra.get("mask") or ""),
            boxes=tuple(lesion.box for lesion in record.lesions),
            side=options.patches,
            count=options.patches_per_image,
            centres=centres,
            seed=options.seed,
        )

    run_stage(FileStage("cut", cut_chunk, len(wanted), job, found.__setitem__, run.work.holds), run)
    all_records, cuts = [record for record in records if not record.kept], Cuts()
    for number, record in enumerate(wanted):
        own = _cut_records(record, found[number], options)
        all_records += [one for one, _ in own] or [record]
        cuts += own
    return sorted(all_records, key=lambda record: record.file), cuts


def _cut_records(record: Record, cut: Cut, options: AnomalyOptions) -> Cuts:
    """The record itself for a whole image; one for each of its patches; none where there is a fault."""
    record.width, record.height = cut.size
    if cut.fault:
        record.drop("decode", *cut.fault)
        return []
    if not options.patches:
        record.out_file = cut.parts[0].image
        return [(record, cut.parts[0])]
    cuts = []
    for part in cut.parts:
        name = f"{record.file}#{PurePosixPath(part.image).stem.rpartition('_')[2]}"
        one = Record(name, record.path, record.patient_id, width=record.width, height=record.height)
        one.diagnosis, one.out_file = ANOMALOUS if part.anomalous else HEALTHY, part.image
        cuts.append((one, part))
    return cuts


def _stems(records: Sequence[Record]) -> list[str]:
    """Each file's own path without suffix; where two would share it, with the suffix."""
    stems = [PurePosixPath(record.file).with_suffix("").as_posix() for record in records]
    count = Counter(stems)
    return [stem if count[stem] == 1 else record.file for stem, record in zip(stems, records, strict=True)]


def _centres(records: Sequence[Record], options: AnomalyOptions) -> tuple[tuple[float, float], ...]:
    """Where lesions lie, in shares of width and height: at most 500 of them, spread over the set."""
    if not options.patches:
        return ()
    from .readers.pixels import image_size

    boxed = [record for record in records if record.lesions]
    found = []
    for record in boxed[:: max(1, len(boxed) // 500)]:
        width, height = image_size(record.path) or (0, 0)
        if width and height:
            left, top, right, bottom = record.lesions[0].box
            found.append(((left + right) / 2 / width, (top + bottom) / 2 / height))
    return tuple(found)


def drop_copies(cuts: Cuts) -> None:
    """Keep the first of squares with the same pixels, link their patients; drop all where labels contradict."""
    same: defaultdict[bytes, list[Record]] = defaultdict(list)
    for record, part in cuts:
        same[part.digest].append(record)
    for number, members in enumerate(group for group in same.values() if len(group) > 1):
        contradict = len({record.diagnosis for record in members} - {UNKNOWN}) > 1
        members.sort(key=lambda record: (record.diagnosis == UNKNOWN, record.file))
        for record in members:
            record.group = number
        for record in members if contradict else members[1:]:
            reason = "contradicting_labels" if contradict else "same_pixels"
            record.drop("duplicates", reason, f"as {members[0].file}", members[0].file)


def _keep_wanted(folder: Path, cuts: Cuts) -> None:
    kept = [part for record, part in cuts if record.kept]
    sweep(folder, {f"images/{p.image}" for p in kept} | {f"masks/{p.mask}" for p in kept if p.mask})
    for record, _ in cuts:
        if not record.kept:
            record.out_file = record.split = ""


def _write_tables(
    folder: Path, records: Sequence[Record], cuts: Cuts, remarks: list[str], options: AnomalyOptions
) -> dict:
    kept = sorted(((r, p) for r, p in cuts if r.kept), key=lambda cut: (ROLES.index(cut[0].split), cut[0].file))
    mixed = Counter(record.diagnosis for record, _ in kept if record.split == "mixed")
    summary = {
        "kind": "anomaly detection",
        "input_images": len(records),
        "images": len(kept),
        "rejected": dict(sorted(Counter(record.reason for record in records if not record.kept).items())),
        "size": options.size,
        "patches": options.patches,
        "seed": options.seed,
        "contamination": None if mixed[UNKNOWN] else round(mixed[ANOMALOUS] / sum(mixed.values()), 6),
        "roles": {role: _role([record for record, _ in kept if record.split == role]) for role in ROLES},
        "sharpness": _medians(kept),
        "baseline_auroc": _baselines([(r, p) for r, p in kept if r.split == "test"]),
        "remarks": [*remarks, *_remarks(kept, mixed)],
    }
    rows = [(r.out_file, r.split, NUMBERS[r.diagnosis], r.patient_id, p.mask) for r, p in kept]
    write_whole(folder / "anomaly.csv", table_csv(COLUMNS, rows).encode())
    write_whole(folder / "report.csv", report_csv(records).encode())
    write_whole(folder / "summary.txt", summary_text(summary).encode())
    write_whole(folder / MARK, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _role(records: Sequence[Record]) -> dict:
    counts = Counter(record.diagnosis for record in records)
    patients = len({record.patient_id or record.file for record in records})
    return {"images": len(records), "patients": patients} | {name: counts[name] for name in NUMBERS}


def _remarks(kept: Cuts, mixed: Counter[str]) -> list[str]:
    grey = sum(part.grey for _, part in kept)
    found = []
    if 0 < grey < len(kept):
        found.append(f"{grey} images are grey, {len(kept) - grey} colour; all are read as 3 channels")
    if not mixed[ANOMALOUS] and not mixed[UNKNOWN]:
        found.append("no image of mixed is anomalous, so AUCp (healthy against mixed) will say nothing")
    return found


def _medians(kept: Cuts) -> dict:
    """Median Laplacian variance of both kinds of all labelled images, as found and as written."""
    found = {}
    for place, name in enumerate(("found", "written")):
        values = {kind: [p.sharpness[place] for r, p in kept if r.diagnosis == kind] for kind in (HEALTHY, ANOMALOUS)}
        found[name] = {kind: round(float(np.median(of_kind)), 2) for kind, of_kind in values.items()}
    return found


def _baselines(test: Cuts) -> dict[str, float]:
    """AUROC, on the test role, of scores that need no model; far from 0.5 on either side is a shortcut."""
    sick = np.array([record.diagnosis == ANOMALOUS for record, _ in test])
    scores = {
        "sharpness_found": [part.sharpness[0] for _, part in test],
        "sharpness": [part.sharpness[1] for _, part in test],
        "mean_intensity": [part.mean for _, part in test],
    }
    return {name: round(auroc(np.array(values), sick), 4) for name, values in scores.items()}


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in which the positive one scores higher, ties count half; (N,) each."""
    low = np.sort(scores[~positive])
    wins = np.searchsorted(low, scores[positive], "left") + np.searchsorted(low, scores[positive], "right")
    return float(wins.mean() / (2 * len(low)))


def summary_text(summary: dict) -> str:
    """The summary for a person."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary["rejected"].items())
    size = f"{summary['size']} px square" if summary["size"] else "sizes kept"
    lines = [f"{summary['input_images']} images or patches, {summary['images']} written, {size}"]
    lines.append(f"left out: {reasons} (report.csv names each)" if reasons else "left out: none")
    for role, facts in summary["roles"].items():
        kinds = ", ".join(f"{facts[kind]} {name}" for kind, name in _KINDS.items() if facts[kind])
        lines.append(f"{role:8s}{facts['images']:6d} images, {facts['patients']:5d} patients: {kinds}")
    share = summary["contamination"]
    lines.append(f"contamination of mixed: {'unknown' if share is None else f'{100 * share:.1f} %'}")
    for name, medians in summary["sharpness"].items():
        both = ", ".join(f"{kind} {value:g}" for kind, value in medians.items())
        lines.append(f"median Laplacian variance as {name}: {both}")
    scores = ", ".join(f"{name} {value:.3f}" for name, value in summary["baseline_auroc"].items())
    lines.append(f"AUROC on test of scores without a model (0.5 is chance): {scores}")
    return "\n".join([*lines, *summary["remarks"], ""])


_KINDS = {HEALTHY: "healthy", ANOMALOUS: "anomalous", UNKNOWN: "unlabelled"}
