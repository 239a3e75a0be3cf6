"""Filling of small holes that keeps the speckle: simple kriging, with the part it cannot know borrowed nearby.

A hole's pixels are predicted from the known ones round them by the covariance that the frame itself shows there
(kriging, the best linear prediction; Journel and Huijbregts, Mining Geostatistics, 1978). A prediction is
smoother than tissue. What it lacks is taken from a place close by that fits: the same prediction is made there,
where the truth is known, and a share of its error is added (conditioning by kriging, ibid.). The speckle added
is the frame's own; there is no random number, so the same frame gives the same bytes.
"""

from __future__ import annotations

import cv2
import numpy as np

RADIUS = 7  # pixels round a hole's pixel from which it is predicted
NEIGHBOURS = 24  # of them, the nearest known ones
NUGGET = 0.01  # share of the variance taken as noise between neighbours; keeps the equations well posed
TEXTURE = 0.7  # share of the borrowed error that is added: 1 is as rough as tissue, 0 comes closest on average
CONTEXT = 40  # pixels round a hole whose covariance counts
TILE = 24  # pixels; a larger hole is filled in parts, each with a place of its own to borrow from
SHIFTS = tuple((dy * step, dx * step) for step in (10, 16, 24) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


def fill_speckle(grey: np.ndarray, hole: np.ndarray, usable: np.ndarray, texture: float = TEXTURE) -> np.ndarray:
    """The grey frame (H, W) uint8 with the pixels where ``hole`` is not 0 filled in.

    Args:
        grey: the frame.
        hole: (H, W) uint8, what is to be filled.
        usable: (H, W) uint8, not 0 where pixels are tissue that may be copied from; holes count as not usable.
        texture: share of the borrowed speckle; 0 gives the smooth prediction, the closest on average.
    """
    result = grey.astype(np.float32)
    known = (usable > 0) & (hole == 0)
    joined = cv2.dilate(hole, np.ones((9, 9), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    for label in range(1, count):
        x, y, width, height, _ = stats[label].tolist()
        for top in range(y, y + height, TILE):
            for left in range(x, x + width, TILE):
                bottom, right = min(top + TILE, y + height), min(left + TILE, x + width)
                own = (labels[top:bottom, left:right] == label) & (hole[top:bottom, left:right] > 0)
                if own.any():
                    ys, xs = np.nonzero(own)
                    _fill_tile(grey, known, ys + top, xs + left, result, texture)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def _fill_tile(
    grey: np.ndarray, known: np.ndarray, ys: np.ndarray, xs: np.ndarray, result: np.ndarray, texture: float
) -> None:
    """Fill the pixels ``ys, xs`` of ``result``, which lie close together."""
    top, left = max(0, int(ys.min()) - CONTEXT), max(0, int(xs.min()) - CONTEXT)
    rows, columns = slice(top, int(ys.max()) + CONTEXT + 1), slice(left, int(xs.max()) + CONTEXT + 1)
    near = np.ascontiguousarray(known[rows, columns])
    patch = grey[rows, columns].astype(np.float32)
    ys, xs = ys - top, xs - left
    level = _local_mean(patch, near)
    rest = np.where(near, patch - level, 0).astype(np.float32)
    offsets, use = _neighbours(near, ys, xs)
    weights = _weights(_covariance(rest, near), offsets, use)
    at = (ys[:, None] + offsets[..., 0], xs[:, None] + offsets[..., 1])  # (N, K)
    value = level[ys, xs] + (rest[at] * weights).sum(axis=1)
    if texture:
        value += texture * _borrowed(rest, near, ys, xs, at, weights)
    result[ys + top, xs + left] = value


def _local_mean(patch: np.ndarray, near: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Gaussian mean of the known pixels round every pixel."""
    weight = near.astype(np.float32)
    total = cv2.GaussianBlur(patch * weight, (0, 0), sigma)
    wide = cv2.GaussianBlur(patch * weight, (0, 0), 4 * sigma)
    share = cv2.GaussianBlur(weight, (0, 0), sigma)
    wide_share = cv2.GaussianBlur(weight, (0, 0), 4 * sigma)
    return (total + 0.02 * wide) / np.maximum(share + 0.02 * wide_share, 1e-4)


def _covariance(rest: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Covariance (4 R + 1, 4 R + 1) of the residual by lag in y and x; lag 0 in the middle."""
    reach = 2 * RADIUS
    shape = [cv2.getOptimalDFTSize(side + reach) for side in rest.shape]
    power = np.abs(np.fft.rfft2(rest, shape)) ** 2
    full = np.fft.irfft2(power, shape) / max(1, int(near.sum()))  # biased on purpose: always a valid covariance
    lags = np.arange(-reach, reach + 1)
    cov = full[np.ix_(lags, lags)]
    cov[reach, reach] *= 1 + NUGGET
    cov[reach, reach] += 0.1
    return cov


def _neighbours(near: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (N, K, 2) of the nearest known pixels of each pixel, and which of them exist (N, K)."""
    side = np.arange(-RADIUS, RADIUS + 1)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    far = (grid**2).sum(1)
    order = np.lexsort((grid[:, 1], grid[:, 0], far))
    grid = grid[order][far[order] <= RADIUS**2][1:]  # (M, 2), by distance
    height, width = near.shape
    y, x = ys[:, None] + grid[:, 0], xs[:, None] + grid[:, 1]
    valid = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    valid &= near[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    first = np.argsort(~valid, axis=1, kind="stable")[:, :NEIGHBOURS]  # (N, K)
    use = np.take_along_axis(valid, first, 1)
    return np.where(use[..., None], grid[first], 0), use


def _weights(cov: np.ndarray, offsets: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Weights (N, K) of the known neighbours; 0 for those that do not exist."""
    middle = cov.shape[0] // 2
    lag = offsets[:, :, None] - offsets[:, None]  # (N, K, K, 2)
    system = cov[lag[..., 0] + middle, lag[..., 1] + middle]
    both = use[:, :, None] & use[:, None]
    system = np.where(both, system, np.eye(use.shape[1]) * cov[middle, middle])
    target = np.where(use, cov[offsets[..., 0] + middle, offsets[..., 1] + middle], 0)
    return np.linalg.solve(system, target[..., None])[..., 0]


def _borrowed(
    rest: np.ndarray,
    near: np.ndarray,
    ys: np.ndarray,
    xs: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
) -> np.ndarray:
    """What the same prediction misses (N,) at the place nearby whose surroundings fit best; 0 where none is free."""
    height, width = near.shape
    here, share = rest[at], np.abs(weights)
    own = float((share * here**2).sum())
    best, found = np.inf, np.zeros(len(ys), np.float32)
    for dy, dx in SHIFTS:
        y, x = ys + dy, xs + dx
        if y.min() < 0 or x.min() < 0 or y.max() >= height or x.max() >= width or not near[y, x].all():
            continue
        there = (np.clip(at[0] + dy, 0, height - 1), np.clip(at[1] + dx, 0, width - 1))
        around = rest[there]
        scale = float(np.clip(np.sqrt(own / max(1e-6, float((share * around**2).sum()))), 0.5, 2))
        gap = float((share * np.abs(scale * around - here)).sum())
        if gap < best:
            best, found = gap, scale * (rest[y, x] - (around * weights).sum(axis=1))
    return found
