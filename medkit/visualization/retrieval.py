"""A query and the cases that were found for it, side by side: the query left, the nearest right of it.

Used by ``python tools/retrieve.py query --page``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CaseTile", "plot_retrieval"]

_SIDE = 1.75  # inches
_SAME, _OTHER = "#009e73", "#d55e00"


@dataclass(frozen=True)
class CaseTile:
    """A case in pictures.

    Attributes:
        views: (H, W) grey or (H, W, 3) RGB, uint8; none where the file cannot be read any more.
        lines: text above them.
        agrees: whether its label is the query's; None where either is unknown, or for the query.
    """

    views: Sequence[np.ndarray]
    lines: Sequence[str]
    agrees: bool | None = None


def plot_retrieval(query: CaseTile, found: Sequence[CaseTile]) -> Figure:
    """A column for the query and each case found, a row for each view; green text: same label, orange: another."""
    tiles = [query, *found]
    rows = max(1, *(len(tile.views) for tile in tiles))
    figure = new_figure(_SIDE * len(tiles), _SIDE * rows + 0.19 * max(len(tile.lines) for tile in tiles))
    grid = figure.subplots(rows, len(tiles), squeeze=False)
    for column, tile in enumerate(tiles):
        for row in range(rows):
            axes = grid[row, column]
            axes.set_axis_off()
            if row < len(tile.views):
                axes.imshow(tile.views[row], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        if not tile.views:
            grid[0, column].text(0.5, 0.5, "no picture", ha="center", va="center", fontsize=8, color="0.4")
        color = "black" if tile.agrees is None else _SAME if tile.agrees else _OTHER
        grid[0, column].set_title("\n".join(tile.lines), fontsize=8, color=color, parse_math=False)
    return figure
