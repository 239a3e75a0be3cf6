"""Draws the tissue maps of one frame: echogenicity, excess attenuation and coherent reflectors.

Liver, vessels, lesions and organs are drawn on a Cartesian raster and then sampled along the lines through a
smooth displacement.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_prep.phantom.anatomy import Organ, Patient, Pose
from data_prep.phantom.geometry import RASTER_MM, Raster, Sector, polar_maps
from data_prep.phantom.lesions import Lesion, draw_lesion
from data_prep.phantom.physics import SHAPE
from data_prep.phantom.surround import blotches, draw_outside
from data_prep.phantom.vessels import Vessel

SUBPIXEL = 4  # bits of cv2's fixed-point coordinates


def tissue_warp(rng: np.random.Generator) -> np.ndarray:
    """Displacement (2, *SHAPE) in mm that makes every drawn outline organic."""
    return np.stack(
        [blotches(rng, SHAPE, (45, 26), 1.1) + blotches(rng, SHAPE, (15, 9), 0.3) for _ in range(2)]
    )


def draw_tissue(
    rng: np.random.Generator,
    patient: Patient,
    pose: Pose,
    sector: Sector,
    lesions: list[Lesion],
    warp: np.ndarray,
) -> dict[str, np.ndarray]:
    """Maps ``echo`` (dB), ``att`` (dB/mm) and ``spec`` (amplitude) along the lines, SHAPE each."""
    raster = Raster.covering(sector)
    grain = 8 / RASTER_MM
    echo = blotches(rng, raster.shape, (2 * grain, 2 * grain), 1.2)
    echo += blotches(rng, raster.shape, (grain / 3.2, grain / 2.6), patient.coarse_db)
    maps = {"echo": echo, "att": np.zeros_like(echo), "spec": np.zeros_like(echo)}
    _draw_flecks(rng, raster, maps)
    _draw_vessels(patient, pose, raster, maps)
    for lesion in lesions:
        draw_lesion(lesion, raster, maps)
    if patient.gallbladder:
        _draw_gallbladder(patient.gallbladder, pose, raster, maps)
    if patient.kidney:
        _draw_kidney(rng, patient.kidney, pose, raster, maps)
    draw_outside(rng, patient, pose, raster, maps)
    cols, rows = polar_maps(sector, raster)
    cols, rows = cols + warp[0] / RASTER_MM, rows + warp[1] / RASTER_MM
    stack = cv2.remap(
        cv2.merge(list(maps.values())), cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return dict(zip(maps, cv2.split(stack), strict=True))


def _fixed(cells: np.ndarray) -> np.ndarray:
    return np.round(cells * (1 << SUBPIXEL)).astype(np.int32)


def _draw_flecks(rng: np.random.Generator, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Short bright strokes: fibrous tissue round small portal branches."""
    num = int(rng.integers(15, 70))
    start = rng.uniform((0, 0), (raster.shape[1], raster.shape[0]), (num, 2))
    length = rng.exponential(3.0, (num, 1)) + 1
    angle = rng.normal(0, 0.5, (num, 1))
    stop = start + length * np.concatenate([np.cos(angle), np.sin(angle)], 1)
    ends = _fixed(np.stack([start, stop], 1)).tolist()
    layer = np.zeros(raster.shape, np.float32)
    for (p, q), level in zip(ends, rng.uniform(3, 12, num).tolist(), strict=True):
        cv2.line(layer, p, q, level, 1, cv2.LINE_8, SUBPIXEL)
    maps["echo"] += layer


