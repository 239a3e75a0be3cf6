"""A training as a picture: losses and metrics by epoch, with the epochs at which stages were released.

Drawn while training (results.png in the run folder) and by tools/report.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .curves import line_color
from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_training"]

METRICS = {
    "coco/mAP": "mAP",
    "coco/mAP_50": "AP50",
    "lesion/precision": "precision (macro)",
    "lesion/recall": "recall (macro)",
    "lesion/f1": "F1 (macro)",
}
NOT_PLOTTED = ("epoch", "split", "iter", "lr")

Row = Mapping[str, float | str]


def plot_training(
    rows: Sequence[Row], releases: Sequence[tuple[int, str]] = (), title: str = "", path: str | Path | None = None
) -> Figure:
    """Draw metrics.csv.

    Args:
        rows: Its rows; 'epoch' a number, 'split' 'train' or 'val'.
        releases: (first epoch in which a part trains, name of the part).
        title: Line above the plot.
        path: File to save to; None saves nothing.
    """
    train = [row for row in rows if row["split"] == "train"]
    val = [row for row in rows if row["split"] == "val"]
    monitors = [name for name in _names(train) if name.startswith("selfsup/") and not name.endswith("rank")]
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2, sharex=True)
    _draw(left, train, {name: name for name in _names(train) if "loss" in name})
    if monitors and not val:
        _draw(right, train, {name: name for name in monitors})
    else:
        _draw(right, val, _metrics(val))
    titles = ("loss, mean of the epoch", "monitors of the pre-training" if monitors and not val else "validation")
    for axes, heading in zip((left, right), titles, strict=True):
        _mark_releases(axes, releases)
        axes.set_title(heading, fontsize=10, pad=34 if releases else 6)  # room for the names of what is released
    figure.suptitle(title, fontsize=11)
    if path is not None:
        save_figure(figure, path)
    return figure


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name not in NOT_PLOTTED))


def _metrics(rows: Sequence[Row]) -> dict[str, str]:
    """Those that medkit's metric gives; else, of another metric, whatever there is."""
    names = _names(rows)
    return {name: said for name, said in METRICS.items() if name in names} or {name: name for name in names[:6]}


def _draw(axes: Axes, rows: Sequence[Row], named: Mapping[str, str]) -> None:
    for index, (name, label) in enumerate(named.items()):
        points = [(float(row["epoch"]), float(row[name])) for row in rows if name in row]
        if points:
            [line] = axes.plot(*zip(*points, strict=True), "o-", markersize=3, linewidth=1.5, label=label)
            line.set_color(line_color(index))
    axes.set_xlabel("epoch")
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)  # below: it hides no point
    else:
        axes.text(0.5, 0.5, "nothing yet", transform=axes.transAxes, ha="center", color="0.5")


def _mark_releases(axes: Axes, releases: Sequence[tuple[int, str]]) -> None:
    for epoch, name in releases:
        axes.axvline(epoch - 0.5, color="0.45", linestyle=":", linewidth=1.2)
        axes.text(epoch - 0.5, 1.01, name, transform=axes.get_xaxis_transform(), rotation=35, fontsize=7,
                  va="bottom", ha="left", color="0.35")  # fmt: skip
