"""The scanners of six hospitals: geometry, point-spread function, grey map, tint and marks on the screen."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.phantom.physics import Psf

MIN_SIDE = 408  # sides of a regular frame, so that only planted small frames are 400 and less


@dataclass(frozen=True)
class Machine:
    """A scanner as one hospital has set it up. ``size`` is relative to the nominal short side."""

    name: str
    size: tuple[float, float]
    ext: str
    radius_mm: float
    half_angle_deg: float
    fill: float
    range_db: float
    liver_grey: float
    gamma: float
    smooth: tuple[float, float]
    psf: Psf
    floor_db: float
    tint: tuple[
        float, float, float
    ]  # blue, green, red: gain of a channel in the dark; it fades towards white
    ticks: str
    mark: str


GREY = (1.0, 1.0, 1.0)
MACHINES = (
    Machine("A", (1.333, 1.0), "jpg", 52, 33, 0.97, 46, 0.47, 1.0, (0.6, 0.7),
            Psf(0.30, 0.60, 60, 45), -27, (0.84, 1.0, 0.87), "edge", "arrow"),
    Machine("B", (1.25, 1.0), "jpg", 48, 35, 0.95, 52, 0.42, 1.1, (0.8, 0.9),
            Psf(0.28, 0.55, 70, 50), -32, GREY, "right", "none"),
    Machine("C", (1.333, 1.125), "png", 60, 31, 0.98, 58, 0.34, 1.15, (1.0, 1.1),
            Psf(0.25, 0.55, 65, 55), -34, GREY, "none", "probe"),
    Machine("D", (1.0, 1.05), "jpg", 45, 36, 0.98, 48, 0.45, 1.0, (0.7, 0.9),
            Psf(0.33, 0.65, 55, 40), -28, (1.0, 0.90, 0.82), "right", "body"),
    Machine("E", (1.333, 1.0), "jpg", 56, 30, 0.96, 46, 0.40, 1.1, (0.5, 0.7),
            Psf(0.30, 0.70, 75, 45), -30, GREY, "bottom", "none"),
    Machine("F", (1.385, 1.06), "png", 50, 34, 0.97, 54, 0.38, 1.2, (0.9, 0.8),
            Psf(0.26, 0.60, 60, 60), -33, GREY, "right", "probe"),
)  # fmt: skip


def frame_size(machine: Machine, size: int) -> tuple[int, int]:
    """Width and height in pixels for a nominal short side ``size``."""
    low = MIN_SIDE if size > 400 else 1
    width, height = (max(round(size * s / 2) * 2, low) for s in machine.size)
    return width, height
