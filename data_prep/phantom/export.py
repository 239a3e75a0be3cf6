"""Writes a phantom export: images, table.csv, truth.csv, truth_boxes.csv and, on request, the clean twins.

Every patient draws from a seed of its own and the faults are planned before, so the files do not depend on the number of
processes.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from data_prep.errors import OptionError
from data_prep.phantom.anatomy import Patient, Pose, sample_patient
from data_prep.phantom.faults import LABEL, ODD_AGES, ODD_SEX, Truth, plan_faults, spoil_box, spoil_bytes
from data_prep.phantom.frame import MACHINES, Box, Machine, View, draw_frame, frame_size, sample_sector, sample_view
from data_prep.phantom.lesions import DIAGNOSES, PROFILES
from data_prep.phantom.overlays import OVERLAYS, draw_marks

TABLE = ("file", "patient_id", "age", "sex", "diagnosis", "boxes")
TRUTH_BOXES = ("file", "patient_id", "x1", "y1", "x2", "y2", "class", "labelled")


@dataclass(frozen=True)
class ExportSummary:
    """What was written: counts of patients, images, table rows, files, true boxes and faults by kind."""

    num_patients: int
    num_images: int
    num_rows: int
    num_files: int
    boxes: dict[str, int]
    faults: dict[str, int]


@dataclass(frozen=True)
class _Job:
    """One patient to render."""

    out: str
    patient_id: str
    diagnosis: str
    machine: Machine
    first_index: int
    faults: list[set[str]]
    size: int
    twins: bool
    seed: np.random.SeedSequence


@dataclass
class _Result:
    rows: list[dict] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    boxes: list[dict] = field(default_factory=list)
    num_files: int = 0


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
    """Write an export into the empty or new folder ``out``.

    Args:
        out: The folder; it gets ``images/``, ``table.csv``, ``truth.csv``, ``truth_boxes.csv``, ``truth/``.
        num_patients: Number of patients. With ``num_images`` alone, as many as these need.
        images_per_patient: Least and most frames of a patient (inclusive).
        num_images: Exact number of images in all; spread over the patients.
        size: Nominal short side of a frame in pixels; the machines of the hospitals vary about it.
        seed: Seed of everything.
        jobs: Processes.
        faults: Multiplies the fault rates of ``faults.RATES``; 0 gives a clean export.
        twins: Write overlay masks and clean twins into ``truth/``.
    """
    _check(out, num_patients, images_per_patient, num_images, size, jobs, faults)
    out = Path(out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "truth").mkdir(exist_ok=True) if twins else None
    todo = _plan(out, num_patients, images_per_patient, num_images, size, seed, faults, twins)
    if jobs > 1:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(_render_patient, todo, chunksize=4))
    else:
        results = [_render_patient(job) for job in todo]
    return _write_tables(out, results)


def _check(out, num_patients, per_patient, num_images, size, jobs, faults) -> None:
    low, high = per_patient
    if num_patients is None and num_images is None:
        raise OptionError("Neither a number of patients nor of images was given; give one of them.")
    for name, value in (("number of patients", num_patients), ("number of images", num_images), ("jobs", jobs)):
        if value is not None and value < 1:
            raise OptionError(f"The {name} is {value}; it must be 1 or more.")
    if not 1 <= low <= high:
        raise OptionError(f"Images per patient are {low}..{high}; give a..b with 1 <= a <= b.")
    if num_patients and num_images and num_images < num_patients:
        raise OptionError(f"{num_images} images cannot give each of {num_patients} patients one; raise the images.")
    if not 64 <= size <= 2000:
        raise OptionError(f"The size is {size}; give a short side from 64 to 2000 pixels.")
    if not 0 <= faults <= 5:
        raise OptionError(f"The fault scale is {faults}; give 0 (none) to 5 (five times the usual rates).")
    if (Path(out) / "table.csv").exists():
        raise OptionError(f"{out} already holds an export (table.csv); name a new folder or remove it first.")


def _frame_counts(rng, num_patients, per_patient, num_images) -> list[int]:
    low, high = per_patient
    if num_images is None:
        return rng.integers(low, high + 1, num_patients).tolist()
    if num_patients is not None:
        base, extra = divmod(num_images, num_patients)
        return [base + (i < extra) for i in range(num_patients)]
    counts: list[int] = []
    while sum(counts) < num_images:
        counts.append(min(int(rng.integers(low, high + 1)), num_images - sum(counts)))
    return counts


def _plan(out, num_patients, per_patient, num_images, size, seed, faults, twins) -> list[_Job]:
    root = np.random.SeedSequence(seed)
    master, patients = root.spawn(2)
    rng = np.random.default_rng(master)
    counts = _frame_counts(rng, num_patients, per_patient, num_images)
    shares = np.array([PROFILES[d].share for d in DIAGNOSES])
    quota = np.floor(np.cumsum(shares) * len(counts) + 0.5).astype(int)  # shares hold in small exports too
    names = np.repeat(DIAGNOSES, np.diff(np.concatenate([[0], quota[:-1], [len(counts)]])))
    diagnoses = rng.permutation(names).tolist()
    machines = rng.integers(len(MACHINES), size=len(counts))
    plan = plan_faults(rng, counts, [d != "normal" for d in diagnoses], faults)
    starts = np.cumsum([0, *counts])
    return [
        _Job(
            str(out), f"P{i + 1:05d}", diagnoses[i], MACHINES[machines[i]], int(starts[i]),
            plan[starts[i] : starts[i + 1]], size, twins, child,
        )
        for i, child in enumerate(patients.spawn(len(counts)))
    ]  # fmt: skip


def _render_patient(job: _Job) -> _Result:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(job.seed)
    sector = sample_sector(rng, job.machine, frame_size(job.machine, job.size))
    patient = sample_patient(rng, sector, job.diagnosis)
    result = _Result()
    view: View | None = None
    for i, faults in enumerate(job.faults):
        name = f"us{job.first_index + i + 1:06d}.{job.machine.ext}"
        frame_rng = np.random.default_rng(rng.integers(2**62))
        detail: dict = {}
        if "near_duplicate" in faults and view is not None:
            view = _near(view, frame_rng, detail, f"us{job.first_index + i:06d}.{job.machine.ext}")
        else:
            view = sample_view(frame_rng, patient, sector, i == 0)
        _render_image(job, patient, view, name, faults, frame_rng, detail, result)
    return result


def _near(view: View, rng: np.random.Generator, detail: dict, source: str) -> View:
    """The same plane a moment later: the probe crept, another gain, some scatterers changed."""
    shift, tilt, gain = rng.uniform(-1.2, 1.2), rng.uniform(-0.006, 0.006), rng.uniform(-2, 2)
    fresh = rng.uniform(0.02, 0.2)
    detail["near_duplicate"] = {
        "of": source, "shift_mm": round(shift, 2), "gain_db": round(gain, 2), "new_speckle": round(fresh, 3)
    }  # fmt: skip
    pose = Pose(view.pose.shift + shift, view.pose.tilt + tilt, view.pose.elevation)
    return replace(view, pose=pose, gain_db=view.gain_db + gain, new_speckle=fresh)


def _render_image(job, patient: Patient, view: View, name, faults: set[str], rng, detail, result: _Result) -> None:
    machine = job.machine
    if "small_frame" in faults:
        width, height = frame_size(machine, 64)
        scale = rng.uniform(220, 400) / max(width, height)
        size = (int(width * scale), int(height * scale))
        view = replace(view, sector=_resized(view.sector, size))
        detail["small_frame"] = {"width": size[0], "height": size[1]}
    grey, boxes = draw_frame(patient, machine, view)
    image = colour_frame(grey, machine)
    draw_marks(image, view.sector, machine.ticks, machine.mark)
    clean = image.copy() if job.twins else None
    for kind, draw in OVERLAYS.items():
        if kind in faults:
            detail[kind] = draw(image, rng, boxes)
    if clean is not None and faults & set(OVERLAYS):
        _write_twin(job, name, image, clean)
    _write_image(job, name, image, faults, rng, detail, result)
    _write_row(job, patient, name, boxes, faults, rng, detail, (image.shape[1], image.shape[0]), result)
    result.truth += [Truth(name, kind, detail.get(kind, {})) for kind in sorted(detail)]


def _resized(sector, size: tuple[int, int]):
    scale = min(size[0] / sector.width, size[1] / sector.height)
    return replace(
        sector, width=size[0], height=size[1], px_per_mm=sector.px_per_mm * scale,
        cx=sector.cx * scale, top=sector.top * scale,
    )  # fmt: skip


def colour_frame(grey: np.ndarray, machine: Machine) -> np.ndarray:
    """Grey (H, W) to BGR (H, W, 3) in the machine's tint."""
    channels = [grey if t == 1.0 else cv2.convertScaleAbs(grey, alpha=t) for t in machine.tint]
    return cv2.merge(channels)


