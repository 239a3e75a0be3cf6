"""One bag in one file: features of a slide's tiles, where the tiles lie, and what is known of each.

Read are CLAM's ``h5_files/ID.h5`` (``features`` (N, D) or (1, N, D), ``coords`` (N, 2); Lu et al., "Data-efficient and
weakly supervised computational pathology on whole-slide images", 2021) and its ``pt_files/ID.pt`` (the tensor alone),
DSMIL's csv (a row per instance; Li et al., "Dual-stream multiple instance learning network", 2021), and npz. Where a
file has no coordinates, those of ``../patches/ID.h5`` or ``../h5_files/ID.h5`` are taken if there are as many.
Command: ``python tools/train.py configs/abmil_slides.py --data-root DIR``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medkit.data.bag_formats import READERS, Parts, h5py_for, read_parts
from medkit.errors import ConfigError, DatasetError

SUFFIXES = tuple(READERS)
_BESIDE = ("patches", "h5_files")  # folders that CLAM puts coordinates in
_ROWS = 8192  # looked at together: a bag of 100 000 rows needs no second copy


@dataclass(frozen=True)
class Bag:
    """N instances of one bag.

    Attributes:
        features: (N, D) float16 or float32.
        coords: (N, 2) upper left corners (x, y) in pixels of level 0, int64 or float32.
        side_px: side of a tile in the same pixels.
        mpp: micrometres per pixel of level 0; (x, y) where they differ.
        instance_labels: (N,) int8, 1 positive, 0 negative, -1 unknown.
    """

    features: np.ndarray
    coords: np.ndarray | None = None
    side_px: float | None = None
    mpp: float | tuple[float, float] | None = None
    instance_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> Bag:
        """The bag of these instances alone."""
        parts = {name: getattr(self, name) for name in ("features", "coords", "instance_labels")}
        return replace(self, **{name: part[rows] for name, part in parts.items() if part is not None})


@dataclass(frozen=True)
class BagShape:
    """What a file holds, without its features: instances, width, coordinates or not, side of a tile, bytes."""

    instances: int
    width: int
    has_coords: bool
    side_px: float | None
    nbytes: int


def read_bag(path: str | Path) -> Bag:
    """Read and check a bag of any of the formats above.

    Raises:
        DatasetError: missing, truncated, no ``features``, empty, of a wrong shape, not finite.
    """
    path = Path(path)
    parts = _with_coords(path, read_parts(path))
    features = _features(path, parts)
    for start in range(0, len(features), _ROWS):
        bad = ~np.isfinite(features[start : start + _ROWS]).all(axis=1)
        if bad.any():
            raise DatasetError(
                f"{path}: the features of instance {start + int(bad.argmax())} are not finite (float16 ends at 65504); "
                "extract them again"
            )
    count = len(features)
    return Bag(
        features,
        _coords(path, parts, count),
        _side(path, parts),
        _mpp(path, parts),
        _instance_labels(path, parts, count),
    )


def read_shape(path: str | Path) -> BagShape:
    """What `read_bag` would give, without reading the features.

    Raises:
        DatasetError: as `read_bag`, but for features that are not finite or, in a csv, no numbers.
    """
    path = Path(path)
    parts = _with_coords(path, read_parts(path, features=False))
    shape = _features_shape(path, parts)
    size = min(np.dtype(parts["dtype"]).itemsize, 4) if "dtype" in parts else 4
    has_coords = _coords(path, parts, shape[0]) is not None
    return BagShape(*shape, has_coords, _side(path, parts), nbytes=shape[0] * shape[1] * size)


def write_bag(path: str | Path, bag: Bag, attrs: Mapping[str, Any] | None = None) -> None:
    """Write a bag as h5 or npz; the file appears whole or not at all.

    Args:
        path: ends in .h5 or .npz; its folder is made where absent.
        bag: as `Bag` says; what it lacks is left out.
        attrs: attributes of the h5 file itself, such as the encoder's name.

    Raises:
        ConfigError: another format, or attributes for npz.
    """
    path = Path(path)
    if path.suffix not in (".h5", ".npz") or (attrs and path.suffix != ".h5"):
        raise ConfigError(f"{path}: bags are written as .h5, or as .npz without attributes; name it so")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        (_write_h5 if path.suffix == ".h5" else _write_npz)(draft, bag, dict(attrs or {}))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write_h5(path: Path, bag: Bag, attrs: Parts) -> None:
    with h5py_for(path).File(path, "w") as file:
        file.attrs.update(attrs)
        file["features"] = bag.features
        if bag.coords is not None:
            file["coords"] = bag.coords
            file["coords"].attrs.update(_scale(bag))
        if bag.instance_labels is not None:
            file["instance_labels"] = bag.instance_labels.astype(np.int8)


def _write_npz(path: Path, bag: Bag, attrs: Parts) -> None:
    parts = {"coords": bag.coords, "instance_labels": bag.instance_labels, **_scale(bag)}
    with path.open("wb") as file:
        np.savez(file, features=bag.features, **{name: part for name, part in parts.items() if part is not None})


def _scale(bag: Bag) -> Parts:
    scale = {"patch_size_level0": bag.side_px, "mpp": bag.mpp}
    return {name: value for name, value in scale.items() if value is not None}


def _with_coords(path: Path, parts: Parts) -> Parts:
    """With the coordinates of a neighbour where the file lacks them, or their tile size."""
    if path.suffix == ".h5" and "coords" in parts and _tile_attributes(parts):
        return parts
    for folder in _BESIDE:
        beside = path.parent.parent / folder / f"{path.stem}.h5"
        if beside.is_file() and beside != path:
            found = read_parts(beside, features=False)
            shape = _features_shape(path, parts)
            if len(found.get("coords", ())) == shape[0] and _agree(found, parts):
                kept = {name: part for name, part in found.items() if name not in ("shape", "dtype")}
                return {**kept, **parts}
    return parts


def _agree(found: Parts, parts: Parts) -> bool:
    return "coords" not in parts or np.array_equal(found["coords"], parts["coords"])


def _tile_attributes(parts: Parts) -> bool:
    return "patch_size_level0" in parts or {"patch_size", "downsample"} <= set(parts)


def _features_shape(path: Path, parts: Parts) -> tuple[int, int]:
    if "shape" not in parts and "features" not in parts:
        has = sorted(name for name in parts if isinstance(parts[name], np.ndarray))
        raise DatasetError(f"{path} has no `features` (it has {has}): coordinates alone? extract features first")
    shape = tuple(parts["shape"] if "shape" in parts else np.shape(parts["features"]))
    plain = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape  # CLAM stores (1, N, D) now and then
    if len(plain) != 2 or not plain[1]:
        raise DatasetError(f"{path}: the features have the shape {shape}; expected (instances, channels)")
    if not plain[0]:
        raise DatasetError(f"{path} holds no instance, an empty slide; take it out of the table or tile it again")
    return plain[0], plain[1]


def _features(path: Path, parts: Parts) -> np.ndarray:
    shape = _features_shape(path, parts)
    features = np.asarray(parts["features"])
    if features.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: the features are {features.dtype}; expected float16 or float32")
    features = features.reshape(shape)
    return features if features.dtype in (np.float16, np.float32) else features.astype(np.float32)


def _coords(path: Path, parts: Parts, instances: int) -> np.ndarray | None:
    if "coords" not in parts:
        return None
    coords = np.asarray(parts["coords"])
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if coords.shape != (instances, 2) or coords.dtype.kind not in "fiu":
        raise DatasetError(
            f"{path}: `coords` is {coords.dtype} of shape {coords.shape}; expected ({instances}, 2), one (x, y) for "
            "each row of the features"
        )
    if not np.isfinite(coords).all():
        raise DatasetError(f"{path}: `coords` holds values that are not finite; tile the slide again")
    return coords.astype(np.float32 if coords.dtype.kind == "f" else np.int64)


def _side(path: Path, parts: Parts) -> float | None:
    if not _tile_attributes(parts):
        return None
    if "patch_size_level0" in parts:
        side = float(parts["patch_size_level0"])
    else:
        side = float(parts["patch_size"]) * float(np.max(parts["downsample"]))
    if not (np.isfinite(side) and side > 0):
        raise DatasetError(f"{path}: the tiles' side is {side}; expected level-0 pixels above 0")
    return side


def _mpp(path: Path, parts: Parts) -> float | tuple[float, float] | None:
    if "mpp" not in parts:
        return None
    values = np.atleast_1d(np.asarray(parts["mpp"], float))
    if values.size not in (1, 2) or not (np.isfinite(values) & (values > 0)).all():
        raise DatasetError(f"{path}: mpp is {values.tolist()}; expected micrometres per level-0 pixel, above 0")
    return float(values[0]) if values.size == 1 else (float(values[0]), float(values[1]))


def _instance_labels(path: Path, parts: Parts, instances: int) -> np.ndarray | None:
    if "instance_labels" not in parts:
        return None
    labels = np.asarray(parts["instance_labels"])
    if labels.shape != (instances,) or not np.isin(labels, (-1, 0, 1)).all():
        raise DatasetError(
            f"{path}: instance_labels have the shape {labels.shape} and the values {np.unique(labels)[:5].tolist()}; "
            f"expected ({instances},) of 1 positive, 0 negative, -1 unknown"
        )
    return labels.astype(np.int8)
