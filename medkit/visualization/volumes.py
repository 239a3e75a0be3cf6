"""Slices of volumes and of what an autoencoder makes of them, through the middle in three directions; codes as a map.

Volumes are (D, H, W) = (right-left, posterior-anterior, inferior-superior), as axes in RAS order are; slices are drawn
with the front and the top of the head up. Used by ``python tools/crossval.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .embedding import embed
from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["mid_slices", "plot_codes", "plot_reconstructions"]

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


def plot_codes(
    points: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str], seed: int = 0, row_height: float = 3.0
) -> Figure:
    """t-SNE of codes, a row for each model: coloured by class, and by scanner where there are several.

    Args:
        points: name of the model -> ``codes`` (N, K), ``labels`` (N,) with -1 unknown, ``scanners`` (N,) str and
            ``held_out`` (N,) bool; held-out scans are drawn large with a rim.
        classes: names by label.
        seed: of t-SNE.
        row_height: inches of a row.
    """
    scanners = sorted({str(name) for one in points.values() for name in one["scanners"]})
    columns = 2 if len(scanners) > 1 else 1
    figure = new_figure(4.2 * columns, row_height * len(points) + 0.4)
    panels = figure.subplots(len(points), columns, squeeze=False)
    for row, (name, one) in enumerate(points.items()):
        places = embed(one["codes"], seed=seed, metric="euclidean")  # (N, 2)
        named = np.array([classes[label] if label >= 0 else "unknown" for label in one["labels"].tolist()])
        _scatter(panels[row, 0], places, named, [*classes, "unknown"], one["held_out"], 0)
        panels[row, 0].set_ylabel(name, fontsize=8)
        if columns == 2:
            _scatter(panels[row, 1], places, one["scanners"].astype(str), scanners, one["held_out"], 4)
    figure.supxlabel("t-SNE, first fold: small = training scans, ringed = held out; distances mean nothing", fontsize=8)
    return figure


def _scatter(
    axes: Axes, places: np.ndarray, groups: np.ndarray, names: Sequence[str], held_out: np.ndarray, first: int
) -> None:
    """Points in the colours of their groups, from the ``first`` colour on."""
    for index, name in enumerate(names):
        of_group, color = groups == name, f"C{first + index}"
        title: str | None = name or "not said"  # once, though drawn twice
        for side, size, rim in ((True, 30, "black"), (False, 10, "none")):
            x, y = places[of_group & (held_out == side)].T
            if len(x):
                axes.scatter(x, y, s=size, color=color, edgecolors=rim, linewidths=0.7, label=title, zorder=1 + side)
                title = None
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize=7, loc="best", framealpha=0.6)
