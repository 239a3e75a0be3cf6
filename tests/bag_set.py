"""A small set of bags for tests: random vectors, and in positive bags some that are shifted along one direction."""

import csv
from pathlib import Path

import numpy as np

from medkit.data.bag_files import Bag, write_bag

WIDTH = 16
TILE_PX = 512
SHIFT = 4.0  # of a positive instance, in standard deviations


def make_bag(label: int, rng: np.random.Generator, *, width: int = WIDTH, most: int = 12) -> Bag:
    """A bag of 4 to ``most`` instances on a grid; class c > 0 has one to three that are shifted along axis c - 1."""
    count = int(rng.integers(4, most + 1))
    features = rng.normal(size=(count, width)).astype(np.float16)
    instance_labels = np.zeros(count, np.int8)
    if label:
        chosen = rng.choice(count, int(rng.integers(1, 4)), replace=False)
        features[chosen, label - 1] += SHIFT
        instance_labels[chosen] = 1
    cells = rng.choice(64, count, replace=False)
    coords = TILE_PX * np.stack([cells % 8, cells // 8], axis=1)
    return Bag(features, coords, TILE_PX, 0.25, instance_labels)


def write_bags(root: Path, cases: int = 12, *, classes: int = 2, seed: int = 0, **options) -> Path:
    """A folder with ``bags.csv`` and features/ID.h5: two slides a case, classes in turn, half of the cases in train.

    A quarter of the cases is val and a quarter test; ``options`` go to `make_bag`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(cases):
        label, place = case % classes, case // classes / max(cases // classes, 1)
        split = "train" if place < 0.5 else "val" if place < 0.75 else "test"
        for slide in range(2):
            name = f"slide-{case:03d}-{slide}"
            write_bag(root / "features" / f"{name}.h5", make_bag(label, rng, **options))
            rows.append({"slide_id": name, "case_id": f"case-{case:03d}", "label": f"class{label}", "split": split})
    write_table(root / "bags.csv", rows)
    return root


def write_table(path: Path, rows: list[dict]) -> Path:
    """A csv with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path
