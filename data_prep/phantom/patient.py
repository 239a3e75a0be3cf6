"""Renders the frames of one patient into files, with their faults, table rows and truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from data_prep.phantom.anatomy import Patient, Pose, sample_patient
from data_prep.phantom.faults import LABEL, ODD_AGES, ODD_SEX, Truth, spoil_box, spoil_bytes
from data_prep.phantom.frame import Box, View, draw_frame, sample_sector, sample_view
from data_prep.phantom.geometry import Sector
from data_prep.phantom.machines import Machine, frame_size
from data_prep.phantom.overlays import OVERLAYS, draw_marks
from data_prep.phantom.plan import Job

TABLE = ("file", "patient_id", "age", "sex", "diagnosis", "boxes")
TRUTH_BOXES = ("file", "patient_id", "x1", "y1", "x2", "y2", "class", "labelled")


@dataclass
class Result:
    """What one patient adds to the tables."""

    num_images: int = 0
    num_files: int = 0
    rows: list[dict] = field(default_factory=list)
    boxes: list[dict] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)


@dataclass
class _Shot:
    """One image on its way to a file; ``detail`` collects the faults that were really planted."""

    job: Job
    patient: Patient
    view: View
    name: str
    faults: set[str]
    rng: np.random.Generator
    detail: dict[str, dict] = field(default_factory=dict)


def render_patient(job: Job) -> Result:
    """Render all frames of a patient; runs in any process, with the same bytes."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(job.seed)
    sector = sample_sector(rng, job.machine, frame_size(job.machine, job.size))
    patient = sample_patient(rng, sector, job.diagnosis)
    result = Result(num_images=len(job.faults))
    view: View | None = None
    for i, faults in enumerate(job.faults):
        shot_rng = np.random.default_rng(rng.integers(2**62))
        detail: dict[str, dict] = {}
        if "near_duplicate" in faults and view is not None:
            view, detail["near_duplicate"] = _near(view, shot_rng, job.file_name(i - 1))
        else:
            view = sample_view(shot_rng, patient, sector, first=i == 0)
        _render_shot(_Shot(job, patient, view, job.file_name(i), faults, shot_rng, detail), result)
    return result


def _near(view: View, rng: np.random.Generator, source: str) -> tuple[View, dict]:
    """The same plane a moment later: the probe crept, another gain, some scatterers changed."""
    shift, tilt, gain = rng.uniform(-1.2, 1.2), rng.uniform(-0.006, 0.006), rng.uniform(-2, 2)
    fresh = rng.uniform(0.02, 0.2)
    pose = Pose(view.pose.shift + shift, view.pose.tilt + tilt, view.pose.elevation)
    detail = {
        "of": source,
        "shift_mm": round(shift, 2),
        "gain_db": round(gain, 2),
        "new_speckle": round(fresh, 3),
    }
    return replace(view, pose=pose, gain_db=view.gain_db + gain, new_speckle=fresh), detail


def _render_shot(shot: _Shot, result: Result) -> None:
    if "small_frame" in shot.faults:
        sector = _shrunk(shot.view.sector, int(shot.rng.integers(220, 401)))
        shot.view = replace(shot.view, sector=sector)
        shot.detail["small_frame"] = {"width": sector.width, "height": sector.height}
    machine = shot.job.machine
    grey, boxes = draw_frame(shot.patient, machine, shot.view)
    image = tinted(grey, machine)
    draw_marks(image, shot.view.sector, machine.ticks, machine.mark)
    clean = image.copy()
    for kind, draw in OVERLAYS.items():
        if kind in shot.faults:
            shot.detail[kind] = draw(image, shot.rng, boxes)
    if shot.job.twins and shot.faults & set(OVERLAYS):
        _write_twin(shot, image, clean)
    result.num_files += _write_image(shot, image)
    _add_rows(shot, boxes, result)
    result.truth += [Truth(shot.name, kind, shot.detail[kind]) for kind in sorted(shot.detail)]


