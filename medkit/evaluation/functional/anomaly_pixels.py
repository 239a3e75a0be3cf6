"""Anomaly maps against masks: pixel AUROC, AUPRO (Bergmann et al., MVTec AD, IJCV 2021) and Dice at a cut-off.

All are over the pixels of the whole set at once; healthy images count with empty masks. Exact over every observed value
of the map, equal values as one step. Used by `medkit.AnomalyMetric` and ``python tools/benchmark_anomaly.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .grading import auroc

__all__ = ["FPR_LIMIT", "PIXEL_METRICS", "aupro", "best_dice_cutoff", "dice_at", "pixel_auroc", "pixel_metrics"]

PIXEL_METRICS = ("pixel_auroc", "aupro", "dice")
FPR_LIMIT = 0.3
_NEIGHBOURS = np.ones((3, 3), bool)  # regions join over corners, as in MVTec's own code

Images = Sequence[np.ndarray] | np.ndarray  # N arrays (H, W)


def pixel_auroc(maps: Images, masks: Images) -> float:
    """AUROC of pixels in ``masks`` against all others; nan where one kind is missing."""
    values, inside = _flat(maps, masks)
    return float(auroc(inside.astype(np.int64), values))


def aupro(maps: Images, masks: Images, fpr_limit: float = FPR_LIMIT) -> float:
    """Area under the per-region overlap, over the false positive rate up to a limit, divided by the limit.

    The overlap is the mean, over the connected regions of all masks, of the share of a region that is found. So a small
    lesion counts as much as a large one.

    Args:
        maps: N maps (H, W).
        masks: N masks (H, W), not 0 where anomalous.
        fpr_limit: in (0, 1]; 0.3 is customary.

    Returns:
        In [0, 1]; nan without a region or without a healthy pixel.
    """
    values, inside = _flat(maps, masks)
    found, num_regions = _region_shares(masks)
    num_healthy = len(inside) - int(inside.sum())
    if not num_regions or not num_healthy:
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=np.nan) != 0)  # equal values are one step
    fpr = np.concatenate([[0.0], np.cumsum(~inside[order])[last] / num_healthy])
    overlap = np.concatenate([[0.0], np.cumsum(found[order])[last] / num_regions])
    keep = fpr <= fpr_limit
    fpr_kept = np.append(fpr[keep], fpr_limit)
    overlap_kept = np.append(overlap[keep], np.interp(fpr_limit, fpr, overlap))
    return float((np.diff(fpr_kept) * (overlap_kept[1:] + overlap_kept[:-1]) / 2).sum() / fpr_limit)


def dice_at(maps: Images, masks: Images, cutoff: float) -> float:
    """Dice of pixels that reach the cut-off, over the set; nan where neither mask nor map marks a pixel."""
    values, inside = _flat(maps, masks)
    called = values >= cutoff
    total = int(called.sum()) + int(inside.sum())
    return 2 * int((called & inside).sum()) / total if total else float("nan")


def best_dice_cutoff(maps: Images, masks: Images) -> float:
    """Map value of the highest `dice_at`; for validation images, since on test images it would be optimistic.

    Raises:
        ValueError: no mask holds a pixel.
    """
    values, inside = _flat(maps, masks)
    if not inside.any():
        raise ValueError(f"the masks of {len(masks)} images are empty; a cut-off for pixels needs an outlined anomaly")
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=np.nan) != 0)
    dice = 2 * np.cumsum(inside[order])[last] / (last + 1 + inside.sum())
    return float(values[order][last][np.argmax(dice)])


def pixel_metrics(maps: Images, masks: Images, cutoff: float) -> dict[str, float]:
    """All of `PIXEL_METRICS`."""
    return {
        "pixel_auroc": pixel_auroc(maps, masks),
        "aupro": aupro(maps, masks),
        "dice": dice_at(maps, masks, cutoff),
    }


def _flat(maps: Images, masks: Images) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(P,)`` and whether each pixel is in a mask ``(P,)``."""
    if len(maps) != len(masks) or not len(maps):
        raise ValueError(f"{len(maps)} maps and {len(masks)} masks; give one mask for each map, and at least one")
    for number, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        if np.shape(one) != np.shape(mask) or np.ndim(one) != 2:
            raise ValueError(f"map {number} is {np.shape(one)}, its mask {np.shape(mask)}; both must be (H, W) alike")
    values = np.concatenate([np.ravel(one) for one in maps])
    if not np.isfinite(values).all():
        raise ValueError("a map holds NaN or infinity: the training diverged; lower its lr")
    return values, np.concatenate([np.ravel(mask) for mask in masks]).astype(bool)


def _region_shares(masks: Images) -> tuple[np.ndarray, int]:
    """For each pixel ``(P,)`` one over the size of its region, 0 outside, and the number of regions."""
    shares, total = [], 0
    for mask in masks:
        regions, count = ndimage.label(np.asarray(mask).astype(bool), structure=_NEIGHBOURS)
        sizes = np.bincount(regions.ravel())
        weight = np.concatenate([[0.0], 1 / sizes[1:]])
        shares.append(weight[regions].ravel())
        total += count
    return np.concatenate(shares), total
