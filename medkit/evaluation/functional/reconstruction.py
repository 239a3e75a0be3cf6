"""How far is a reconstructed volume from the original? RMSE in per cent of the intensity range, whole and in the head.

Onga et al. 2019 (arXiv 1912.01824) print an RMSE in per cent and do not define it. Here it is
``100 * sqrt(mean((x - y)^2))`` with intensities in [0, 1], of one volume; sets report the mean over volumes. More than
half of a skull-stripped volume is empty and easy, so the same is given within the brain. Command:
``python tools/crossval.py CONFIG``.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["BRAIN_THR", "brain_mask", "rmse_percent"]

BRAIN_THR = 0.05  # of the intensity range


def rmse_percent(volume: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray | None = None) -> float:
    """RMSE of a volume (D, H, W) in [0, 1], in per cent, over all voxels or those of ``mask`` (D, H, W) bool.

    Raises:
        ValueError: shapes differ, or the mask is empty.
    """
    volume, reconstruction = np.asarray(volume, np.float64), np.asarray(reconstruction, np.float64)
    shapes = {volume.shape, reconstruction.shape, volume.shape if mask is None else np.asarray(mask).shape}
    if len(shapes) > 1:
        raise ValueError(f"volume, reconstruction and mask have the shapes {sorted(shapes)}; expected one shape")
    error = np.square(volume - reconstruction)
    if mask is not None:
        error = error[np.asarray(mask, bool)]
    if not error.size:
        raise ValueError("the mask is empty, so there is nothing to measure in it; is the volume constant?")
    return float(100 * np.sqrt(error.mean()))


def brain_mask(volume: np.ndarray, threshold: float = BRAIN_THR) -> np.ndarray:
    """Voxels (D, H, W) bool of the largest connected part over ``threshold``, holes (ventricles) filled."""
    parts, count = ndimage.label(np.asarray(volume) > threshold)
    if not count:
        return np.zeros(np.shape(volume), bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # what lies under the threshold
    return ndimage.binary_fill_holes(parts == sizes.argmax())
