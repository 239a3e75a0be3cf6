"""Slices of volumes and of what an autoencoder makes of them, through the middle in three directions.

Volumes are (D, H, W) = (right-left, posterior-anterior, inferior-superior), as axes in RAS order are; slices are drawn
with the front and the top of the head up. Used by ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mid_slices", "plot_reconstructions"]

PLANES = ("sagittal", "coronal", "axial")


def mid_slices(volume: np.ndarray) -> list[np.ndarray]:
    """Sagittal (W, H), coronal (W, D) and axial (H, D) slice through the middle of a volume (D, H, W), top row first.

    Raises:
        ValueError: not three axes.
    """
    if np.ndim(volume) != 3:
        raise ValueError(f"a volume of shape {np.shape(volume)}; expected (D, H, W)")
    middle = [side // 2 for side in volume.shape]
    return [np.flipud(np.take(volume, middle[axis], axis=axis).T) for axis in range(3)]


def plot_reconstructions(
    inputs: Sequence[np.ndarray], reconstructions: Sequence[np.ndarray], titles: Sequence[str], scale: float = 4.0
) -> Figure:
    """A row for each volume: three slices of the input, the same of the reconstruction, and their difference.

    Args:
        inputs: (D, H, W) each, in [0, 1].
        reconstructions: of the same shapes.
        titles: one for each.
        scale: how many times stronger differences are drawn; red is too bright, blue too dark.
    """
    figure = new_figure(9.4, 1.35 * len(inputs) + 0.3)
    panels = figure.subplots(len(inputs), 9, squeeze=False)
    for row, (volume, made, title) in enumerate(zip(inputs, reconstructions, titles, strict=True)):
        volume, made = (np.asarray(one, np.float32) for one in (volume, made))
        parts = [*mid_slices(volume), *mid_slices(made)]
        for axes, part in zip(panels[row, :6], parts, strict=True):
            axes.imshow(part, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for axes, part in zip(panels[row, 6:], mid_slices(made - volume), strict=True):
            axes.imshow(part * scale, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        panels[row, 0].set_ylabel(title, fontsize=7)
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for column, text in ((1, "input"), (4, "reconstruction"), (7, f"difference x {scale:g}")):
        panels[0, column].set_title(text, fontsize=9)
    return figure
