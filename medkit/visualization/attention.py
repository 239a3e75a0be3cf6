"""What a Vision Transformer looks at: attention maps over the images, one row each.

As figure 1 of Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (2021): the attention of the
class token to the patches in the last block. It shows where features come from, not why a class was named.
Command: ``python tools/features.py CONFIG CHECKPOINT OUT.npy --attention attention.png``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medkit.errors import DatasetError

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_attention"]


def plot_attention(
    images: Sequence[np.ndarray],
    maps: np.ndarray,
    names: Sequence[str] = (),
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw a row for each image: the image, the mean of the heads, and each head, every map on its own scale.

    Args:
        images: (H, W, 3) uint8 in RGB, or (H, W) grey; as the network sees them, in size and shape.
        maps: (B, heads, h, w) attention, what `Encoder.attention` returns.
        names: written at the rows.
        title: line above the figure.
        path: file to save to; None saves nothing.

    Raises:
        DatasetError: images and maps do not fit each other.
    """
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 4 or len(maps) != len(images) or not len(images):
        raise DatasetError(f"{len(images)} images and maps of shape {maps.shape}; expected (images, heads, h, w)")
    if not np.isfinite(maps).all():
        raise DatasetError("attention maps hold NaN or infinity; the network diverged, or its input is broken")
    heads = maps.shape[1]
    figure = new_figure(1.3 * (heads + 2) + 0.4, 1.35 * len(images) + 0.5)
    grid = figure.subplots(len(images), heads + 2, squeeze=False)
    headings = ("image", "mean", *(f"head {head + 1}" for head in range(heads)))
    for row, image, of_heads in zip(grid, images, maps, strict=True):
        gray = np.asarray(image) if np.ndim(image) == 2 else np.asarray(image).mean(axis=2)
        row[0].imshow(image, cmap="gray" if np.ndim(image) == 2 else None)
        for axes, attention in zip(row[1:], (of_heads.mean(axis=0), *of_heads), strict=True):
            height, width = gray.shape
            axes.imshow(gray, cmap="gray", vmin=0, vmax=255)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(attention, cmap="inferno", alpha=0.6, extent=extent, interpolation="nearest")
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=8)
    for axes, name in zip(grid[:, 0], names, strict=False):
        axes.set_ylabel(name, fontsize=7)
    figure.suptitle(title, fontsize=10)
    if path is not None:
        save_figure(figure, path)
    return figure
