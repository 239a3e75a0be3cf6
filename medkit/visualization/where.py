"""Where and at what size lesions are missed: recall by lesion size, and a map of the misses over the image.

Functions take plain arrays and return a matplotlib figure; ``python tools/report.py RUN`` puts them into its page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_miss_map", "plot_size_recall"]

FEWEST = 3  # lesions in a cell of the map before a share of them says anything


def plot_size_recall(
    edges: np.ndarray, found: np.ndarray, low: np.ndarray, high: np.ndarray, named: np.ndarray, counts: np.ndarray
) -> Figure:
    """Bars of the share found, with intervals, and of the share named rightly.

    Args:
        edges: ``(B+1,)`` limits of the bins, root of the box's area in per cent of that of the image.
        found: ``(B,)`` share of the lesions found, with the ends ``low`` and ``high`` ``(B,)`` of its interval.
        low: See ``found``.
        high: See ``found``.
        named: ``(B,)`` share found and named rightly.
        counts: ``(B,)`` lesions.
    """
    figure = new_figure(5.6, 3.9)
    axes = figure.add_subplot()
    x = np.arange(len(counts))
    axes.bar(x - 0.2, found, 0.38, color="#56b4e9", label="found")
    axes.bar(x + 0.2, named, 0.38, color="#0072b2", label="found and named rightly")
    ends = np.maximum(np.stack([found - low, high - found]), 0)
    axes.errorbar(x - 0.2, found, ends, fmt="none", ecolor="0.2", capsize=3)
    ranges = [f"{a:.1f} to {b:.1f}\nn = {n}" for a, b, n in zip(edges, edges[1:], counts, strict=False)]
    axes.set_xticks(x, ranges, fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("side of the lesion in % of that of the image (roots of the areas)")
    axes.set_ylabel("share of the lesions")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    return figure


def plot_miss_map(lesions: np.ndarray, misses: np.ndarray) -> Figure:
    """The image cut into cells: lesions in each, and the share of them that was missed.

    Args:
        lesions: ``(rows, columns)`` lesions whose centre lies in the cell.
        misses: ``(rows, columns)`` those of them that were missed.
    """
    figure = new_figure(9.2, 3.6)
    left, right = figure.subplots(1, 2)
    shares = np.where(lesions >= FEWEST, misses / np.maximum(lesions, 1), np.nan)
    drawn = (
        (left, lesions.astype(float), "Blues", None, "lesions", [[str(n) for n in row] for row in lesions]),
        (right, shares, "Reds", 1.0, f"share missed (cells of {FEWEST} lesions or more)",
         [[f"{m}/{n}" if n else "" for m, n in zip(*rows, strict=True)] for rows in zip(misses, lesions, strict=True)]),
    )  # fmt: skip
    for axes, values, cmap, top, title, texts in drawn:
        image = axes.imshow(values, cmap=cmap, vmin=0, vmax=top, aspect="auto")
        axes.set_facecolor("0.94")
        limit = top or values.max(initial=1)
        for (row, column), text in np.ndenumerate(np.array(texts, dtype=object)):
            dark = values[row, column] > 0.6 * limit  # False for nan
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "0.15")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([-0.5, values.shape[1] / 2 - 0.5, values.shape[1] - 0.5], ["left", "middle", "right"])
        axes.set_yticks([-0.5, values.shape[0] / 2 - 0.5, values.shape[0] - 0.5], ["top", "middle", "bottom"])
        figure.colorbar(image, ax=axes, shrink=0.85)
    return figure
