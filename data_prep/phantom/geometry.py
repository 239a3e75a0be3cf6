"""Convex-array geometry: probe-fixed millimetres, polar lines and samples, and pixels of the frame.

Probe coordinates: x to the right and z downwards in mm, origin where the central line leaves the probe
face. A line has angle theta to the central one; depth d is counted along the line from the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

NUM_LINES = 200  # lines inside the sector
MARGIN = 8  # lines simulated beyond each edge, so that the lateral FFT cannot wrap into the sector
NUM_SAMPLES = 448  # samples per line
RASTER_MM = 0.6  # pixel of the Cartesian tissue maps


@dataclass(frozen=True)
class Sector:
    """One sector in one frame. Lengths in mm, angles in rad, ``cx``/``top``/``px_per_mm`` in pixels."""

    radius_mm: float
    half_angle: float
    depth_mm: float
    width: int
    height: int
    px_per_mm: float
    cx: float
    top: float

    @property
    def line_step(self) -> float:
        """Angle between two lines in rad."""
        return 2 * self.half_angle / (NUM_LINES - 1)

    @property
    def sample_mm(self) -> float:
        """Distance between two samples of a line."""
        return self.depth_mm / (NUM_SAMPLES - 1)

    @property
    def z_min(self) -> float:
        """Z of the corners of the probe face (they lie above its middle, so it is negative)."""
        return self.radius_mm * (np.cos(self.half_angle) - 1)

    @property
    def half_width_mm(self) -> float:
        """Half the width of the sector at its widest."""
        return (self.radius_mm + self.depth_mm) * float(np.sin(self.half_angle))

    def to_pixels(self, xz: np.ndarray) -> np.ndarray:
        """Probe coordinates (N, 2) in mm to pixels (N, 2)."""
        return np.asarray(xz) * self.px_per_mm + (self.cx, self.top)

    def to_cells(self, xz: np.ndarray) -> np.ndarray:
        """Probe coordinates (N, 2) to the nearest polar cell (sample, line) inside the grid."""
        r, theta = (
            np.hypot(xz[:, 0], xz[:, 1] + self.radius_mm),
            np.arctan2(xz[:, 0], xz[:, 1] + self.radius_mm),
        )
        sample = (r - self.radius_mm) / self.sample_mm
        line = theta / self.line_step + MARGIN + (NUM_LINES - 1) / 2
        high = (NUM_SAMPLES - 1, NUM_LINES + 2 * MARGIN - 1)
        return np.clip(np.round(np.stack([sample, line], 1)), 0, high).astype(int)

    def contains(self, xz: np.ndarray, margin_mm: float = 0.0) -> np.ndarray:
        """True (N,) where a point (N, 2) in mm lies inside the sector, ``margin_mm`` away from its border."""
        x, z = xz[:, 0], xz[:, 1]
        r = np.hypot(x, z + self.radius_mm)
        side = np.abs(np.arctan2(x, z + self.radius_mm)) * r <= self.half_angle * r - margin_mm
        near, far = self.radius_mm + margin_mm, self.radius_mm + self.depth_mm - margin_mm
        return (r >= near) & (r <= far) & side


def make_sector(
    size: tuple[int, int],
    radius_mm: float,
    half_angle: float,
    depth_mm: float,
    fill: float,
    off: tuple[float, float],
) -> Sector:
    """Fit a sector into a frame of ``size`` (width, height); ``off`` in [-1, 1] uses the free room."""
    width, height = size
    z_min = radius_mm * (np.cos(half_angle) - 1)
    w_mm = 2 * (radius_mm + depth_mm) * np.sin(half_angle)
    h_mm = depth_mm - z_min
    scale = fill * min(width / w_mm, height / h_mm)
    cx = width / 2 + off[0] * (width - scale * w_mm) / 2
    top = (height - scale * h_mm) / 2 * (1 + off[1]) - z_min * scale
    return Sector(radius_mm, half_angle, depth_mm, width, height, float(scale), float(cx), float(top))


@dataclass(frozen=True)
class Raster:
    """Cartesian grid of tissue maps that covers a sector."""

    x0: float
    z0: float
    shape: tuple[int, int]

    @classmethod
    def covering(cls, sector: Sector) -> Raster:
        """The raster that covers ``sector`` and a few mm around it."""
        half = sector.half_width_mm + 10
        z0 = sector.z_min - 3
        return cls(-half, z0, (int((sector.depth_mm - z0 + 4) / RASTER_MM), int(2 * half / RASTER_MM)))

    def to_cells(self, xz: np.ndarray) -> np.ndarray:
        """Probe coordinates (N, 2) in mm to fractional cells (column, row)."""
        return (np.asarray(xz) - (self.x0, self.z0)) / RASTER_MM

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """X of the columns as (1, W) and z of the rows as (H, 1), in mm."""
        rows, cols = self.shape
        x = self.x0 + RASTER_MM * np.arange(cols, dtype=np.float32)
        z = self.z0 + RASTER_MM * np.arange(rows, dtype=np.float32)
        return x[None, :], z[:, None]

    def window(self, x: float, z: float, reach: float) -> tuple[slice, slice]:
        """Rows and columns of the square of half-width ``reach`` mm round a point."""
        col, row = self.to_cells(np.array([x, z]))
        n = reach / RASTER_MM
        rows = slice(max(int(row - n), 0), max(min(int(row + n) + 2, self.shape[0]), 0))
        cols = slice(max(int(col - n), 0), max(min(int(col + n) + 2, self.shape[1]), 0))
        return rows, cols


@lru_cache(maxsize=4)
def polar_maps(sector: Sector, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Raster cell (column, row) of every polar sample: two (NUM_SAMPLES, lines) float32 arrays."""
    lines = NUM_LINES + 2 * MARGIN
    theta = (np.arange(lines, dtype=np.float32) - (lines - 1) / 2) * np.float32(sector.line_step)
    r = sector.radius_mm + np.arange(NUM_SAMPLES, dtype=np.float32) * np.float32(sector.sample_mm)
    x = r[:, None] * np.sin(theta)[None]
    z = r[:, None] * np.cos(theta)[None] - sector.radius_mm
    cols = ((x - raster.x0) / RASTER_MM).astype(np.float32)
    rows = ((z - raster.z0) / RASTER_MM).astype(np.float32)
    return cols, rows


