"""Vessels of the liver: small cut ones, portal branches with bright walls, hepatic veins that meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.phantom.geometry import Sector
from data_prep.phantom.lesions import Lesion


@dataclass(frozen=True)
class Vessel:
    """A tube: centre line (N, 2) in mm, radius (N,) in mm, bright walls (portal) or none (hepatic)."""

    points: np.ndarray
    radius: np.ndarray
    portal: bool
    drift: tuple[float, float]  # mm of movement per mm of elevation
    wall_db: float = 7.0


def sample_vessels(
    rng: np.random.Generator, sector: Sector, capsule: float, lesions: tuple[Lesion, ...]
) -> tuple[Vessel, ...]:
    """Cut small vessels, a few portal branches with walls, and hepatic veins that run to one confluence."""
    out = []
    half, deep = sector.half_width_mm, sector.depth_mm
    for _ in range(int(rng.integers(3, 11))):
        start = (rng.uniform(-0.6, 0.6) * half, rng.uniform(capsule + 8, 0.9 * deep))
        out.append(
            _tube(
                rng,
                start,
                rng.normal(0, 0.6),
                rng.uniform(1, 7),
                rng.uniform(0.9, 2.3),
                bool(rng.random() < 0.5),
            )
        )
    for _ in range(int(rng.integers(0, 4))):
        start = (rng.uniform(-0.4, 0.4) * half, rng.uniform(0.4, 0.8) * deep)
        heading = rng.normal(0, 0.5) + rng.choice([0, np.pi])
        out.append(_tube(rng, start, heading, rng.uniform(12, 35), rng.uniform(1.4, 3.2), True))
    if rng.random() < 0.5:
        start = (rng.uniform(-0.3, 0.3) * half, rng.uniform(0.6, 0.95) * deep)
        for heading in rng.uniform(-2.9, -0.2, int(rng.integers(1, 4))):
            out.append(_tube(rng, start, heading, rng.uniform(30, 65), rng.uniform(2.2, 4.2), False))
    out += [_branch(rng, v) for v in out if v.radius[0] > 2.2 and rng.random() < 0.45]
    return tuple(v for v in out if not any(_crosses(v, lesion) for lesion in lesions))


def _crosses(vessel: Vessel, lesion: Lesion) -> bool:
    """Lesions push vessels aside; a tube that would run into one is left out."""
    gap = np.hypot(vessel.points[:, 0] - lesion.x, vessel.points[:, 1] - lesion.z) - vessel.radius
    return bool(gap.min() < lesion.reach + 1.5)


def _tube(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    radius: float,
    portal: bool,
) -> Vessel:
    t = np.linspace(0, 1, 9)
    angle = heading + rng.normal(0, 0.4) * t + rng.normal(0, 0.25) * np.sin(2 * np.pi * t)
    points = np.asarray(start) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1), 0) * length / 9
    taper = radius * (1 - 0.6 * t * min(length / 30, 1)) * (1 + 0.06 * rng.standard_normal(9))
    drift = (float(rng.normal(0, 0.8)), float(rng.normal(0, 0.8)))
    return Vessel(points, taper, portal, drift, float(rng.uniform(3, 10)))


def _branch(rng: np.random.Generator, parent: Vessel) -> Vessel:
    i = int(rng.integers(1, 5))
    step = parent.points[i + 1] - parent.points[i]
    turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
    c, s = np.cos(turn), np.sin(turn)
    step = np.array([c * step[0] - s * step[1], s * step[0] + c * step[1]])
    points = parent.points[i] + np.linspace(0, rng.uniform(2, 5), 9)[:, None] * step
    return Vessel(
        points, parent.radius[i] * np.linspace(0.75, 0.35, 9), parent.portal, parent.drift, parent.wall_db
    )
