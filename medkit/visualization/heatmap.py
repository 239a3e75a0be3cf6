"""Attention over a slide: tiles painted by their rank, over a thumbnail; the same tiles as GeoJSON for QuPath.

Attention of thousands of tiles adds up to 1 and often lies on a few of them, so that its plain values make a black
picture; the rank among the slide's own tiles can be read. It says which tiles, not how much of the bag they make up:
that is in the csv and in QuPath's measurements. Used by ``python tools/heatmap.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from .figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORMAP", "Canvas", "attention_ranks", "canvas_of_tiles", "paint_tiles", "plot_heatmap", "tiles_geojson"]

COLORMAP = "turbo"  # ends in dark red: a pale end is lost on pale tissue
CANVAS_PX = 1024  # longer side of a canvas without a thumbnail
BANDS = 10  # classes of ranks in QuPath


@dataclass(frozen=True)
class Canvas:
    """A picture of a slide, or of a part of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        downsample: pixels of level 0 in one of its pixels.
        origin: (x, y) in pixels of level 0 of its upper left corner.
    """

    image: np.ndarray
    downsample: float
    origin: tuple[float, float] = (0.0, 0.0)


def attention_ranks(attention: np.ndarray) -> np.ndarray:
    """(K,) in (0, 1): the share of tiles below each, equal ones and itself counted half; .5 where all are equal."""
    return (rankdata(attention) - 0.5) / max(len(attention), 1)


def canvas_of_tiles(coords: np.ndarray, side_px: float, longest: int = CANVAS_PX) -> Canvas:
    """An empty, light grey canvas as large as the tiles' extent, for a slide without a thumbnail."""
    low = coords.min(axis=0).astype(float)  # (x, y)
    extent = coords.max(axis=0) + side_px - low
    downsample = max(float(extent.max()) / longest, 1.0)
    width, height = np.maximum(np.ceil(extent / downsample).astype(int), 1)
    return Canvas(np.full((height, width, 3), 235, np.uint8), downsample, (float(low[0]), float(low[1])))


def paint_tiles(canvas: Canvas, coords: np.ndarray, side_px: float, values: np.ndarray) -> np.ndarray:
    """(H, W) float64 of the canvas, nan where no tile lies, the mean where tiles overlap.

    Args:
        canvas: whose pixels are painted.
        coords: (K, 2) upper left corners (x, y) in pixels of level 0.
        side_px: side of a tile in the same pixels.
        values: (K,).
    """
    height, width = canvas.image.shape[:2]
    total, count = np.zeros((height, width)), np.zeros((height, width), np.int64)
    first = (coords - np.array(canvas.origin)) / canvas.downsample
    low = np.floor(first + 0.5).astype(int)
    high = np.maximum(np.floor(first + side_px / canvas.downsample + 0.5).astype(int), low + 1)  # a pixel at least
    low, high = np.maximum(low, 0), np.maximum(high, 0)
    for (x0, y0), (x1, y1), value in zip(low.tolist(), high.tolist(), values.tolist(), strict=True):
        total[y0:y1, x0:x1] += value
        count[y0:y1, x0:x1] += 1
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def plot_heatmap(
    canvas: Canvas, ranks: np.ndarray, title: str, truth: np.ndarray | None = None, note: str = ""
) -> Figure:
    """The slide beside the slide under its tiles' ranks, with a colour bar.

    Args:
        canvas: the slide.
        ranks: (H, W) as `paint_tiles` gives them, in [0, 1].
        title: line above.
        truth: (H, W) 1 where a tile is known to be positive, 0 or nan elsewhere; its outline is drawn on both sides.
        note: small line below.
    """
    height, width = ranks.shape
    figure = new_figure(10.5, float(np.clip(4.6 * height / width, 2.2, 9)) + 0.9)
    sides = figure.subplots(1, 2)
    positive = None if truth is None or not np.nansum(truth) else np.nan_to_num(truth)
    for axes in sides:
        axes.imshow(canvas.image, interpolation="nearest")
        if positive is not None:
            axes.contour(positive, [0.5], colors="black", linewidths=1.2)
        axes.set(xticks=[], yticks=[])
    drawn = sides[1].imshow(np.ma.masked_invalid(ranks), cmap=COLORMAP, vmin=0, vmax=1, alpha=0.65,
                            interpolation="nearest")  # fmt: skip
    bar = figure.colorbar(drawn, ax=sides, shrink=0.8, pad=0.01)
    bar.set_label("rank of attention among the slide's tiles", fontsize=8)
    bar.set_ticks([0, 0.5, 1], labels=["lowest", "middle", "highest"])
    figure.suptitle(title, fontsize=10)
    outlined = "" if positive is None else "outlined: positive by their labels"
    figure.supxlabel("; ".join(filter(None, [note, outlined])), fontsize=7)
    return figure


def tiles_geojson(
    coords: np.ndarray, side_px: float, attention: np.ndarray, ranks: np.ndarray, top: float = 1.0
) -> dict[str, Any]:
    """A FeatureCollection (RFC 7946) of tile objects as QuPath 0.4 and later reads and writes them.

    Every tile is a closed square in pixels of level 0 with the measurements ``attention`` and ``rank``, and of one of
    ten classes by rank, which QuPath colours and lists.

    Args:
        coords: (K, 2) upper left corners (x, y).
        side_px: side of a tile.
        attention: (K,).
        ranks: (K,) of `attention_ranks`.
        top: share of the tiles that is written, those of the highest ranks.
    """
    chosen = np.sort(np.argsort(-ranks, kind="stable")[: max(1, round(top * len(ranks)))])
    features, bands = [], _bands()
    for row in chosen.tolist():
        (x, y), side = map(_plain, coords[row]), _plain(side_px)
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        properties = {
            "objectType": "tile",
            "classification": bands[min(int(ranks[row] * BANDS), BANDS - 1)],
            "measurements": {"attention": float(attention[row]), "rank": float(ranks[row])},
        }
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _bands() -> list[dict[str, Any]]:
    """Name and colour of each tenth of the ranks; QuPath keeps one colour per name."""
    from matplotlib import colormaps

    middles = (np.arange(BANDS) + 0.5) / BANDS
    colors = np.round(255 * colormaps[COLORMAP](middles)[:, :3]).astype(int).tolist()
    step = 100 // BANDS
    names = [f"attention {low}-{low + step} %" for low in range(0, 100, step)]
    return [{"name": name, "color": color} for name, color in zip(names, colors, strict=True)]


def _plain(value: Any) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
