"""Focal liver lesions of four classes: their demography, their shape and how they look in B-mode.

cyst: anechoic, sharp, bright front and back wall, enhancement behind. HCC: dark halo, interior hypoechoic or
a mosaic of nodules, large. hemangioma: hyperechoic, homogeneous, sharp. metastasis: several, target-like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_prep.phantom.geometry import Raster

CLASSES = ("cyst", "HCC", "hemangioma", "metastasis")
DIAGNOSES = (*CLASSES, "normal")


@dataclass(frozen=True)
class Profile:
    """Who has it, how many, how large (diameter in mm, uniform)."""

    share: float
    male: float
    age: tuple[float, float]
    count: tuple[float, ...]
    diameter_mm: tuple[float, float]


PROFILES = {
    "cyst": Profile(0.25, 0.48, (60, 13), (0.62, 0.26, 0.12), (15, 32)),
    "HCC": Profile(0.24, 0.79, (67, 9), (0.82, 0.18), (30, 60)),
    "hemangioma": Profile(0.24, 0.33, (47, 12), (0.72, 0.21, 0.07), (20, 42)),
    "metastasis": Profile(0.17, 0.56, (64, 11), (0.10, 0.28, 0.30, 0.20, 0.12), (19, 38)),
    "normal": Profile(0.10, 0.50, (50, 16), (), (0, 0)),
}


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid with a wavy outline, in probe coordinates (mm); levels in dB against the liver."""

    kind: str
    x: float
    z: float
    a: float
    b: float
    angle: float
    waves: tuple[tuple[int, float, float], ...]
    level: float
    halo: float
    halo_level: float
    seeds: tuple[tuple[float, float, float], ...] = ()
    core: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of a circle that surely holds the lesion."""
        return max(self.a, self.b) * (1 + sum(w[1] for w in self.waves))

    def outline(self, num: int = 72) -> np.ndarray:
        """Points (num, 2) of the border in mm."""
        phi = np.linspace(0, 2 * np.pi, num, endpoint=False)
        r = 1 + sum(amp * np.cos(k * phi + psi) for k, amp, psi in self.waves)
        u, v = self.a * r * np.cos(phi), self.b * r * np.sin(phi)
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + c * u - s * v, self.z + s * u + c * v], 1)

    def moved(self, x: float, z: float, turn: float, scale: float) -> Lesion:
        """The lesion at another place, turned by ``turn`` rad and scaled (cut off its centre)."""
        return replace(self, x=x, z=z, angle=self.angle + turn, a=self.a * scale, b=self.b * scale)


def sample_lesion(rng: np.random.Generator, kind: str, scale: float = 1.0) -> Lesion:
    """A lesion of ``kind`` at the origin; its contrast varies from subtle to plain."""
    radius = scale * rng.uniform(*PROFILES[kind].diameter_mm) / 2
    ratio = rng.uniform(1.0, 1.35)
    rough = {"cyst": 0.02, "HCC": 0.06, "hemangioma": 0.05, "metastasis": 0.05}[kind]
    waves = tuple((k, rough * rng.uniform(0.3, 1.2) * 2 / k, rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5, 7))
    contrast = rng.uniform(0.7, 1.15)
    look: dict[str, Any] = {"level": float(rng.uniform(-42, -24)), "halo": 0.0, "halo_level": 0.0}
    if kind == "HCC":
        look = {"level": -7.5 * contrast, "halo": rng.uniform(1.8, 3.2), "halo_level": -12 * contrast}
        if rng.random() < 0.6:
            look["seeds"] = _mosaic(rng, contrast)
    elif kind == "hemangioma":
        look["level"] = 10.0 * contrast
    elif kind == "metastasis":
        look = {
            "level": rng.uniform(1, 6.5),
            "halo": radius * rng.uniform(0.34, 0.5),
            "halo_level": -11.5 * contrast,
        }
        look["core"] = rng.uniform(0.16, 0.26) if rng.random() < 0.3 else 0.0
    angle = rng.uniform(-0.7, 0.7)
    return Lesion(kind, 0.0, 0.0, radius * ratio**0.5, radius / ratio**0.5, angle, waves, **look)


def _mosaic(rng: np.random.Generator, contrast: float) -> tuple[tuple[float, float, float], ...]:
    num = int(rng.integers(5, 10))
    phi, r = rng.uniform(0, 2 * np.pi, num), np.sqrt(rng.uniform(0.02, 0.8, num))
    level = contrast * rng.uniform(-11, 4, num)
    return tuple(zip((r * np.cos(phi)).tolist(), (r * np.sin(phi)).tolist(), level.tolist(), strict=True))


def _interior(lesion: Lesion, rho: np.ndarray, phi: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Echogenicity in dB inside the lesion; rho is 1 on the border, (u, v) is the unit disc."""
    level = np.full_like(rho, lesion.level)
    if lesion.seeds:
        seeds = np.asarray(lesion.seeds, np.float32)
        dist = np.hypot(u[..., None] - seeds[:, 0], v[..., None] - seeds[:, 1])  # (H, W, seeds)
        order = np.argsort(dist, axis=-1)[..., :2]
        first, second = np.moveaxis(np.take_along_axis(dist, order, -1), -1, 0)
        septum = np.exp(-(((second - first) / 0.07) ** 2))
        level = seeds[order[..., 0], 2] + (0.6 * lesion.halo_level - seeds[order[..., 0], 2]) * septum
    if lesion.core:
        level = np.where(rho < lesion.core, -14.0, level)
    if lesion.halo:
        radius = (lesion.a * lesion.b) ** 0.5
        wave = 0.3 * np.cos(phi + lesion.waves[0][2]) + 0.2 * np.cos(3 * phi + lesion.waves[1][2])
        soft = 1.5 if lesion.kind == "HCC" else 0.8 * lesion.halo
        edge = np.clip(((rho - 1) * radius + lesion.halo * (1 + wave)) / soft + 0.5, 0, 1)
        level = level + (lesion.halo_level - level) * edge
    return level.astype(np.float32)


