"""Confusion matrix as a picture: counts, and the share of the true class in per cent and as colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_confusion_matrix"]


def plot_confusion_matrix(
    matrix: np.ndarray, classes: Sequence[str], title: str = "", path: str | Path | None = None
) -> Figure:
    """Draw a confusion matrix.

    Args:
        matrix: ``(C+1, C+1)`` counts; row = truth, column = prediction, index 0 = None.
        classes: The C class names.
        title: Line above the picture.
        path: File to save to; None saves nothing.
    """
    matrix = np.asarray(matrix)
    labels = ["None", *classes]
    figure = new_figure(2.4 + 0.95 * len(labels), 1.7 + 0.8 * len(labels))
    axes = figure.add_subplot()
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)  # (C+1, C+1)
    shares[0] = 0.0  # over-detections are no share of anything: there is no count of 'nothing here'
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    _write_cells(axes, matrix, shares)
    axes.set_xticks(range(len(labels)), ["None\n(missed)", *classes], rotation=35, ha="right")
    axes.set_yticks(range(len(labels)), ["None\n(over-detection)", *classes])
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=10)
    axes.axhline(0.5, color="0.45", linewidth=1)
    axes.axvline(0.5, color="0.45", linewidth=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.85)
    if path is not None:
        save_figure(figure, path)
    return figure


def _write_cells(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    for row in range(len(matrix)):
        for column in range(len(matrix)):
            text = (
                f"{matrix[row, column]}" if row == 0 else f"{matrix[row, column]}\n{shares[row, column]:.0%}"
            )
            color = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, "" if row == column == 0 else text, ha="center", va="center", color=color,
                      fontsize=9, fontweight="bold" if row == column else "normal")  # fmt: skip
