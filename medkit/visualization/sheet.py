"""A sheet of predictions: images in a grid, ground truth in green, predictions in their class's colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SheetTile", "class_color", "prediction_sheet"]

TRUTH = "#2fe35b"
# no green among them, and told apart by colour-blind readers
PALETTE = ("#ff9f1c", "#4cc9f0", "#ff4d6d", "#f4e04d", "#c77dff", "#ffffff", "#8d99ff", "#e07a5f")


@dataclass(frozen=True)
class SheetTile:
    """One image of a sheet.

    Attributes:
        image: ``(H, W)`` or RGB ``(H, W, 3)`` uint8.
        gt_bboxes: ``(G, 4)`` xyxy in pixels, with ``gt_labels`` ``(G,)``.
        pred_bboxes: ``(P, 4)`` xyxy in pixels, with ``pred_labels`` ``(P,)`` and ``pred_scores`` ``(P,)``.
        title: Line above the image.
    """

    image: np.ndarray
    gt_bboxes: np.ndarray
    gt_labels: np.ndarray
    pred_bboxes: np.ndarray
    pred_labels: np.ndarray
    pred_scores: np.ndarray
    title: str = ""


def class_color(label: int) -> str:
    """Colour of a class, the same in every picture."""
    return PALETTE[int(label) % len(PALETTE)]


def prediction_sheet(
    tiles: Sequence[SheetTile],
    classes: Sequence[str],
    title: str = "",
    path: str | Path | None = None,
    columns: int = 4,
) -> Figure:
    """Draw images with their true and predicted boxes.

    Args:
        tiles: What to draw, row by row.
        classes: Class names, in the order of the labels.
        title: Line above the sheet.
        path: File to save to; None saves nothing.
        columns: Images per row.
    """
    rows = max(1, -(-len(tiles) // columns))
    aspect = np.median([tile.image.shape[0] / tile.image.shape[1] for tile in tiles] or [1.0])
    figure = new_figure(3.4 * columns, (3.4 * aspect + 0.3) * rows + 0.9)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes:
        axes.axis("off")
    for axes, tile in zip(all_axes, tiles, strict=False):
        _draw_tile(axes, tile, classes)
    _legend(figure, classes)
    figure.suptitle(title, fontsize=12)
    if path is not None:
        save_figure(figure, path, dpi=110)
    return figure


def _draw_tile(axes: Axes, tile: SheetTile, classes: Sequence[str]) -> None:
    height, width = tile.image.shape[:2]
    axes.imshow(tile.image, cmap="gray", vmin=0, vmax=255)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    for box, label in zip(tile.gt_bboxes, tile.gt_labels, strict=True):
        _draw_box(axes, box, TRUTH, 2.4)
        low = box[3] > 0.93 * height  # no room below: write inside the box
        _write(axes, box, min(box[3], height), classes[int(label)], TRUTH, "bottom" if low else "top")
    order = np.argsort(tile.pred_scores, kind="stable")  # the surest on top
    for index in order:
        box, label = tile.pred_bboxes[index], int(tile.pred_labels[index])
        _draw_box(axes, box, class_color(label), 1.6)
        high = box[1] < 0.07 * height
        text = f"{classes[label]} {tile.pred_scores[index]:.2f}"
        _write(axes, box, max(box[1], 0), text, class_color(label), "top" if high else "bottom")
    axes.set_title(tile.title, fontsize=8.5)


def _write(axes: Axes, box: np.ndarray, y: float, text: str, color: str, side: str) -> None:
    """Write text at height y from the box's left edge, or up to its right edge near the image's border."""
    width = axes.get_xlim()[1]
    to_left = box[0] > 0.75 * width
    x = min(box[2], width) if to_left else max(box[0], 0)
    shade = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 0.8}
    ha = "right" if to_left else "left"
    axes.text(x, y, text, color=color, fontsize=8, ha=ha, va=side, clip_on=True, bbox=shade)


def _draw_box(axes: Axes, box: np.ndarray, color: str, linewidth: float) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(v) for v in box)
    axes.add_patch(
        Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=linewidth)
    )


def _legend(figure: Figure, classes: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor="none", edgecolor=TRUTH, linewidth=2.4, label="ground truth")]
    handles += [
        Patch(facecolor="none", edgecolor=class_color(label), linewidth=1.6, label=f"predicted {name}")
        for label, name in enumerate(classes)
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    legend.get_frame().set_facecolor("0.25")
    for text in legend.get_texts():
        text.set_color("white")
