"""Anatomy and physics of the brain phantom: persons, scanners, tissues at a severity of disease, images of them.

Used by `data_prep.brain_phantom`, which says what varies. Lengths are in mm; places are from the middle of the field of
view, RAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

FIELD_MM = np.array([160.0, 192.0, 160.0])  # field of view
CSF, GREY, WHITE, DEEP = 0.12, 0.55, 0.9, 0.68  # intensities in T1
SPREAD = 0.22  # of severity between persons of one class; 1 lies between the classes


@dataclass(frozen=True)
class Person:
    """What stays over all visits; lengths in mm."""

    axes: np.ndarray  # (3,) half axes of the brain
    power: float  # 2 is an ellipsoid, more is boxier
    lean: np.ndarray  # (3,) narrower in front, flatter below, lopsided
    gyri: np.ndarray  # (X, Y, Z) smooth noise of deviation 1
    ventricles: np.ndarray  # (3,) sizes of one's own, as factors
    cortex: float
    severity: float


@dataclass(frozen=True)
class Scanner:
    """What all scans of a machine share."""

    name: str
    gamma: float
    contrast: float  # between grey and white matter, as a factor
    bias: np.ndarray  # (9,) coefficients of a smooth field
    blur_mm: float
    noise: float
    gain: float


def sample_person(rng: np.random.Generator, label: int, size: tuple[int, int, int]) -> Person:
    """A person with the disease or without."""
    voxel = FIELD_MM / size
    fine = ndimage.gaussian_filter(rng.normal(size=size), 7.0 / voxel)
    broad = ndimage.gaussian_filter(rng.normal(size=size), 16.0 / voxel)
    gyri = fine / fine.std() + 0.8 * broad / broad.std()
    return Person(
        axes=np.array([63.0, 79.0, 61.0]) * np.exp(rng.normal(0, 0.045, 3) + rng.normal(0, 0.035)),
        power=float(rng.uniform(2.0, 2.7)),
        lean=rng.normal(0, [0.10, 0.08, 0.05]),
        gyri=(gyri / gyri.std()).astype(np.float32),
        ventricles=np.exp(rng.normal(0, 0.08, 3)),
        cortex=float(np.exp(rng.normal(0, 0.08))),
        severity=float(label + rng.normal(0, SPREAD)),
    )


def sample_scanner(rng: np.random.Generator, name: str) -> Scanner:
    """A machine with its protocol."""
    return Scanner(
        name=name,
        gamma=float(np.exp(rng.normal(0, 0.22))),
        contrast=float(rng.uniform(0.7, 1.2)),
        bias=rng.normal(0, 0.12, 9),
        blur_mm=float(rng.uniform(0.5, 2.5)),
        noise=float(rng.uniform(0.01, 0.04)),
        gain=float(rng.uniform(300, 1500)),
    )


def _inside(distance: np.ndarray, edge_mm: float) -> np.ndarray:
    """Share of a voxel at a signed distance in mm that lies inside; ``edge_mm`` is about a voxel."""
    return np.clip(0.5 + distance / edge_mm, 0, 1)


def _ellipsoid(places: np.ndarray, centre: Sequence[float], axes: Sequence[float] | np.ndarray) -> np.ndarray:
    """Roughly the distance in mm from the surface, positive inside; ``places`` is (3, X, Y, Z)."""
    scaled = (places - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(axes, (3, 1, 1, 1))
    return (1 - np.linalg.norm(scaled, axis=0)) * float(np.min(axes))


def places_mm(size: tuple[int, int, int], turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(3, X, Y, Z) mm from the middle of a head that is turned about an axis (radians) and shifted (mm)."""
    voxel = FIELD_MM / size
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))  # (3, X, Y, Z)
    moved = grid * voxel.reshape(3, 1, 1, 1) - shift.reshape(3, 1, 1, 1)
    return np.tensordot(Rotation.from_rotvec(turn).as_matrix(), moved, axes=1)


def tissues(person: Person, places: np.ndarray, severity: float, edge_mm: float) -> dict[str, np.ndarray]:
    """Shares (X, Y, Z) in [0, 1] of ``brain`` and, painted one over the other, of what is in it."""
    x, y, z = places
    side = np.abs(x)
    sided = np.stack([side, y, z])  # both halves at once
    bent = np.stack([side - 0.10 * np.abs(y), y, z - 0.004 * y**2])  # horns bend out and up
    depth = _depth(person, places)
    sulci = 2.5 + 1.8 * severity  # mm of fluid over the cortex
    cortex = 8.0 * person.cortex * (1 - 0.24 * severity)
    folded = depth - 5.0 * person.gyri * np.clip(1 - depth / 25, 0, 1) - sulci  # sulci reach in, gyri out
    chambers = person.ventricles * (1 + 0.3 * severity)
    distances = {
        "brain": depth,
        "grey": folded,
        "white": folded - cortex,
        "deep": _ellipsoid(sided, (20, 2, 2), (9, 16, 11)),
        "horn": _ellipsoid(sided, (33, -8, -22), np.array([6.5, 17, 7]) * (0.9 + 0.22 * severity)),
        "hippocampus": _ellipsoid(
            sided, (32, -8, -23), np.array([6, 16, 6]) * person.ventricles[2] * (1 - 0.22 * severity)
        ),
        "fissure": np.minimum.reduce([1.5 + 0.9 * severity - side, z - 12, 40 - depth]),
        "ventricle": np.maximum(
            _ellipsoid(bent, (9, -4, 8), np.array([6.5, 30, 9]) * chambers),
            _ellipsoid(sided, (0, -4, -4), np.array([3, 13, 9]) * chambers),
        ),
    }
    return {name: _inside(distance, edge_mm) for name, distance in distances.items()}


def _depth(person: Person, places: np.ndarray) -> np.ndarray:
    """(X, Y, Z) mm below the surface of the brain: a superellipsoid, narrower in front, flatter above, lopsided."""
    unit = places / person.axes.reshape(3, 1, 1, 1)  # (3, X, Y, Z)
    narrow = 1 + person.lean[0] * unit[1] + person.lean[2] * np.tanh(4 * unit[0])
    flat = 1 + person.lean[1] * unit[2]
    scaled = np.abs(unit * np.stack([narrow, flat, np.ones_like(flat)]))
    radius = (scaled**person.power).sum(axis=0) ** (1 / person.power)
    return (1 - radius) * float(person.axes.mean())


_PAINT = (
    ("grey", GREY),
    ("white", WHITE),
    ("deep", DEEP),
    ("horn", CSF),
    ("hippocampus", GREY),
    ("fissure", CSF),
    ("ventricle", CSF),
)


def render(shares: dict[str, np.ndarray], scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """(X, Y, Z) int16 as a scanner shows it; 0 outside the brain."""
    image = np.full(shares["brain"].shape, CSF)
    for name, value in _PAINT:
        seen = GREY + (value - GREY) * scanner.contrast if value > GREY else value
        image = image * (1 - shares[name]) + seen * shares[name]
    size = np.array(image.shape)
    image = ndimage.gaussian_filter(image, scanner.blur_mm / (FIELD_MM / size))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    waves = (x, y, z, x * y, y * z, x * z, x**2 - 0.3, y**2 - 0.3, z**2 - 0.3)
    drift = scanner.bias + rng.normal(0, 0.03, 9)
    field = np.exp(sum(weight * wave for weight, wave in zip(drift, waves, strict=True)))
    image = image.clip(0.02) ** scanner.gamma * field + rng.normal(0, scanner.noise, size)
    return (image.clip(0.01) * scanner.gain * (shares["brain"] > 0.5)).round().astype(np.int16)