@lru_cache(maxsize=4)
def _scan_maps(sector: Sector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scale = np.float32(1 / sector.px_per_mm)
    x = (np.arange(sector.width, dtype=np.float32) - np.float32(sector.cx)) * scale
    z = (np.arange(sector.height, dtype=np.float32) - np.float32(sector.top)) * scale + np.float32(
        sector.radius_mm
    )
    xx, zz = np.broadcast_to(x, (z.size, x.size)), np.broadcast_to(z[:, None], (z.size, x.size))
    r, theta = cv2.cartToPolar(np.ascontiguousarray(zz), np.ascontiguousarray(xx))  # angle in [0, 2 pi)
    theta = np.where(theta > np.pi, theta - np.float32(2 * np.pi), theta)
    inside = (np.abs(theta) <= sector.half_angle) & (r >= sector.radius_mm)
    inside &= r <= sector.radius_mm + sector.depth_mm
    theta /= np.float32(sector.line_step)
    theta += np.float32(MARGIN + (NUM_LINES - 1) / 2)
    r -= np.float32(sector.radius_mm)
    r /= np.float32(sector.sample_mm)
    coarse, fine = cv2.convertMaps(theta, r, cv2.CV_16SC2)  # fixed point: cv2 remaps it much faster
    return coarse, fine, inside.astype(np.uint8)


def scan_convert(polar: np.ndarray, sector: Sector) -> tuple[np.ndarray, np.ndarray]:
    """Polar uint8 image (NUM_SAMPLES, lines) to the frame (H, W) and the sector mask (H, W) of 0 and 1."""
    coarse, fine, inside = _scan_maps(sector)
    frame = cv2.remap(polar, coarse, fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.multiply(frame, inside), inside
