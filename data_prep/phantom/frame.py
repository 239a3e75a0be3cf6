"""One frame: what a machine shows of a patient at one probe position, and the boxes of the lesions in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.phantom import physics
from data_prep.phantom.anatomy import Patient, Pose, sample_patient
from data_prep.phantom.geometry import Sector, make_sector, scan_convert
from data_prep.phantom.lesions import DIAGNOSES, Lesion
from data_prep.phantom.machines import MACHINES, Machine, frame_size
from data_prep.phantom.surround import add_layers, blotches, line_gain
from data_prep.phantom.tissue import draw_tissue, tissue_warp

Box = tuple[float, float, float, float, str]


@dataclass(frozen=True)
class View:
    """What one frame shows: sector, probe position, the seed of its texture and the receiver gain."""

    sector: Sector
    pose: Pose
    seed: int
    gain_db: float = 0.0
    new_speckle: float = 0.0  # share of the speckle field's energy that is drawn anew (near-duplicates)


def lesions_in(patient: Patient, pose: Pose, sector: Sector) -> list[Lesion]:
    """The lesions that the image plane cuts and that lie almost wholly inside the sector."""
    out = []
    for index, lesion in enumerate(patient.lesions):
        depth = 0.9 * min(lesion.a, lesion.b)
        centre = depth * 0.5 * np.sin(2.4 * index)  # each lesion is cut best at another elevation
        off = (pose.elevation - centre) / depth
        if abs(off) > 0.8:
            continue
        ((x, z),) = pose.apply(np.array([[lesion.x, lesion.z]]))
        moved = lesion.moved(x, z, pose.tilt, float(np.sqrt(1 - off**2) * 0.85 + 0.15))
        inside = sector.contains(moved.outline(), 1.0)
        below = (
            np.hypot(moved.x, moved.z + sector.radius_mm) - sector.radius_mm > patient.capsule_mm + moved.b
        )
        if inside.mean() >= 0.9 and below:
            out.append(moved)
    return out


def boxes_of(lesions: list[Lesion], sector: Sector, warp: np.ndarray) -> list[Box]:
    """Tight boxes (x1, y1, x2, y2, class) in pixels of lesions drawn through ``warp``."""
    out = []
    for lesion in lesions:
        outline = lesion.outline()
        cells = sector.to_cells(outline)
        px = sector.to_pixels(outline - warp[:, cells[:, 0], cells[:, 1]].T)
        lo, hi = np.maximum(px.min(0), 0), np.minimum(px.max(0), (sector.width, sector.height))
        x1, y1, x2, y2 = (round(float(v), 1) for v in (*lo, *hi))
        out.append((x1, y1, x2, y2, lesion.kind))
    return out


def draw_frame(patient: Patient, machine: Machine, view: View) -> tuple[np.ndarray, list[Box]]:
    """Grey frame (H, W) uint8 and the boxes of every lesion in it."""
    sector = view.sector
    rng = np.random.default_rng(view.seed)
    lesions = lesions_in(patient, view.pose, sector)
    noise = physics.complex_noise(rng)
    if view.new_speckle:
        fresh = physics.complex_noise(np.random.default_rng(view.seed + 1))
        noise = noise * np.float32((1 - view.new_speckle) ** 0.5) + fresh * np.float32(view.new_speckle**0.5)
    warp = tissue_warp(rng)
    maps = draw_tissue(rng, patient, view.pose, sector, lesions, warp)
    add_layers(rng, patient, sector, maps)
    level = maps["echo"] + physics.path_gain_db(maps["att"], sector)
    level += _smooth_gains(rng, patient, sector, lesions)
    amplitude = cv2.exp(level * np.float32(np.log(10) / 20))
    env = physics.envelope(noise, amplitude, sector, machine.psf, maps["spec"] * amplitude)
    floor = machine.floor_db + 9 * (physics.depths(sector) / 140) ** 2
    env = physics.add_receiver_noise(env, noise, floor)
    env = physics.smooth(env, *machine.smooth)
    liver = machine.liver_grey + (view.gain_db + rng.normal(0, 1.5)) / machine.range_db
    grey = physics.log_compress(env, machine.range_db + rng.uniform(-4, 4), liver, machine.gamma)
    frame, _ = scan_convert(grey, sector)
    return frame, boxes_of(lesions, sector, warp)


def _smooth_gains(
    rng: np.random.Generator, patient: Patient, sector: Sector, lesions: list[Lesion]
) -> np.ndarray:
    """TGC residual along depth plus contact and rib shadows across the lines, in dB (samples, lines)."""
    depth = physics.depths(sector)
    tgc = blotches(rng, physics.SHAPE, (120, 70), 3.0)
    tgc = tgc + (patient.residual_db_mm * (depth - 60))[:, None]
    keep = []
    for lesion in lesions:
        xz = lesion.outline(24)
        theta = np.arctan2(xz[:, 0], xz[:, 1] + sector.radius_mm)
        keep.append((float(theta.min()) - 0.03, float(theta.max()) + 0.03))
    return (tgc + line_gain(rng, keep, sector.half_angle)[None]).astype(np.float32)


def sample_sector(rng: np.random.Generator, machine: Machine, size: tuple[int, int]) -> Sector:
    """A sector of this machine in a frame of ``size`` (width, height) with a patient's depth setting."""
    depth = rng.uniform(105, 150)
    half = np.deg2rad(machine.half_angle_deg + rng.uniform(-1.5, 1.5))
    fill = machine.fill * rng.uniform(0.9, 1.0)
    return make_sector(
        size, machine.radius_mm, half, depth, fill, (rng.uniform(-0.6, 0.6), rng.uniform(-0.8, 0.4))
    )


def sample_view(rng: np.random.Generator, patient: Patient, sector: Sector, first: bool) -> View:
    """A probe position; it is drawn again (at most 8 times) until the plane cuts a lesion."""
    seed = int(rng.integers(2**62))
    pose = Pose()
    for _ in range(8):
        spread = 0.3 if first else 1.0
        shift, tilt, elevation = (
            rng.normal(0, 9) * spread,
            rng.normal(0, 0.1) * spread,
            rng.normal(0, 5) * spread,
        )
        pose = Pose(float(shift), float(tilt), float(elevation))
        if not patient.lesions or lesions_in(patient, pose, sector):
            break
    return View(sector, pose, seed, float(rng.normal(0, 1.5)))


def render_frame(
    rng: np.random.Generator, size: int = 480, diagnosis: str | None = None, machine: Machine | None = None
) -> tuple[np.ndarray, list[Box]]:
    """A frame (H, W) uint8 of a fresh patient, and its true boxes (x1, y1, x2, y2, class) in pixels.

    ``size`` is the nominal short side; without ``diagnosis`` and ``machine`` both are drawn.
    """
    machine = machine or MACHINES[int(rng.integers(len(MACHINES)))]
    diagnosis = diagnosis or str(rng.choice(DIAGNOSES))
    sector = sample_sector(rng, machine, frame_size(machine, size))
    patient = sample_patient(rng, sector, diagnosis)
    return draw_frame(patient, machine, sample_view(rng, patient, sector, first=True))
