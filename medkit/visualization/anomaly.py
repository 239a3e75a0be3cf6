"""Pictures of anomaly detection: ROC curves, histograms of scores, heat maps over images, galleries.

Used by ``python tools/benchmark_anomaly.py`` and ``python tools/score.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .curves import line_color
from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AnomalyTile", "heat_overlay", "map_range", "plot_anomaly_gallery", "plot_roc", "plot_score_histograms"]

HEALTHY_COLOR, ANOMALOUS_COLOR = "#56b4e9", "#d55e00"
STRONGEST = 0.65  # share of the heat map's colour where it is hottest


@dataclass(frozen=True)
class AnomalyTile:
    """An image with its map: image (H, W, 3) uint8 BGR, map (H, W), score, label (0, 1, -1), mask (H, W) or None."""

    image: np.ndarray
    anomaly_map: np.ndarray
    score: float
    label: int
    mask: np.ndarray | None = None


def heat_overlay(image: np.ndarray, anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    """Copy of an image (H, W, 3) uint8 BGR with its map in colour over it: clear at ``low``, strongest at ``high``.

    Args:
        image: of any size; the map is brought to it.
        anomaly_map: (H, W).
        low: map value that leaves the image as it is.
        high: map value of the strongest colour. One pair for all images makes them comparable.
    """
    height, width = image.shape[:2]
    resized = cv2.resize(np.asarray(anomaly_map, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = np.clip((resized - low) / max(high - low, 1e-12), 0, 1)  # (H, W)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    share = (STRONGEST * heat)[..., None]
    return (image * (1 - share) + colour * share).round().astype(np.uint8)


def map_range(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Median and 99.5 % quantile of all values: the range that `heat_overlay` shows."""
    values = np.concatenate([np.ravel(one) for one in maps])
    low, high = np.quantile(values, [0.5, 0.995])
    return float(low), float(high)


def plot_roc(curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], areas: Mapping[str, float]) -> Figure:
    """ROC curves of several methods: the mean over seeds as a line, their range as a band.

    Args:
        curves: method -> (fpr, tpr) of each seed, both ascending from 0 to 1.
        areas: method -> AUROC, for the legend; the highest stands first.
    """
    figure = new_figure(5.4, 4.6)
    axes = figure.add_subplot()
    grid = np.linspace(0, 1, 201)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for index, name in enumerate(sorted(curves, key=lambda name: -areas[name])):
        lines = np.stack([_on_grid(grid, fpr, tpr) for fpr, tpr in curves[name]])  # (S, 201)
        style = ("-", "--", "-.")[index // 8 % 3]
        label = f"{name} ({areas[name]:.3f})"
        axes.plot(grid, lines.mean(axis=0), style, color=line_color(index), linewidth=1.6, label=label)
        if len(lines) > 1:
            band = lines.min(axis=0), lines.max(axis=0)
            axes.fill_between(grid, *band, color=line_color(index), alpha=0.1, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="1 - specificity", ylabel="sensitivity")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="0.92")
    axes.legend(fontsize=7.5, loc="lower right", title="AUROC", title_fontsize=8)
    return figure


def plot_score_histograms(
    scores: Mapping[str, np.ndarray], labels: np.ndarray, cutoffs: Mapping[str, float], columns: int = 3
) -> Figure:
    """Scores of healthy and anomalous images, one panel for each method, the cut-off as a line.

    Args:
        scores: method -> ``(N,)``.
        labels: ``(N,)`` of 0 and 1.
        cutoffs: method -> cut-off.
        columns: panels in a row.
    """
    rows = -(-len(scores) // columns)
    figure = new_figure(3.1 * min(columns, len(scores)), 2.2 * rows)
    panels = figure.subplots(rows, min(columns, len(scores)), squeeze=False).ravel()
    for axes, (name, values) in zip(panels, scores.items(), strict=False):
        bins = np.histogram_bin_edges(values, bins=24)
        for label, text, color in ((0, "healthy", HEALTHY_COLOR), (1, "anomalous", ANOMALOUS_COLOR)):
            axes.hist(values[labels == label], bins=bins, density=True, alpha=0.6, color=color, label=text)
        axes.axvline(cutoffs[name], color="0.2", linestyle="--", linewidth=1, label="cut-off")
        axes.set_title(name, fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in panels[len(scores) :]:
        axes.remove()
    panels[0].legend(fontsize=7)
    return figure


def plot_anomaly_gallery(tiles: Sequence[AnomalyTile], title: str, span: tuple[float, float] | None = None) -> Figure:
    """Images above, with their maps over them below; a mask is outlined in both.

    Args:
        tiles: what to show, in order.
        title: line above.
        span: map values without and with full colour; default `map_range` of what is shown.
    """
    low, high = span or map_range([tile.anomaly_map for tile in tiles])
    figure = new_figure(1.5 * len(tiles), 3.7)
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(2, len(tiles), squeeze=False)
    for column, tile in enumerate(tiles):
        truth = {0: "healthy", 1: "anomalous"}.get(tile.label, "unknown")
        color = ANOMALOUS_COLOR if tile.label == 1 else "black"
        panels[0, column].set_title(f"{truth}\n{tile.score:.4g}", fontsize=8, color=color)
        for axes, picture in zip(
            panels[:, column], (tile.image, heat_overlay(tile.image, tile.anomaly_map, low, high)), strict=True
        ):
            axes.imshow(picture[..., ::-1])
            axes.set_axis_off()
            if tile.mask is not None and np.asarray(tile.mask).any():
                axes.contour(np.asarray(tile.mask, float), levels=[0.5], colors="#00e5ff", linewidths=0.8)
    return figure


def _on_grid(grid: np.ndarray, fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """The curve at the grid's rates; of several points at one rate the highest."""
    last = np.flatnonzero(np.diff(fpr, append=np.inf) > 0)
    line = np.interp(grid, fpr[last], tpr[last])
    line[0] = 0
    return line
