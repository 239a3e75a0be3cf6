"""Feature banks: a slide's tiles, described several times, each time under one augmentation that all tiles share.

Giga-SSL (Lazard et al., CVPRW 2023, arXiv 2212.03273) compares two draws of such a bank, so that colour and sharpness
tell it nothing about which slide a tile is of. A bank is an h5 with ``features`` (A, N, D) and ``coords`` (A, N, 2),
whose attribute ``patch_size_level0`` is the side of a tile; ordinary bags count as one draw without augmentation.
Command: ``python tools/feature_bank.py DIR CONFIG CHECKPOINT``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medkit.data.bag_files import read_bag
from medkit.data.bag_formats import h5py_for, read_parts
from medkit.errors import DatasetError

__all__ = ["Bank", "read_bank", "write_bank"]


@dataclass(frozen=True)
class Bank:
    """A draws of N tiles of one slide.

    Attributes:
        features: (A, N, D) float16 or float32.
        coords: (A, N, 2) upper left corners (x, y) in pixels of level 0; None where not known.
        side_px: side of a tile in the same pixels; None where not known.
        augmented: the tiles of each draw share an augmentation.
    """

    features: np.ndarray
    coords: np.ndarray | None
    side_px: float | None
    augmented: bool


def read_bank(path: str | Path) -> Bank:
    """Read and check a bank, or any bag that `read_bag` reads.

    Raises:
        DatasetError: missing, truncated, of a wrong shape, without the side of a tile, not finite.
    """
    path = Path(path)
    head = read_parts(path, features=False)
    if np.ndim(head.get("coords", ())) != 3 or len(head.get("shape", ())) != 3:
        bag = read_bag(path)
        return Bank(bag.features[None], None if bag.coords is None else bag.coords[None], bag.side_px, augmented=False)
    if head["coords"].shape != (*head["shape"][:2], 2) or 0 in head["shape"] or "patch_size_level0" not in head:
        raise DatasetError(
            f"{path}: features {head['shape']}, coords {head['coords'].shape}, attributes of coords "
            f"{sorted(set(head) - {'shape', 'dtype', 'coords'})}; expected (draws, tiles, channels), (draws, tiles, 2) "
            "and patch_size_level0; make the bank again with tools/feature_bank.py"
        )
    features = read_parts(path)["features"]
    if not np.isfinite(features).all():
        raise DatasetError(f"{path}: features are not finite (float16 ends at 65504); make the bank again")
    return Bank(features, head["coords"], float(head["patch_size_level0"]), augmented=True)


def write_bank(path: str | Path, bank: Bank, attrs: Mapping[str, Any] | None = None) -> None:
    """Write a bank of known positions as h5; the file appears whole or not at all."""
    path = Path(path)
    assert bank.coords is not None and bank.side_px is not None, "a bank knows where its tiles lie"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with h5py_for(path).File(draft, "w") as file:
            file.attrs.update(attrs or {})
            file["features"], file["coords"] = bank.features.astype(np.float16), bank.coords.astype(np.int64)
            file["coords"].attrs["patch_size_level0"] = bank.side_px
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