def _shrunk(sector: Sector, longest: int) -> Sector:
    """The same sector in a frame whose longer side has ``longest`` pixels."""
    scale = longest / max(sector.width, sector.height)
    return replace(
        sector,
        width=round(sector.width * scale),
        height=round(sector.height * scale),
        px_per_mm=sector.px_per_mm * scale,
        cx=sector.cx * scale,
        top=sector.top * scale,
    )


def tinted(grey: np.ndarray, machine: Machine) -> np.ndarray:
    """Grey (H, W) to BGR (H, W, 3) in the machine's tint."""
    level = np.arange(256) / 255
    curves = [np.round(255 * level * (t + (1 - t) * level)).astype(np.uint8) for t in machine.tint]
    return cv2.merge(
        [grey if t == 1.0 else cv2.LUT(grey, c) for t, c in zip(machine.tint, curves, strict=True)]
    )


def _write_twin(shot: _Shot, image: np.ndarray, clean: np.ndarray) -> None:
    stem = shot.job.out / "truth" / shot.name.split(".")[0]
    mask = np.any(image != clean, axis=2).astype(np.uint8) * 255
    cv2.imwrite(f"{stem}_overlay.png", mask)
    cv2.imwrite(f"{stem}_clean.png", clean)


def _write_image(shot: _Shot, image: np.ndarray) -> bool:
    """Write the file, broken if so planned; False where none is written."""
    ext = shot.job.machine.ext
    params = [cv2.IMWRITE_PNG_COMPRESSION, 1] if ext == "png" else [cv2.IMWRITE_JPEG_QUALITY, 90]
    flat = cv2.absdiff(image[..., 0], image[..., 2]).max() == 0 and shot.job.machine.tint == (1.0, 1.0, 1.0)
    _, data = cv2.imencode(f".{ext}", image[..., 0] if flat else image, params)
    content = data.tobytes()
    for kind in ("unreadable", "truncated", "empty_file"):
        if kind in shot.faults:
            broken = spoil_bytes(kind, shot.rng, content)
            shot.detail[kind] = {"bytes": len(broken), "intact": len(content)}
            content = broken
    if "row_without_file" in shot.faults:
        shot.detail["row_without_file"] = {}
        return False
    (shot.job.out / "images" / shot.name).write_bytes(content)
    return True


def _add_rows(shot: _Shot, boxes: list[Box], result: Result) -> None:
    listed, dropped = _table_boxes(shot, boxes)
    age, sex = _age_and_sex(shot)
    key = (shot.name, shot.job.patient_id)
    for i, box in enumerate(boxes):
        result.boxes.append(dict(zip(TRUTH_BOXES, (*key, *box, int(i != dropped)), strict=True)))
    if "file_without_row" in shot.faults:
        shot.detail["file_without_row"] = {}
        return
    cell = ";".join(",".join(map(str, box)) for box in listed)
    result.rows.append(dict(zip(TABLE, (*key, age, sex, shot.patient.diagnosis, cell), strict=True)))


def _table_boxes(shot: _Shot, boxes: list[Box]) -> tuple[list[Box], int]:
    """The boxes as the table gives them, and the index of the one it leaves out (-1: none)."""
    listed, size = list(boxes), (shot.view.sector.width, shot.view.sector.height)
    for kind in sorted(shot.faults & set(LABEL)):
        if not boxes:
            continue  # the plane missed the lesion: nothing to spoil, and the truth does not claim it
        target = int(shot.rng.integers(len(boxes)))
        shot.detail[kind] = {"box": boxes[target]}
        if kind == "lesion_unlabelled":
            listed.pop(target)
            return listed, target
        listed[target] = (*spoil_box(kind, shot.rng, boxes[target][:4], size), boxes[target][4])
        shot.detail[kind]["written"] = listed[target]
    return listed, -1


def _age_and_sex(shot: _Shot) -> tuple[str, str]:
    age, sex = str(shot.patient.age), shot.patient.sex
    if "age_implausible" in shot.faults:
        shot.detail["age_implausible"] = {"true": age, "written": (odd := str(shot.rng.choice(ODD_AGES)))}
        age = odd
    if "sex_odd" in shot.faults:
        odd = str(shot.rng.choice([code for code in ODD_SEX if code != sex]))
        shot.detail["sex_odd"] = {"true": sex, "written": odd}
        sex = odd
    return age, sex