def _write_twin(job: _Job, name: str, image: np.ndarray, clean: np.ndarray) -> None:
    folder, stem = Path(job.out) / "truth", Path(name).stem
    mask = np.any(image != clean, axis=2).astype(np.uint8) * 255
    cv2.imwrite(str(folder / f"{stem}_overlay.png"), mask)
    cv2.imwrite(str(folder / f"{stem}_clean.png"), clean)


def _write_image(job: _Job, name: str, image: np.ndarray, faults: set[str], rng, detail, result: _Result) -> None:
    params = [cv2.IMWRITE_PNG_COMPRESSION, 1] if name.endswith("png") else [cv2.IMWRITE_JPEG_QUALITY, 90]
    plain = job.machine.tint == (1.0, 1.0, 1.0) and not np.any(image[..., 0] != image[..., 2])
    _, data = cv2.imencode(Path(name).suffix, image[..., 0] if plain else image, params)
    content = data.tobytes()
    for kind in ("unreadable", "truncated", "empty_file"):
        if kind in faults:
            full, content = len(content), spoil_bytes(kind, rng, content)
            detail[kind] = {"bytes": len(content), "of": full}
    if "row_without_file" in faults:
        detail["row_without_file"] = {}
        return
    (Path(job.out) / "images" / name).write_bytes(content)
    result.num_files += 1


