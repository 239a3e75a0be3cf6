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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .brain_anatomy import FIELD_MM, Person, Scanner, places_mm, render, sample_person, sample_scanner, tissues
from .errors import OptionError
from .one_line import one_line_errors

LABELS = ("control", "patient")
COLUMNS = ("image", "subject", "label", "visit", "scanner", "split", "severity", "ventricle_ml", "brain_ml")


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


@one_line_errors
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
    rows = write_brains(args.out, options, args.seed)
    counts = ", ".join(f"{sum(row['label'] == name for row in rows)} {name}" for name in LABELS)
    print(f"{args.out}/volumes.csv: {len(rows)} volumes of {options.subjects} subjects: {counts}")
    for name in LABELS:
        sizes = np.array([float(row["ventricle_ml"]) for row in rows if row["label"] == name])
        print(f"ventricles of a {name}: {sizes.mean():.1f} +- {sizes.std():.1f} ml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
