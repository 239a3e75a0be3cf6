"""The files that bags come in, read into their named parts and not yet checked: h5, pt, npz, csv.

With ``features=False`` a reader gives ``shape`` and ``dtype`` of the features in place of them, from the head of the
file, so that thousands of slides can be looked at before a training starts. Used by medkit/data/bag_files.py.
"""

from __future__ import annotations

import csv
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medkit.errors import DatasetError

Parts = dict[str, Any]


def read_parts(path: Path, *, features: bool = True) -> Parts:
    """What the file holds, by name; an h5's attributes of ``coords`` among it.

    Raises:
        DatasetError: missing, of an unknown format, or not readable to its end.
    """
    if path.suffix not in READERS:
        raise DatasetError(f"{path}: features are read from {', '.join(READERS)}; convert it")
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; extract the features of this slide, or take it out of the table")
    try:
        return READERS[path.suffix](path, features)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DatasetError(
            f"{path} cannot be read: is it truncated? ({said[0][:160]}); write this file again"
        ) from error


def h5py_for(path: Path) -> Any:
    """The package.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(f"{path} needs h5py; run `pip install 'medkit[slides]'`") from error
    return h5py


def _read_h5(path: Path, features: bool) -> Parts:
    with h5py_for(path).File(path) as file:
        parts: Parts = {name: file[name][:] for name in ("coords", "instance_labels") if name in file}
        if "coords" in file:
            parts.update(file["coords"].attrs)
        if "features" in file:
            found = file["features"]
            parts.update({"features": found[()]} if features else {"shape": found.shape, "dtype": found.dtype})
        return parts


def _read_pt(path: Path, features: bool) -> Parts:
    """CLAM's file is the tensor alone; without ``features`` it is mapped and not read."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=not features or None)
    content = content if isinstance(content, dict) else {"features": content}
    parts = {name: _array(part) if isinstance(part, torch.Tensor) else part for name, part in content.items()}
    return parts if features else _headed(parts)


def _array(tensor: Any) -> np.ndarray:
    """NumPy has no bfloat16."""
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _read_npz(path: Path, features: bool) -> Parts:
    with np.load(path) as content:
        if features or "features" not in content:
            return dict(content)
        parts = {name: content[name] for name in content if name != "features"}
        with content.zip.open("features.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        return {**parts, "shape": shape, "dtype": dtype}


def _read_csv(path: Path, features: bool) -> Parts:
    """Rows of numbers; a header, and a column that counts the rows, are left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file), [])
        lines = bool(first) + sum(not line.isspace() for line in file)
    index = bool(first) and first[0].strip().lower() in ("", "index", "unnamed: 0")
    columns = first[index:]
    header = index or not all(map(_is_number, columns)) or columns == [str(i) for i in range(len(columns))]
    if not features or lines <= header:
        return {"shape": (max(lines - header, 0), len(columns) or 1), "dtype": np.dtype(np.float32)}
    rows = np.loadtxt(path, delimiter=",", skiprows=int(header), ndmin=2, dtype=np.float32, encoding="utf-8-sig")
    return {"features": rows[:, 1:] if index else rows}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _headed(parts: Parts) -> Parts:
    if "features" not in parts:
        return parts
    features = np.asarray(parts.pop("features"))
    return {**parts, "shape": features.shape, "dtype": features.dtype}


READERS: dict[str, Callable[[Path, bool], Parts]] = {
    ".h5": _read_h5,
    ".pt": _read_pt,
    ".npz": _read_npz,
    ".csv": _read_csv,
}
