"""Where what lies on a synthetic slide: pieces of tissue on glass, benign kinds in them, and tumour.

Everything is a mask of 1 micrometre per pixel, (H, W). Command: ``python -m data_prep.wsi_phantom OUT``.
"""

from __future__ import annotations

import cv2
import numpy as np

KINDS = ("stroma", "epithelium", "fat", "lymphoid")
BIAS = (0.5, 0.25, 0.0, -0.9)  # the larger, the more of the slide
TUMOUR = len(KINDS)
GLASS = -1
PATCH_UM = 90.0  # standard deviation of the blur that makes patches of a kind
RASTER_UM = 10.0
CELL_FILLED = 0.97  # part of a cell that must be tissue for a tumour tile of the arrangement


def smooth_field(rng: np.random.Generator, size: int, blur_um: float) -> np.ndarray:
    """Smooth noise (size, size) of mean 0 and deviation 1."""
    noise = rng.normal(size=(round(size / RASTER_UM),) * 2).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur_um / RASTER_UM)
    return cv2.resize((smooth - smooth.mean()) / smooth.std(), (size, size), interpolation=cv2.INTER_LINEAR)


def tissue_pieces(rng: np.random.Generator, size: int, pieces: int) -> np.ndarray:
    """Tissue (size, size) bool: ``pieces`` strips of irregular outline side by side, glass between and around them."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j].astype(np.float32)
    outline, tissue = smooth_field(rng, size, 120), np.zeros((size, size), bool)
    for number in range(pieces):
        centre = (number + 0.5) / pieces + rng.uniform(-0.02, 0.02), 0.5 + rng.uniform(-0.04, 0.04)
        radii = 0.47 / pieces, rng.uniform(0.4, 0.47)
        tissue |= np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]) + 0.05 * outline < 0.95
    return tissue


def benign_kinds(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Index into KINDS (size, size) int8, GLASS outside of the tissue."""
    size = len(tissue)
    kinds, highest = np.full((size, size), GLASS, np.int8), np.full((size, size), -np.inf, np.float32)
    for kind, bias in enumerate(BIAS):
        field = smooth_field(rng, size, PATCH_UM) + bias
        kinds[field > highest] = kind
        np.maximum(highest, field, out=highest)
    return np.where(tissue, kinds, GLASS)


def draw_blob(mask: np.ndarray, rng: np.random.Generator, centre: np.ndarray, radius: float, limit: float = 0) -> None:
    """Fill an irregular outline round ``centre`` (x, y) with 1, nowhere farther along an axis than ``limit``."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    wave = sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    offsets = radius * np.exp(wave)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if limit:
        offsets = offsets.clip(-limit, limit)
    cv2.fillPoly(mask, [np.round((centre + offsets) * 16).astype(np.int32)], 1, shift=4)


def tumour_nests(rng: np.random.Generator, tissue: np.ndarray, share: float) -> np.ndarray:
    """Tumour (size, size) bool over about ``share`` of the tissue: one nest, or up to three where it is more."""
    nests = 1 if share < 0.04 else int(rng.integers(1, 4))
    radius = np.sqrt(share * tissue.sum() / nests / np.pi)
    depth = cv2.distanceTransform(tissue.astype(np.uint8), cv2.DIST_L2, 3)
    inside = np.argwhere(depth >= min(radius, 0.9 * depth.max()))[:, ::-1]  # (N, 2) as x, y
    mask = np.zeros(tissue.shape, np.uint8)
    for centre in inside[rng.integers(len(inside), size=nests)]:
        draw_blob(mask, rng, centre.astype(float), radius)
    return (mask > 0) & tissue


def tumour_cells(
    rng: np.random.Generator, tissue: np.ndarray, cell_um: float, count: int, together: bool
) -> np.ndarray | None:
    """Tumour (size, size) bool in ``count`` cells of the grid of ``cell_um`` from the corner, none over a cell's edge.

    Together they touch by their sides; scattered no two touch, not even by corners. One blob is drawn the same way in
    either case, so a tile of this grid shows nothing of the arrangement. ``None`` where the tissue has no room.
    """
    free = full_cells(tissue, cell_um)
    cells = pick_together(rng, free, count) if together else pick_scattered(rng, free, count)
    if cells is None:
        return None
    mask = np.zeros(tissue.shape, np.uint8)
    for row, column in cells:
        draw_blob(mask, rng, (np.array([column, row]) + 0.5) * cell_um, 0.56 * cell_um, limit=0.5 * cell_um - 2)
    return mask > 0


def full_cells(tissue: np.ndarray, cell_um: float) -> np.ndarray:
    """Cells (rows, columns) bool of which hardly anything is glass."""
    across = int(len(tissue) / cell_um)
    edges = np.round(np.arange(across) * cell_um).astype(int)
    inside = tissue[: round(across * cell_um), : round(across * cell_um)].astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(inside, edges, axis=0), edges, axis=1)
    return sums >= CELL_FILLED * cell_um**2


def pick_together(rng: np.random.Generator, free: np.ndarray, count: int) -> list[tuple[int, int]] | None:
    """``count`` free cells (row, column) that hang together by their sides, or ``None`` where a hole ends before."""
    free = free.copy()
    start = tuple(rng.choice(np.argwhere(free)).tolist()) if free.any() else None
    chosen: list[tuple[int, int]] = []
    rim = [start] if start else []
    while rim and len(chosen) < count:
        row, column = rim.pop(int(rng.integers(len(rim))))
        if not free[row, column]:
            continue
        free[row, column] = False
        chosen.append((row, column))
        around = (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)
        rim += [(r, c) for r, c in around if 0 <= r < len(free) and 0 <= c < free.shape[1]]
    return chosen if len(chosen) == count else None


def pick_scattered(rng: np.random.Generator, free: np.ndarray, count: int) -> list[tuple[int, int]] | None:
    """``count`` free cells (row, column) of which no two touch, or ``None`` where they found no room."""
    free = free.copy()
    chosen: list[tuple[int, int]] = []
    while free.any() and len(chosen) < count:
        row, column = rng.choice(np.argwhere(free)).tolist()
        chosen.append((row, column))
        free[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = False
    return chosen if len(chosen) == count else None