def _draw_vessels(patient: Patient, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Anechoic tubes with soft edges; the portal ones get their walls first."""
    lumen: np.ndarray = np.zeros(raster.shape, np.float32)
    for vessel in patient.vessels:
        points = pose.apply(vessel.points + np.multiply(vessel.drift, pose.elevation))
        step = np.gradient(points, axis=0)
        normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(np.hypot(*step.T), 1e-6)[:, None]
        left, right = points + normal * vessel.radius[:, None], points - normal * vessel.radius[:, None]
        if vessel.portal:
            _draw_walls(vessel, left, right, raster, maps)
        tube = _fixed(raster.to_cells(np.concatenate([left, right[::-1]])))
        cv2.fillPoly(lumen, [tube], 1.0, cv2.LINE_8, SUBPIXEL)
        for i in (0, -1):
            cell = _fixed(raster.to_cells(points[i])).tolist()
            cv2.circle(lumen, cell, int(vessel.radius[i] / RASTER_MM * 16), 1.0, -1, cv2.LINE_8, SUBPIXEL)
    lumen = cv2.GaussianBlur(lumen, (5, 5), 0.9)
    maps["echo"] += (np.float32(patient.lumen_db) - maps["echo"]) * lumen
    maps["att"] -= np.float32(0.1) * lumen
    maps["spec"] *= 1 - lumen


def _draw_walls(
    vessel: Vessel, left: np.ndarray, right: np.ndarray, raster: Raster, maps: dict[str, np.ndarray]
) -> None:
    """Walls shine where the beam meets them upright, that is where the tube runs across the lines."""
    thick = 3 if vessel.radius[0] > 1.7 else 2
    for side in (left, right):
        ends = _fixed(raster.to_cells(side)).tolist()
        slope = np.abs(np.diff(side[:, 0])) / np.maximum(np.hypot(*np.diff(side, axis=0).T), 1e-6)
        for p, q, across in zip(ends[:-1], ends[1:], slope.tolist(), strict=True):
            cv2.line(
                maps["echo"], p, q, vessel.wall_db * (0.25 + 0.75 * across**2), thick, cv2.LINE_8, SUBPIXEL
            )
            cv2.line(maps["spec"], p, q, 0.5 * across**3, 1, cv2.LINE_8, SUBPIXEL)


def _ellipse_rho(organ: Organ, pose: Pose, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised radius over the raster, and the unit coordinates, of (x, z, a, b, angle)."""
    ((cx, cz),) = pose.apply(np.array([organ[:2]]))
    angle = organ[4] + pose.tilt
    x, z = raster.axes()
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dz = x - np.float32(cx), z - np.float32(cz)
    u, v = (c * dx + s * dz) / np.float32(organ[2]), (c * dz - s * dx) / np.float32(organ[3])
    return np.sqrt(u * u + v * v), u, v


def _draw_gallbladder(organ: Organ, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    _, u, v = _ellipse_rho(organ, pose, raster)
    v = v / (0.78 + 0.25 * np.clip(u, -1, 1))  # pear
    rho = np.sqrt(u * u + v * v)
    inside = np.clip((1 - rho) * 8 + 0.5, 0, 1)
    maps["echo"] += 6 * np.exp(-(((rho - 1.07) / 0.06) ** 2))
    maps["echo"] += (-40 - maps["echo"]) * inside
    maps["att"] -= np.float32(0.28) * inside
    maps["spec"] *= 1 - inside


def _draw_kidney(
    rng: np.random.Generator, organ: Organ, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]
) -> None:
    """Cortex darker than liver, bright central sinus, thin capsule that shines here and there."""
    rho, u, v = _ellipse_rho(organ, pose, raster)
    sinus = np.clip((0.5 + 0.1 * np.sin(9 * u + 5 * v) - rho) * 8 + 0.5, 0, 1)
    level = np.float32(-4) + 12 * sinus + blotches(rng, raster.shape, (6, 8), 2.2)
    inside = np.clip((1 - rho) * 14 + 0.5, 0, 1)
    maps["echo"] += (level - maps["echo"]) * inside
    maps["spec"] *= 1 - inside
    patchy = np.clip(blotches(rng, raster.shape, (24, 24), 6.0) + 3, 0, 11)
    maps["echo"] += patchy * np.exp(-(((rho - 1.02) / 0.03) ** 2))
