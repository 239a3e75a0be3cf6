"""Tiles of a physical size on a slide's tissue, and their file ``patches/SLIDE.h5`` as CLAM lays it out.

``coords`` (N, 2) are upper left corners in pixels of level 0. Its attributes: CLAM's (``patch_size``, ``patch_level``,
``downsample``, ``level_dim``, ``name``), ``patch_size_level0``, ``mpp`` of level 0, and ``out_px`` and ``tile_mpp``,
the pixels of a tile as a network sees it. An optional ``instance_labels`` (N,) says which tiles are positive (1),
negative (0) or unknown (-1). Command: ``python -m data_prep slides``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from ..errors import DataPrepError, OptionError, SlideError

FINER = 1.05  # tiles may be asked for this much finer than the slide: 0.5 of a slide of 0.503 is no blow-up


@dataclass(frozen=True)
class Tiling:
    """Which tiles are wanted.

    Attributes:
        mpp: micrometres per pixel of a tile.
        tile: side of a tile in these pixels.
        overlap: share of a side that neighbours have in common.
        min_tissue: share of a tile that is tissue.
        enlarge: whether slides that are coarser than ``mpp`` are blown up and not refused.
    """

    mpp: float = 0.5
    tile: int = 224
    overlap: float = 0.0
    min_tissue: float = 0.5
    enlarge: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mpp) and self.mpp > 0 and self.tile >= 1):
            raise OptionError(f"--mpp {self.mpp} --tile {self.tile}: expected numbers above 0")
        if not 0 <= self.overlap < 1 or not 0 <= self.min_tissue <= 1:
            raise OptionError(
                f"--overlap {self.overlap} --min-tissue {self.min_tissue}: expected shares, "
                "from 0 to below 1 and from 0 to 1"
            )

    def side_px(self, slide_mpp: float) -> int:
        """Side of a tile in pixels of level 0, to the nearest pixel."""
        if slide_mpp > self.mpp * FINER and not self.enlarge:
            raise SlideError(
                f"its pixels are {slide_mpp:g} um, coarser than the {self.mpp:g} um asked for, detail would be "
                f"made up; ask for --mpp {slide_mpp:g} or more, or take it with --enlarge"
            )
        return max(1, round(self.tile * self.mpp / slide_mpp))


@dataclass(frozen=True)
class Patches:
    """What a file in ``patches/`` holds.

    Attributes:
        coords: (N, 2) int64 upper left corners (x, y) in pixels of level 0.
        side_px: side of a tile in these pixels.
        mpp: micrometres per pixel of level 0.
        out_px: side of a tile as a network sees it.
        instance_labels: (N,) int8 of 1, 0, -1, or None.
    """

    coords: np.ndarray
    side_px: int
    mpp: float
    out_px: int
    instance_labels: np.ndarray | None = None


def place_tiles(size: tuple[int, int], side: int, tissue: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Upper left corners (N, 2) int64, row by row, of the tiles that lie whole on the slide and enough on tissue.

    Args:
        size: (width, height) of level 0.
        side: of a tile in pixels of level 0.
        tissue: (h, w) bool over the whole slide.
        tiling: overlap and least share of tissue.
    """
    step = max(1, round(side * (1 - tiling.overlap)))
    xs, ys = (np.arange(0, whole - side + 1, step) for whole in size)
    x, y = (part.ravel() for part in np.meshgrid(xs, ys))
    share = _share(tissue, x, y, side, size)
    return np.stack([x, y], axis=1)[share >= max(tiling.min_tissue, 2e-6) - 1e-6].astype(np.int64)


def _share(tissue: np.ndarray, x: np.ndarray, y: np.ndarray, side: int, size: tuple[int, int]) -> np.ndarray:
    """Share of tissue (N,) in squares; pixels of the mask count by the part that lies inside."""
    height, width = tissue.shape
    sums = cv2.integral(tissue.astype(np.uint8)).astype(np.float64)  # (h + 1, w + 1)

    def above_left(right: np.ndarray, low: np.ndarray) -> np.ndarray:
        return map_coordinates(sums, (low * height / size[1], right * width / size[0]), order=1, mode="nearest")

    right, low = x + side, y + side
    inside = above_left(right, low) - above_left(x, low) - above_left(right, y) + above_left(x, y)
    return inside * size[0] * size[1] / (width * height * side**2)


def write_patches(path: Path, patches: Patches, attrs: Mapping[str, Any] | None = None) -> None:
    """Write the file; it appears whole or not at all.

    Args:
        path: ``patches/SLIDE.h5``.
        patches: see `Patches`.
        attrs: more attributes of ``coords``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    own = {
        "patch_size": patches.side_px,
        "patch_level": 0,
        "downsample": 1.0,
        "patch_size_level0": patches.side_px,
        "mpp": patches.mpp,
        "out_px": patches.out_px,
        "tile_mpp": patches.mpp * patches.side_px / patches.out_px,
        "name": path.stem,
    }
    try:
        with _h5py().File(draft, "w") as file:
            file["coords"] = patches.coords
            file["coords"].attrs.update({**own, **(attrs or {})})
            if patches.instance_labels is not None:
                file["instance_labels"] = patches.instance_labels.astype(np.int8)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_patches(path: str | Path) -> Patches:
    """Read a file of ``patches/``.

    Raises:
        SlideError: missing, truncated, or without what `write_patches` writes.
    """
    path = Path(path)
    if not path.is_file():
        raise SlideError(f"{path}: no such file; run `python -m data_prep slides` first")
    try:
        with _h5py().File(path) as file:
            coords, attrs = file["coords"][:], dict(file["coords"].attrs)
            labels = file["instance_labels"][:] if "instance_labels" in file else None
        found = Patches(
            coords.astype(np.int64), int(attrs["patch_size_level0"]), float(attrs["mpp"]), int(attrs["out_px"]), labels
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SlideError(f"{path} is no file of patches ({error}); delete it and tile the slide again") from error
    if coords.ndim != 2 or coords.shape[1] != 2 or (labels is not None and labels.shape != coords.shape[:1]):
        raise SlideError(f"{path}: coords {coords.shape} do not fit; expected (N, 2) and as many instance_labels")
    return found


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataPrepError("files of tiles need h5py: pip install 'medkit[slides]'") from error
    return h5py