def _write_row(job, patient: Patient, name, boxes: list[Box], faults: set[str], rng, detail, size, result) -> None:
    listed, dropped = list(boxes), -1
    target = int(rng.integers(len(boxes))) if boxes else -1
    for kind in LABEL:
        if kind in faults and boxes:
            if kind == "lesion_unlabelled":
                listed.pop(target)
                dropped = target
                detail[kind] = {"box": boxes[target]}
            else:
                wrong = (*spoil_box(kind, rng, boxes[target][:4], size), boxes[target][4])
                listed[target] = wrong
                detail[kind] = {"box": boxes[target], "written": wrong}
    age, sex = str(patient.age), patient.sex
    if "age_implausible" in faults:
        age = ODD_AGES[int(rng.integers(len(ODD_AGES)))]
        detail["age_implausible"] = {"true": patient.age, "written": age}
    if "sex_odd" in faults:
        sex = ODD_SEX[int(rng.integers(len(ODD_SEX)))]
        detail["sex_odd"] = {"true": patient.sex, "written": sex}
    for i, box in enumerate(boxes):
        result.boxes.append(dict(zip(TRUTH_BOXES, (name, job.patient_id, *box, int(i != dropped)), strict=True)))
    if "file_without_row" in faults:
        detail["file_without_row"] = {}
        return
    cell = ";".join(",".join(map(str, box)) for box in listed)
    result.rows.append(dict(zip(TABLE, (name, job.patient_id, age, sex, patient.diagnosis, cell), strict=True)))


def _write_csv(path: Path, columns: Iterable[str], rows: list[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_tables(out: Path, results: list[_Result]) -> ExportSummary:
    rows = [row for r in results for row in r.rows]
    boxes = [box for r in results for box in r.boxes]
    truth = [t for r in results for t in r.truth]
    _write_csv(out / "table.csv", TABLE, rows)
    _write_csv(out / "truth_boxes.csv", TRUTH_BOXES, boxes)
    records = [{"file": t.file, "kind": t.kind, "detail": json.dumps(t.detail)} for t in truth]
    _write_csv(out / "truth.csv", ("file", "kind", "detail"), records)
    names = {b["file"] for b in boxes} | {r["file"] for r in rows}
    names |= {t.file for t in truth}
    num_files = sum(r.num_files for r in results)
    missing = sum(t.kind == "row_without_file" for t in truth)
    kinds = Counter(t.kind for t in truth)
    return ExportSummary(
        len(results), num_files + missing, len(rows), num_files, dict(Counter(b["class"] for b in boxes)), dict(kinds)
    )
