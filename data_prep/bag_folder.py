"""A folder of bags as training reads it: ``bags.csv`` and ``features/BAG.npz``.

Command: ``python -m data_prep.digit_bags OUT`` and ``python -m data_prep.tile_bags bags FEATURES.npy OUT`` write such.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OptionError

COLUMNS = ("slide_id", "label", "split", "file")


@dataclass(frozen=True)
class DrawnBag:
    """N instances under one label.

    Attributes:
        name: no other bag's.
        label, split: as ``bags.csv`` has them.
        features: (N, D).
        instance_labels: (N,) 1 positive, 0 not.
        coords: (N, 2) upper left corners x, y in pixels.
        side_px: side of an instance in the same pixels.
    """

    name: str
    label: str
    split: str
    features: np.ndarray
    instance_labels: np.ndarray
    coords: np.ndarray | None = None
    side_px: float | None = None


def write_bag_folder(out: str | Path, bags: Iterable[DrawnBag]) -> list[dict[str, str]]:
    """Write bags into a new folder; returns the rows of ``bags.csv``.

    Raises:
        OptionError: the folder is not empty.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty; name a new folder")
    (out / "features").mkdir(parents=True, exist_ok=True)
    rows = []
    for bag in bags:
        places: dict[str, Any] = {}
        if bag.coords is not None:
            places = {"coords": bag.coords.astype(np.int64), "patch_size_level0": np.array(bag.side_px, float)}
        file = f"features/{bag.name}.npz"
        known, features = bag.instance_labels.astype(np.int8), bag.features.astype(np.float32)
        np.savez(out / file, features=features, instance_labels=known, **places)
        rows.append(dict(zip(COLUMNS, (bag.name, bag.label, bag.split, file), strict=True)))
    with (out / "bags.csv").open("w", newline="", encoding="utf-8") as file_:
        writer = csv.DictWriter(file_, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def told(out: str | Path, rows: list[dict[str, str]]) -> str:
    """One line about the rows of ``bags.csv``."""
    splits = dict.fromkeys(row["split"] for row in rows)
    counts = []
    for split in splits:
        labels = [row["label"] for row in rows if row["split"] == split]
        counts.append(f"{split} " + " + ".join(f"{labels.count(name)} {name}" for name in sorted(set(labels))))
    return f"{out}/bags.csv: {len(rows)} bags: {', '.join(counts)}"
