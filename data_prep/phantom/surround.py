"""What surrounds the liver: visceral tissue, diaphragm, the layers from skin to peritoneum, shadows.

The layers under the skin follow the probe face, and shadows follow the lines, so both are made in polar
geometry.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_prep.phantom.anatomy import Border, Patient, Pose, outside_border
from data_prep.phantom.geometry import Raster, Sector
from data_prep.phantom.physics import SHAPE, depths


def blotches(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], std: float
) -> np.ndarray:
    """Smooth noise of ``std`` whose grain is ``cells`` (rows, columns) large."""
    small = (max(int(shape[0] / cells[0]), 2), max(int(shape[1] / cells[1]), 2))
    noise: np.ndarray = rng.standard_normal(small, dtype=np.float32) * np.float32(std)
    if min(cells) >= 8:  # cubic to a quarter of the size, then linear: the same to the eye, and faster
        noise = cv2.resize(noise, (shape[1] // 4 + 1, shape[0] // 4 + 1), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _patient_grid(raster: Raster, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Patient coordinates of every second raster cell: two (H/2, W/2) arrays in mm."""
    x, z = raster.axes()
    x, z = x[:, ::2], z[::2] - 60
    c, s = np.float32(np.cos(pose.tilt)), np.float32(np.sin(pose.tilt))
    return c * x + s * z + np.float32(pose.shift), c * z - s * x + 60


def _full(half: np.ndarray, raster: Raster) -> np.ndarray:
    return cv2.resize(half, raster.shape[::-1], interpolation=cv2.INTER_LINEAR)


def draw_outside(
    rng: np.random.Generator, patient: Patient, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]
) -> None:
    """Tissue beyond visceral borders (bowel, fat, gas) and beyond the diaphragm (haze), in place."""
    px, pz = _patient_grid(raster, pose)
    for border in patient.borders:
        _draw_visceral(rng, border, outside_border(border, px, pz), raster, maps)
    if patient.diaphragm is not None:
        _draw_diaphragm(rng, patient.diaphragm, px, pz, raster, maps)


def _draw_visceral(
    rng, border: Border, dist: np.ndarray, raster: Raster, maps: dict[str, np.ndarray]
) -> None:
    shape = (dist.shape[0], dist.shape[1])
    level = (
        np.float32(border.level) + blotches(rng, shape, (7, 13), 5.5) + blotches(rng, shape, (2.6, 5), 2.5)
    )
    level += 7 * np.maximum(blotches(rng, shape, (2.2, 11), 1.0) - 0.7, 0)  # bright sheets across the beam
    level -= np.float32(0.07) * np.maximum(dist, 0)
    edge = np.clip(blotches(rng, shape, (9, 9), 5.0) + 5, 0, 13)
    level += edge * np.exp(-(((dist - 1.5) / 3.0) ** 2))
    gas = np.float32(border.gas) * np.clip((level - 5) / 8, 0, 1) * (dist > 3)
    out = _full(np.clip(dist / 1.2 + 0.5, 0, 1), raster)
    maps["echo"] += (_full(level, raster) - maps["echo"]) * out
    maps["att"] += _full(gas, raster) * out
    maps["spec"] *= 1 - out


def _draw_diaphragm(
    rng: np.random.Generator,
    arc: tuple[float, float, float, float],
    px: np.ndarray,
    pz: np.ndarray,
    raster: Raster,
    maps: dict[str, np.ndarray],
) -> None:
    """A bright line with a tail, strong where the beam meets it upright, and haze behind it."""
    cx, cz, radius, lead = arc
    dx, dz = px - np.float32(cx), pz - np.float32(cz)
    dist = cv2.magnitude(dx, dz) - np.float32(radius)
    shape = (dist.shape[0], dist.shape[1])
    upright = np.clip(dz / np.float32(radius), 0, 1)
    haze = np.float32(-3) - np.float32(0.3) * dist + blotches(rng, shape, (8, 22), 2.5)
    haze += 9 * np.exp(-np.maximum(dist, 0) / 4.0) * upright
    out = _full(np.clip(dist / 1.5 + 0.5, 0, 1) * (dz > 0), raster)
    maps["echo"] += (_full(haze, raster) - maps["echo"]) * out
    maps["spec"] *= 1 - out
    side = 1 / (
        1 + np.exp(-np.float32(lead) * dx / 12 - 2.0)
    )  # seen on one side of its centre, fades on the other
    patchy = np.clip(0.75 + blotches(rng, shape, (10, 10), 0.5), 0.05, 1.5) * side * upright
    line = _full(patchy * np.exp(-((dist / np.float32(1.5)) ** 2)), raster)
    maps["echo"] += 12 * line
    maps["spec"] += 1.3 * line


def add_layers(
    rng: np.random.Generator, patient: Patient, sector: Sector, polar: dict[str, np.ndarray]
) -> None:
    """Skin, fat, fascia, muscle and peritoneum above the liver, in polar geometry, in place."""
    top = patient.capsule_mm
    rows = min(int((top + 6) / sector.sample_mm) + 1, SHAPE[0])
    tilt = np.linspace(-1, 1, SHAPE[1], dtype=np.float32)[None] * np.float32(rng.normal(0, 1.2))
    wave = blotches(rng, (2, SHAPE[1]), (1, 40), 0.8)[:1] + tilt
    depth = depths(sector)[:rows, None]
    bend = depth + wave * np.minimum(depth / 8, 1)
    edges, level = np.cumsum([t for t, _ in patient.layers]), [lv for _, lv in patient.layers]
    fine = max(0.8 / sector.sample_mm, 1.5)
    stripes = blotches(rng, (rows, SHAPE[1]), (fine, 50), 4.0) + blotches(
        rng, (rows, SHAPE[1]), (fine, 12), 3.0
    )
    index = np.clip(np.searchsorted(edges, bend.ravel(), side="right"), 0, len(level) - 1)
    near = np.asarray(level, np.float32)[index].reshape(bend.shape) + stripes
    mask = np.clip((top - bend) / 0.5 + 0.5, 0, 1).astype(np.float32)
    polar["echo"][:rows] += (near - polar["echo"][:rows]) * mask
    polar["spec"][:rows] *= 1 - mask
    polar["att"][:rows] *= 1 - mask


def line_gain(rng: np.random.Generator, keep: list[tuple[float, float]], half_angle: float) -> np.ndarray:
    """Gain in dB per line, (lines,): lost contact at an edge and rib shadows, outside the angles ``keep``."""
    theta = np.linspace(-half_angle, half_angle, SHAPE[1], dtype=np.float32)
    gain = blotches(rng, (2, SHAPE[1]), (1, 12), 0.7)[0]
    lo, hi = min((k[0] for k in keep), default=-0.2), max((k[1] for k in keep), default=0.2)
    for side, room in ((-1, lo + half_angle), (1, half_angle - hi)):
        if rng.random() < 0.45 and room > 0.08:
            start = half_angle - rng.uniform(0.2, 0.95) * min(room, 0.3)
            soft = rng.uniform(0.02, 0.07)
            gain -= np.float32(rng.uniform(12, 34)) / (
                1 + np.exp(-(side * theta - start - soft) / np.float32(soft / 3))
            )
    for _ in range(int(rng.integers(0, 3))):
        centre, width = rng.uniform(-0.9, 0.9) * half_angle, rng.uniform(0.02, 0.05)
        if all(centre + 2 * width < a or centre - 2 * width > b for a, b in keep):
            gain -= np.float32(rng.uniform(3, 9)) * np.exp(-(((theta - centre) / width) ** 2)).astype(
                np.float32
            )
    return gain
