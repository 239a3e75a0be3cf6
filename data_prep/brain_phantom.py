"""Brain phantom: synthetic skull-stripped heads whose ventricles and cortex change with a disease.

Command: ``python -m data_prep.brain_phantom OUT --subjects 40 --visits 2 --size 40 48 40 --seed 0`` (extra
``volumes``). It writes into OUT:

- ``images/sub-000_ses-1.nii.gz``: T1-like volumes, int16, RAS, background 0;
- ``volumes.csv``: ``image,subject,label,visit,scanner,split,severity,ventricle_ml,brain_ml``, every fifth subject of
  each class being ``test``. The last three are the truth that was drawn; nothing trains on them.

Three things vary, each drawn by itself. Disease (``control`` or ``patient``): larger ventricles, thinner cortex, wider
sulci, smaller hippocampi, a little more at each visit. Person: size and shape of the head, gyri, ventricles of one's
own, how the head lies. Scanner: contrast, bias field, sharpness, noise. Person and scanner change far more voxels than
the disease does, so that what is alike at first sight is not alike in disease. Real heads differ in many ways that are
not drawn here: nothing measured on the phantom says how a method does on patients.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .errors import DataPrepError, OptionError

LABELS = ("control", "patient")
FIELD_MM = np.array([160.0, 192.0, 160.0])  # field of view
CSF, GREY, WHITE, DEEP = 0.12, 0.55, 0.9, 0.68  # intensities in T1
SPREAD = 0.22  # of severity between persons of one class; 1 lies between the classes
COLUMNS = ("image", "subject", "label", "visit", "scanner", "split", "severity", "ventricle_ml", "brain_ml")


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


@dataclass(frozen=True)
class BrainOptions:
    """How many of what; ``effect`` scales the disease, 0 leaves none."""

    subjects: int = 40
    visits: int = 2
    size: tuple[int, int, int] = (40, 48, 40)
    scanners: int = 3
    effect: float = 1.0


def scan(
    person: Person, visit: int, scanner: Scanner, options: BrainOptions, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, float]]:
    """A visit's volume (X, Y, Z) int16 and its truth: severity, ventricle_ml, brain_ml."""
    severity = options.effect * (person.severity + 0.05 * (visit - 1))
    voxel = FIELD_MM / options.size
    places = places_mm(options.size, rng.normal(0, 0.05, 3), rng.normal(0, 2.0, 3))
    shares = tissues(person, places, severity, edge_mm=float(voxel.mean()))
    millilitres = float(voxel.prod()) / 1000
    truth = {"severity": severity, "ventricle_ml": float(shares["ventricle"].sum()) * millilitres}
    return render(shares, scanner, rng), truth | {"brain_ml": float(shares["brain"].sum()) * millilitres}


def write_brains(
    out: str | Path, options: BrainOptions | None = None, seed: int = 0, show: Callable[[str], None] | None = None
) -> list[dict]:
    """Write a set into a new folder; returns the rows of ``volumes.csv``.

    Args:
        out: folder, new or empty.
        options: numbers and sizes.
        seed: the same seed gives the same bytes.
        show: called with the name of each volume that was written.

    Raises:
        OptionError: the folder is not empty, a number is out of range, or nibabel is not installed.
    """
    out, options = Path(out), options or BrainOptions()
    nibabel = _nibabel()
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty; name a new folder")
    if options.subjects < 2 or options.visits < 1 or options.scanners < 1 or min(options.size) < 16:
        raise OptionError(f"{options}: expected 2 subjects or more, 1 visit, 1 scanner and sides of 16 voxels or more")
    (out / "images").mkdir(parents=True, exist_ok=True)
    machines = [
        sample_scanner(np.random.default_rng((seed, 1, k)), f"scanner-{k + 1}") for k in range(options.scanners)
    ]
    affine = np.diag([*(FIELD_MM / options.size), 1.0])
    affine[:3, 3] = -FIELD_MM / 2
    rows = []
    for number in range(options.subjects):
        rng = np.random.default_rng((seed, 2, number))
        label = number % 2
        person = sample_person(rng, label, options.size)
        for visit in range(1, options.visits + 1):
            scanner = machines[int(rng.integers(len(machines)))]
            volume, truth = scan(person, visit, scanner, options, rng)
            name = f"images/sub-{number:03d}_ses-{visit}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(volume, affine), out / name)
            split = "test" if number // 2 % 5 == 4 else "train"
            values = name, f"sub-{number:03d}", LABELS[label], visit, scanner.name, split
            rows.append(dict(zip(COLUMNS, (*values, *(f"{value:.3f}" for value in truth.values())), strict=True)))
            if show:
                show(name)
    with (out / "volumes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _nibabel():
    try:
        import nibabel
    except ImportError as error:
        raise OptionError(
            f"NIfTI files need nibabel ({error}); install it with pip install 'medkit[volumes]'"
        ) from None
    return nibabel


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.brain_phantom", description="Write brain phantoms.")
    parser.add_argument("out", help="new folder")
    parser.add_argument("--subjects", type=int, default=40, help="half of them patients (default 40)")
    parser.add_argument("--visits", type=int, default=2, help="scans of each (default 2)")
    parser.add_argument("--size", type=int, nargs=3, default=(40, 48, 40), help="voxels (default 40 48 40)")
    parser.add_argument("--scanners", type=int, default=3)
    parser.add_argument("--effect", type=float, default=1.0, help="strength of the disease (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    options = BrainOptions(args.subjects, args.visits, tuple(args.size), args.scanners, args.effect)
    try:
        rows = write_brains(args.out, options, args.seed)
    except (DataPrepError, OSError) as error:
        print(f"brain_phantom: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{sum(row['label'] == name for row in rows)} {name}" for name in LABELS)
    print(f"{args.out}/volumes.csv: {len(rows)} volumes of {options.subjects} subjects: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
