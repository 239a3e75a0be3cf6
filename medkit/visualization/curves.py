"""Curves of an evaluation: precision-recall, F1 by confidence, FROC, reliability. Several runs in one plot, too.

Functions take plain arrays and return a matplotlib figure; ``python tools/report.py RUN`` puts them into its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["line_color", "plot_f1_confidence", "plot_froc", "plot_pr", "plot_reliability"]

# Okabe and Ito (2008): told apart by colour-blind readers, and on white paper
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#b8860b")
STYLES = ("-", "--", "-.", ":")
MOST_POINTS = 400  # of a line: more cannot be seen, and make the page heavy


def line_color(index: int) -> str:
    """Colour of a line."""
    return COLORS[index % len(COLORS)]


def _axes(width: float = 4.8, height: float = 3.9) -> tuple[Figure, Axes]:
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _thinned(x: np.ndarray, *ys: np.ndarray) -> tuple[np.ndarray, ...]:
    keep = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int)) if len(x) else slice(None)
    return tuple(np.asarray(one)[keep] for one in (x, *ys))


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, index: int, label: str, **more: Any) -> None:
    x, y = _thinned(np.asarray(x), np.asarray(y))
    style = STYLES[index // len(COLORS) % len(STYLES)]
    axes.plot(x, y, linestyle=style, color=line_color(index), linewidth=1.6, label=label, **more)


def plot_pr(curves: Mapping[str, np.ndarray], recalls: np.ndarray, title: str = "") -> Figure:
    """Precision over recall.

    Args:
        curves: Name -> interpolated precision ``(R,)`` at the recalls; nan (a class without lesions) is left out.
        recalls: ``(R,)``.
        title: Line above the plot.
    """
    figure, axes = _axes()
    for index, (name, precision) in enumerate(curves.items()):
        if not np.isnan(precision).all():
            _line(axes, recalls, precision, index, f"{name} (AP50 {np.nanmean(precision):.3f})")
    _unit(axes, "recall", "precision, IoU 0.5", title)
    return figure


def plot_f1_confidence(
    thresholds: np.ndarray, curves: Mapping[str, np.ndarray], marks: Mapping[str, float], title: str = ""
) -> Figure:
    """F1 over the score threshold.

    Args:
        thresholds: ``(T,)`` ascending.
        curves: Name -> F1 ``(T,)``; the one called 'macro' is drawn in black.
        marks: Label -> threshold to mark with a vertical line; a label that is a curve's name takes its colour.
        title: Line above the plot.
    """
    figure, axes = _axes()
    names = [name for name in curves if name != "macro"]
    for name, f1 in curves.items():
        if name == "macro":
            axes.plot(*_thinned(thresholds, f1), color="black", linewidth=2.2, label="macro", zorder=3)
        else:
            _line(axes, thresholds, f1, names.index(name), name)
    for label, value in marks.items():
        color = line_color(names.index(label)) if label in names else "0.35"
        said = None if label in curves else f"{label} {value:.2f}"
        axes.axvline(value, color=color, linestyle=":", linewidth=1.3, label=said)
    _unit(axes, "score threshold", "F1", title)
    return figure


def plot_froc(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], rates: np.ndarray, title: str = ""
) -> Figure:
    """Sensitivity over false positives per image, on LUNA16's logarithmic axis.

    Args:
        curves: Name -> (false positives per image, sensitivity), ascending; one of few points is drawn with marks.
        rates: The rates at which sensitivity is usually read, for the ticks.
        title: Line above the plot.
    """
    figure, axes = _axes()
    for index, (name, (false, sensitivity)) in enumerate(curves.items()):
        shown = np.maximum(false, rates[0] / 2)  # a logarithmic axis has no 0: these points lie on its left edge
        points = len(shown) <= len(rates)  # known at the rates only, and not in between
        style: dict[str, Any] = {"marker": "o"} if points else {"drawstyle": "steps-post"}
        _line(axes, shown, sensitivity, index, name, **style)
    axes.set_xscale("log", base=2)
    axes.set_xlim(rates[0] / 2, rates[-1] * 1.4)
    axes.set_xticks(rates, [f"1/{round(1 / r)}" if r < 1 else f"{r:g}" for r in rates])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    _finish(axes, "false positives per image", "sensitivity", title, legend=len(curves) > 1)
    return figure


def plot_reliability(
    edges: np.ndarray, counts: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, title: str = ""
) -> Figure:
    """Share of right predictions over their score, with the number in each bin below.

    Args:
        edges: ``(B+1,)`` limits of the bins.
        counts: ``(B,)`` predictions in each bin.
        confidence: ``(B,)`` mean score, nan in an empty bin.
        accuracy: ``(B,)`` share that is right, nan in an empty bin.
        title: Line above the plot.
    """
    figure = new_figure(4.8, 4.6)
    top, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.4, 1)})
    known = counts > 0
    width = np.diff(edges)
    top.bar(edges[:-1][known], accuracy[known], width[known], align="edge", color="#56b4e9", edgecolor="white")
    top.plot(confidence[known], accuracy[known], "o", color=COLORS[0], markersize=4, label="mean score of a bin")
    top.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="score = share right")
    below.bar(edges[:-1], counts, width, align="edge", color="0.7", edgecolor="white")
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(0)
    _finish(top, "", "share right", title)
    top.set_ylim(0, 1.02)
    _finish(below, "score", "predictions", "", legend=False)
    return figure


def _unit(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _finish(axes, x, y, title)


def _finish(axes: Axes, x: str, y: str, title: str, legend: bool = True) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10)
    if legend and axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, framealpha=0.85)

