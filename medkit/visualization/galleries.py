"""Galleries: what a report points at, cut out of its image, with all boxes drawn and the one in question dashed.

Used by ``python tools/report.py RUN``: worst misses, worst false positives, confusions, suspected label errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .figures import save_figure
from .sheet import SheetTile, prediction_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GalleryItem", "plot_gallery"]

MARGIN, SMALLEST_SHARE = 2.2, 0.45  # cut-out: times the box's longer side, and at least this share of the image
FOCUS = "#ffffff"


@dataclass(frozen=True)
class GalleryItem:
    """A whole image with its boxes, and the box ``(4,)`` xyxy that it is shown for."""

    tile: SheetTile
    focus: np.ndarray


def plot_gallery(
    items: Sequence[GalleryItem],
    classes: Sequence[str],
    title: str = "",
    path: str | Path | None = None,
    columns: int = 4,
) -> Figure:
    """Draw the cut-outs.

    Args:
        items: What to show, the first one top left.
        classes: Class names, in the order of the labels.
        title: Line above.
        path: File to save to; None saves nothing.
        columns: Cut-outs per row.
    """
    cut = [cut_out(item) for item in items]
    figure = prediction_sheet([item.tile for item in cut], classes, title=title, columns=columns)
    for axes, item in zip(figure.axes, cut, strict=False):
        _mark(axes, item.focus)
    if path is not None:
        save_figure(figure, path, dpi=85)
    return figure


def cut_out(item: GalleryItem) -> GalleryItem:
    """A square round the box in question, moved inside the image where it can be; boxes elsewhere are left out."""
    tile, focus = item.tile, np.asarray(item.focus, float)
    height, width = tile.image.shape[:2]
    side = max(MARGIN * (focus[2:] - focus[:2]).max(), SMALLEST_SHARE * min(height, width))
    size = np.array([min(side, width), min(side, height)]).round().astype(int)  # (w, h)
    corner = ((focus[:2] + focus[2:]) / 2 - size / 2).round().astype(int)
    x, y = np.clip(corner, 0, [width - size[0], height - size[1]])
    offset = np.array([x, y, x, y], float)
    gt, pred = (_inside(boxes - offset, size) for boxes in (tile.gt_bboxes, tile.pred_bboxes))
    shown = replace(
        tile,
        image=tile.image[y : y + size[1], x : x + size[0]],
        gt_bboxes=tile.gt_bboxes[gt] - offset,
        gt_labels=tile.gt_labels[gt],
        pred_bboxes=tile.pred_bboxes[pred] - offset,
        pred_labels=tile.pred_labels[pred],
        pred_scores=tile.pred_scores[pred],
    )
    return GalleryItem(shown, focus - offset)


def _inside(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mask of boxes ``(N, 4)`` that show in a picture of a size (w, h)."""
    return np.logical_and((boxes[:, 2:] > 0).all(axis=1), (boxes[:, :2] < size).all(axis=1))


def _mark(axes, focus: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = focus + np.array([-4.5, -4.5, 3.5, 3.5])
    mark = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=FOCUS, linewidth=1.3)
    mark.set_linestyle((0, (4, 3)))
    axes.add_patch(mark)
