"""A patient's upper abdomen as a 2-D slab that a probe looks at from different places.

The patient is described once (``sample_patient``) in the coordinates of the first probe position. Every frame
moves the probe (``Pose``), which shifts and turns organs, vessels and lesions, and draws the tissue anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.phantom.geometry import Sector
from data_prep.phantom.lesions import PROFILES, Lesion, sample_lesion
from data_prep.phantom.vessels import Vessel, sample_vessels

Organ = tuple[float, float, float, float, float]  # centre x, z, half-axes in mm, angle in rad
INCIDENTAL_CYST = 0.06  # share of patients with a cyst besides their diagnosis


@dataclass(frozen=True)
class Pose:
    """Where the probe stands: shift (mm), tilt (rad), elevation (mm) against the first position."""

    shift: float = 0.0
    tilt: float = 0.0
    elevation: float = 0.0

    def apply(self, xz: np.ndarray) -> np.ndarray:
        """Patient coordinates (N, 2) to probe coordinates (N, 2) in mm; the turn is about 60 mm depth."""
        x, z = np.asarray(xz, float)[:, 0] - self.shift, np.asarray(xz, float)[:, 1] - 60
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack([c * x - s * z, s * x + c * z + 60], 1)


@dataclass(frozen=True)
class Border:
    """Where the liver ends at a visceral side: a wavy line through ``x, z``, the outside along ``angle``."""

    x: float
    z: float
    angle: float
    waves: tuple[tuple[float, float, float], ...]
    level: float
    gas: float


@dataclass(frozen=True)
class Patient:
    """Everything that stays the same between the frames of one patient."""

    diagnosis: str
    age: int
    sex: str
    lesions: tuple[Lesion, ...]
    vessels: tuple[Vessel, ...]
    diaphragm: tuple[float, float, float, float] | None
    borders: tuple[Border, ...]
    gallbladder: Organ | None
    kidney: Organ | None
    layers: tuple[tuple[float, float], ...]
    coarse_db: float
    residual_db_mm: float
    lumen_db: float

    @property
    def capsule_mm(self) -> float:
        """Depth of the liver surface."""
        return sum(t for t, _ in self.layers)


def outside_border(border: Border, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Signed distance in mm beyond a visceral border (positive outside the liver)."""
    c, s = np.cos(border.angle), np.sin(border.angle)
    along, across = -s * (x - border.x) + c * (z - border.z), c * (x - border.x) + s * (z - border.z)
    for length, amp, phase in border.waves:
        across = across + np.float32(amp) * np.sin(along * np.float32(2 * np.pi / length) + np.float32(phase))
    return across


def sample_patient(rng: np.random.Generator, sector: Sector, diagnosis: str) -> Patient:
    """A patient with ``diagnosis`` whose lesions lie inside ``sector`` at the first probe position."""
    profile = PROFILES[diagnosis]
    age = int(np.clip(round(rng.normal(*profile.age)), 18, 94))
    sex = "M" if rng.random() < profile.male else "F"
    layers = _sample_layers(rng)
    capsule = sum(t for t, _ in layers)
    diaphragm = _sample_diaphragm(rng, sector) if rng.random() < 0.62 else None
    borders = _sample_borders(rng, sector, diaphragm is not None)
    side = float(rng.choice([-1, 1]))
    gallbladder = _sample_gallbladder(rng, sector, side) if rng.random() < 0.14 else None
    kidney = _sample_kidney(rng, sector, -side) if rng.random() < 0.14 else None
    room = _Room(sector, capsule, diaphragm, borders, [e for e in (gallbladder, kidney) if e])
    lesions = _place_lesions(rng, room, diagnosis)
    vessels = sample_vessels(rng, sector, capsule, lesions)
    cirrhosis = diagnosis == "HCC" and rng.random() < 0.5
    coarse = rng.uniform(1.2, 2.4) if cirrhosis else rng.uniform(0.2, 1.0)
    residual = rng.uniform(-0.12, 0.04)
    return Patient(
        diagnosis,
        age,
        sex,
        lesions,
        vessels,
        diaphragm,
        borders,
        gallbladder,
        kidney,
        layers,
        coarse,
        residual,
        rng.uniform(-24, -11),
    )