def draw_lesion(lesion: Lesion, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Write the lesion into the raster maps ``echo`` (dB), ``att`` (dB/mm) and ``spec`` (amplitude)."""
    rows, cols = raster.window(lesion.x, lesion.z, lesion.reach + 3)
    x, z = raster.axes()
    dx, dz = x[:, cols] - lesion.x, z[rows] - lesion.z
    c, s = np.float32(np.cos(lesion.angle)), np.float32(np.sin(lesion.angle))
    u, v = (c * dx + s * dz) / np.float32(lesion.a), (c * dz - s * dx) / np.float32(lesion.b)
    if u.size == 0:
        return
    phi = np.arctan2(v, u)
    rho = np.hypot(u, v) / (
        1 + sum(np.float32(amp) * np.cos(k * phi + np.float32(psi)) for k, amp, psi in lesion.waves)
    )
    radius = (lesion.a * lesion.b) ** 0.5
    edge_mm = {"cyst": 0.9, "HCC": 1.8, "hemangioma": 1.3, "metastasis": 2.2}[lesion.kind]
    inside = np.clip((1 - rho) * (radius / edge_mm) + 0.5, 0, 1).astype(np.float32)
    echo = maps["echo"][rows, cols]
    grain = 0.5 * np.clip(echo, -4, 4) * (lesion.kind != "cyst")
    echo += (_interior(lesion, rho, phi, u, v) + grain - echo) * inside
    maps["att"][rows, cols] += inside * np.float32(
        {"cyst": -0.36, "hemangioma": -0.04}.get(lesion.kind, 0.02)
    )
    if lesion.kind == "cyst":
        steep = dz**2 / (dx**2 + dz**2 + 1e-3)
        maps["spec"][rows, cols] += 0.9 * steep**2 * np.exp(-(((rho - 1) * radius / 0.8) ** 2))
        maps["spec"][rows, cols] *= 1 - inside * (rho < 0.9)
