"""A small set of brain-like volumes for tests: ellipsoids whose ventricle is larger in one of two classes."""

import csv
from pathlib import Path

import numpy as np

CLASSES = ("control", "patient")


def brain(size: tuple[int, int, int], label: int, rng: np.random.Generator) -> np.ndarray:
    """(X, Y, Z) float32 in RAS: background 0, a head of its own size, a dark ventricle that grows with the label."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    axes = rng.uniform(0.7, 0.95, 3)
    head = (x / axes[0]) ** 2 + (y / axes[1]) ** 2 + (z / axes[2]) ** 2 < 1
    ventricle = x**2 + y**2 + z**2 < (0.25 + 0.25 * label) ** 2
    tissue = 100 * rng.uniform(0.8, 1.2) * (1 + 0.1 * x + 0.05 * rng.normal(size=size))
    return np.where(ventricle, 0.3 * tissue, tissue).astype(np.float32) * head


def write_volume(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file, of 2 mm voxels along right, anterior, superior unless ``affine`` says otherwise."""
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)
    return path


def write_volumes(
    root: Path, subjects: int = 6, visits: int = 2, size: tuple[int, int, int] = (16, 32, 16), test_subjects: int = 2
) -> Path:
    """A folder with ``volumes.csv``: subjects of two classes in turn, the last ``test_subjects`` in split test."""
    rows = []
    for number in range(subjects):
        rng = np.random.default_rng(number)
        for visit in range(1, visits + 1):
            name = f"images/sub-{number:02d}_visit-{visit}.nii.gz"
            write_volume(root / name, brain(size, number % 2, rng))
            rows.append(
                {
                    "image": name,
                    "subject": f"sub-{number:02d}",
                    "label": CLASSES[number % 2],
                    "visit": visit,
                    "scanner": "AB"[number // 2 % 2],
                    "split": "train" if number < subjects - test_subjects else "test",
                }
            )
    write_table(root, rows)
    return root


def write_table(root: Path, rows: list[dict], name: str = "volumes.csv") -> Path:
    """A csv table with the columns of the first row."""
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return root / name