def _sample_layers(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """(thickness mm, level dB) from the skin down: skin, fat, fascia, muscle, peritoneum."""
    fat, muscle = rng.uniform(4, 13), rng.uniform(4, 9)
    return (
        (rng.uniform(1.2, 2.0), rng.uniform(8, 13)),
        (fat, rng.uniform(-1, 8)),
        (rng.uniform(0.7, 1.2), rng.uniform(8, 13)),
        (muscle, rng.uniform(1, 10)),
        (rng.uniform(0.8, 1.3), rng.uniform(8, 14)),
    )


def _sample_diaphragm(rng: np.random.Generator, sector: Sector) -> tuple[float, float, float, float]:
    """Centre x, z and radius in mm, and the side (-1 or 1) on which it is seen best."""
    radius = rng.uniform(70, 120)
    low = sector.depth_mm * rng.uniform(0.80, 1.0)
    return rng.uniform(-0.4, 0.4) * sector.half_width_mm, low - radius, radius, float(rng.choice([-1, 1]))


def _sample_borders(rng: np.random.Generator, sector: Sector, has_diaphragm: bool) -> tuple[Border, ...]:
    borders = []
    for side in (-1, 1):
        if rng.random() > (0.45 if has_diaphragm else 0.6):
            continue
        angle = rng.uniform(0.1, 1.0)
        angle = angle if side > 0 else np.pi - angle
        waves = tuple(
            (rng.uniform(*span), amp * rng.uniform(0.4, 1), rng.uniform(0, 6.3))
            for span, amp in (((40, 70), 4), ((12, 25), 2))
        )
        x = side * sector.half_width_mm * rng.uniform(0.42, 0.62)
        borders.append(
            Border(
                x,
                sector.depth_mm * rng.uniform(0.65, 0.8),
                angle,
                waves,
                rng.uniform(3, 10),
                rng.uniform(0, 0.9),
            )
        )
    return tuple(borders)


def _sample_gallbladder(rng: np.random.Generator, sector: Sector, side: float) -> Organ:
    """Centre x, z, long and short half-axis in mm, angle."""
    x = side * sector.half_width_mm * rng.uniform(0.35, 0.5)
    return (
        x,
        sector.depth_mm * rng.uniform(0.42, 0.6),
        rng.uniform(22, 34),
        rng.uniform(9, 14),
        side * rng.uniform(0.5, 1.2),
    )


def _sample_kidney(rng: np.random.Generator, sector: Sector, side: float) -> Organ:
    x = side * sector.half_width_mm * rng.uniform(0.3, 0.5)
    return (
        x,
        sector.depth_mm * rng.uniform(0.72, 0.85),
        rng.uniform(42, 54),
        rng.uniform(20, 26),
        side * rng.uniform(-0.3, 0.6),
    )


@dataclass(frozen=True)
class _Room:
    """Where a lesion may lie."""

    sector: Sector
    capsule: float
    diaphragm: tuple[float, float, float, float] | None
    borders: tuple[Border, ...]
    organs: list[Organ]

    def holds(self, lesion: Lesion, taken: list[Lesion]) -> bool:
        """Whether the lesion lies in liver, inside the sector, apart from the lesions ``taken``."""
        outline = lesion.outline(24)
        x, z = outline.T
        if not self.sector.contains(outline, 3.0).all():
            return False
        if (np.hypot(x, z + self.sector.radius_mm) - self.sector.radius_mm).min() < self.capsule + 4:
            return False
        if self.diaphragm is not None:
            cx, cz, radius, _ = self.diaphragm
            if np.hypot(x - cx, z - cz).max() > radius - 4:
                return False
        if any(outside_border(b, x, z).max() > -3 for b in self.borders):
            return False
        if any(np.hypot(lesion.x - o[0], lesion.z - o[1]) < lesion.reach + 0.8 * o[2] for o in self.organs):
            return False
        return all(np.hypot(lesion.x - t.x, lesion.z - t.z) > lesion.reach + t.reach + 2 for t in taken)


def _place_lesions(rng: np.random.Generator, room: _Room, diagnosis: str) -> tuple[Lesion, ...]:
    counts = PROFILES[diagnosis].count
    kinds = [diagnosis] * (int(rng.choice(len(counts), p=counts)) + 1) if counts else []
    if kinds and diagnosis != "cyst" and rng.random() < INCIDENTAL_CYST:
        kinds.append("cyst")
    placed: list[Lesion] = []
    for kind in kinds:
        must = not placed  # the first lesion shrinks until it fits, the others may be left out
        for attempt in range(90 if must else 30):
            lesion = sample_lesion(rng, kind, 1.0 if attempt < 25 else 0.8 if attempt < 50 else 0.6)
            angle = rng.uniform(-0.85, 0.85) * room.sector.half_angle
            r = room.sector.radius_mm + rng.uniform(room.capsule, room.sector.depth_mm)
            lesion = lesion.moved(r * np.sin(angle), r * np.cos(angle) - room.sector.radius_mm, 0.0, 1.0)
            if room.holds(lesion, placed):
                placed.append(lesion)
                break
    return tuple(placed)
