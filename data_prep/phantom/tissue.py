"""Draws the tissue maps of one frame: echogenicity, excess attenuation and coherent reflectors.

Deep anatomy is drawn on a Cartesian raster of half millimetres and then sampled along the lines; the layers under the
skin follow the probe face, and shadows follow the lines, so both are made in polar geometry.
"""

from __future__ import annotations

import cv2
import numpy as np

from data_prep.phantom.anatomy import Patient, Pose, Vessel, outside_border
from data_prep.phantom.geometry import RASTER_MM, Raster, Sector, polar_maps
from data_prep.phantom.lesions import Lesion, draw_lesion
from data_prep.phantom.physics import SHAPE, depths

SUBPIXEL = 4  # bits of cv2's fixed-point coordinates


def blotches(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], std: float) -> np.ndarray:
    """Smooth noise of ``std`` whose grain is ``cells`` (rows, columns) large."""
    small = (max(int(shape[0] / cells[0]), 2), max(int(shape[1] / cells[1]), 2))
    noise = rng.standard_normal(small, dtype=np.float32) * np.float32(std)
    return cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def draw_tissue(
    rng: np.random.Generator, patient: Patient, pose: Pose, sector: Sector, lesions: list[Lesion]
) -> dict[str, np.ndarray]:
    """Raster maps ``echo`` (dB), ``att`` (dB/mm) and ``spec`` (amplitude), then sampled to SHAPE each."""
    raster = Raster.covering(sector)
    grain = 8 / RASTER_MM
    echo = blotches(rng, raster.shape, (2 * grain, 2 * grain), 1.0)
    echo += blotches(rng, raster.shape, (grain / 3.2, grain / 2.6), patient.coarse_db)
    maps = {"echo": echo, "att": np.zeros_like(echo), "spec": np.zeros_like(echo)}
    _draw_flecks(rng, raster, maps)
    for vessel in patient.vessels:
        _draw_vessel(vessel, pose, raster, maps)
    for lesion in lesions:
        draw_lesion(lesion, raster, maps)
    if patient.gallbladder:
        _draw_gallbladder(patient.gallbladder, pose, raster, maps)
    if patient.kidney:
        _draw_kidney(rng, patient.kidney, pose, raster, maps)
    _draw_outside(rng, patient, pose, raster, maps)
    cols, rows = polar_maps(sector, raster)
    polar = {k: cv2.remap(v, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for k, v in maps.items()}
    _add_layers(rng, patient, sector, polar)
    return polar


def _fixed(cells: np.ndarray) -> np.ndarray:
    return np.round(cells * (1 << SUBPIXEL)).astype(np.int32)


def _draw_flecks(rng: np.random.Generator, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Short bright strokes: fibrous tissue round small portal branches."""
    num = int(rng.integers(15, 50))
    start = rng.uniform((0, 0), (raster.shape[1], raster.shape[0]), (num, 2))
    length = rng.exponential(3.0, (num, 1)) + 1
    angle = rng.normal(0, 0.5, (num, 1))
    stop = start + length * np.concatenate([np.cos(angle), np.sin(angle)], 1)
    ends = _fixed(np.stack([start, stop], 1))
    layer = np.zeros(raster.shape, np.float32)
    for (p, q), level in zip(ends, rng.uniform(3, 11, num), strict=True):
        cv2.line(layer, p.tolist(), q.tolist(), float(level), 1, cv2.LINE_8, SUBPIXEL)
    maps["echo"] += layer


def _draw_vessel(vessel: Vessel, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    points = pose.apply(vessel.points + np.multiply(vessel.drift, pose.elevation))
    step = np.gradient(points, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(np.hypot(*step.T), 1e-6)[:, None]
    left, right = points + normal * vessel.radius[:, None], points - normal * vessel.radius[:, None]
    tube = _fixed(raster.to_cells(np.concatenate([left, right[::-1]])))
    ends = [(points[i], vessel.radius[i]) for i in (0, -1)]
    if vessel.portal:
        _draw_walls(vessel, left, right, raster, maps)
    for key, value in (("echo", -26.0), ("att", -0.1)):
        cv2.fillPoly(maps[key], [tube], value, cv2.LINE_8, SUBPIXEL)
        for centre, radius in ends:
            cell = _fixed(raster.to_cells(centre))
            cv2.circle(maps[key], cell.tolist(), int(radius / RASTER_MM * 16), value, -1, cv2.LINE_8, SUBPIXEL)
    if not vessel.portal:
        return
    cv2.fillPoly(maps["spec"], [tube], 0.0, cv2.LINE_8, SUBPIXEL)


def _draw_walls(vessel: Vessel, left, right, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Walls shine where the beam meets them upright, that is where the tube runs across the lines."""
    for side in (left, right):
        ends = _fixed(raster.to_cells(side))
        slope = np.abs(np.diff(side[:, 0])) / np.maximum(np.hypot(*np.diff(side, axis=0).T), 1e-6)
        for p, q, across in zip(ends[:-1], ends[1:], slope, strict=True):
            thick = 3 if vessel.radius[0] > 1.5 else 2
            cv2.line(maps["echo"], p.tolist(), q.tolist(), float(2 + 8 * across**2), thick, cv2.LINE_8, SUBPIXEL)
            cv2.line(maps["spec"], p.tolist(), q.tolist(), float(0.9 * across**3), 1, cv2.LINE_8, SUBPIXEL)


def _ellipse_rho(organ, pose: Pose, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised radius over the raster, and the unit coordinates, of (x, z, a, b, angle)."""
    ((cx, cz),) = pose.apply(np.array([organ[:2]]))
    angle = organ[4] + pose.tilt
    x, z = raster.axes()
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dz = x - np.float32(cx), z - np.float32(cz)
    u, v = (c * dx + s * dz) / np.float32(organ[2]), (c * dz - s * dx) / np.float32(organ[3])
    return np.sqrt(u * u + v * v), u, v


def _draw_gallbladder(organ, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    _, u, v = _ellipse_rho(organ, pose, raster)
    v = v / (0.78 + 0.25 * np.clip(u, -1, 1))  # pear
    rho = np.sqrt(u * u + v * v)
    inside, wall = rho < 1, np.abs(rho - 1.07) < 0.07
    maps["echo"][wall] = 7.0
    maps["echo"][inside] = -50.0
    maps["att"][inside] = -0.28
    maps["spec"][inside] = 0.0
    maps["spec"] += np.where(wall & (np.abs(v) > 0.8), np.float32(0.8), np.float32(0))


def _draw_kidney(rng, organ, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    rho, u, v = _ellipse_rho(organ, pose, raster)
    inside = rho < 1
    level = np.where(rho < 0.5 + 0.1 * np.sin(9 * u + 5 * v), np.float32(9), np.float32(-4))
    level += blotches(rng, raster.shape, (7, 9), 1.8)
    np.copyto(maps["echo"], level, where=inside)
    maps["spec"][inside] = 0
    maps["echo"][np.abs(rho - 1.02) < 0.025] = 9.0


def _draw_outside(rng, patient: Patient, pose: Pose, raster: Raster, maps: dict[str, np.ndarray]) -> None:
    """Tissue beyond visceral borders (bowel, fat, gas) and beyond the diaphragm (mirror haze)."""
    x, z = raster.axes()
    c, s = np.float32(np.cos(pose.tilt)), np.float32(np.sin(pose.tilt))
    px, pz = c * x + s * (z - 60) + np.float32(pose.shift), c * (z - 60) - s * x + 60  # patient coordinates
    for border in patient.borders:
        dist = outside_border(border, px, pz)
        level = np.float32(border.level) + blotches(rng, raster.shape, (12, 20), 5.0)
        level += blotches(rng, raster.shape, (5, 9), 2.5) - np.float32(0.05) * dist
        out = dist > 0
        np.copyto(maps["echo"], level, where=out)
        maps["spec"] *= ~out
        maps["att"] += np.where(dist > 6, np.float32(border.gas) * np.clip(level / 10, 0, 1), np.float32(0))
        maps["echo"] += 9 * np.exp(-((dist / 1.2) ** 2))
    if patient.diaphragm is None:
        return
    cx, cz, radius = patient.diaphragm
    dist = np.hypot(px - np.float32(cx), pz - np.float32(cz)) - np.float32(radius)
    upright = np.clip((pz - np.float32(cz)) / np.float32(radius), 0, 1)
    out = (dist > 0) & (pz > cz)
    haze = np.float32(-5) - np.float32(0.28) * dist + blotches(rng, raster.shape, (16, 40), 2.5)
    np.copyto(maps["echo"], haze, where=out)
    maps["spec"] *= ~out
    line = np.exp(-((dist / np.float32(1.3)) ** 2)) * upright
    patchy = 1 + np.clip(blotches(rng, raster.shape, (30, 30), 0.35), -0.8, 0.6)
    maps["echo"] += 13 * line * patchy
    maps["spec"] += 2.2 * line * upright * patchy


def _add_layers(rng, patient: Patient, sector: Sector, polar: dict[str, np.ndarray]) -> None:
    """Skin, fat, fascia, muscle and peritoneum above the liver, in polar geometry, in place."""
    top = patient.capsule_mm
    rows = min(int((top + 6) / sector.sample_mm) + 1, SHAPE[0])
    wave = blotches(rng, (2, SHAPE[1]), (1, 40), 0.7)[:1]
    depth = depths(sector)[:rows, None]
    bend = depth + wave * np.minimum(depth / 8, 1)
    edges, level = np.cumsum([t for t, _ in patient.layers]), [lv for _, lv in patient.layers]
    knots = np.repeat(np.concatenate([[0], edges[:-1]]), 2)[1:]
    profile_x = np.concatenate([[0], knots[0::2][1:], [edges[-1]]])
    stripes = blotches(rng, (rows, SHAPE[1]), (max(0.9 / sector.sample_mm, 1.5), 45), 3.6)
    stripes += blotches(rng, (rows, SHAPE[1]), (max(0.8 / sector.sample_mm, 1.5), 14), 2.6)
    index = np.clip(np.searchsorted(profile_x, bend.ravel(), side="right") - 1, 0, len(level) - 1)
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
            gain -= np.float32(rng.uniform(12, 34)) / (1 + np.exp(-(side * theta - start - soft) / np.float32(soft / 3)))
    for _ in range(int(rng.integers(0, 3))):
        centre, width = rng.uniform(-0.9, 0.9) * half_angle, rng.uniform(0.02, 0.05)
        if all(centre + 2 * width < a or centre - 2 * width > b for a, b in keep):
            gain -= np.float32(rng.uniform(3, 9)) * np.exp(-(((theta - centre) / width) ** 2)).astype(np.float32)
    return gain
