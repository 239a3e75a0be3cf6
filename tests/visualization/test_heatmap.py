"""Heat maps: tiles at the right pixels, ranks, an empty canvas, GeoJSON as RFC 7946 and QuPath want it."""

import json
from itertools import pairwise

import numpy as np
import pytest

from medkit.visualization.heatmap import (
    Canvas,
    attention_ranks,
    canvas_of_tiles,
    paint_tiles,
    plot_heatmap,
    tiles_geojson,
)

BLANK = np.zeros((20, 30, 3), np.uint8)


def test_a_tile_is_painted_where_it_lies() -> None:
    painted = paint_tiles(Canvas(BLANK, 16.0), np.array([[160, 64]]), 64, np.array([0.7]))
    rows, columns = np.nonzero(~np.isnan(painted))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 13, 4, 7)  # x 160..224, y 64..128, by 16
    assert (painted[4:8, 10:14] == 0.7).all()
    shifted = paint_tiles(Canvas(BLANK, 16.0, (32, 16)), np.array([[160, 64]]), 64, np.array([0.7]))
    assert np.array_equal(np.nan_to_num(shifted[3:7, 8:12]), np.full((4, 4), 0.7))


def test_neighbours_leave_no_gap_overlaps_are_averaged_and_edges_are_cut() -> None:
    xs = np.arange(0, 30 * 7.3, 50)  # pixels of the canvas do not divide the tiles
    painted = paint_tiles(Canvas(BLANK, 7.3), np.stack([xs, 0 * xs], axis=1), 50, np.ones(len(xs)))
    assert not np.isnan(painted[:7]).any() and np.isnan(painted[7:]).all()
    painted = paint_tiles(Canvas(BLANK, 1.0), np.array([[0, 0], [2, 0]]), 4, np.array([1.0, 0.0]))
    assert painted[0, :7].tolist()[:6] == [1, 1, 0.5, 0.5, 0, 0] and np.isnan(painted[0, 6])
    painted = paint_tiles(Canvas(BLANK, 1.0), np.array([[28, 18], [-3, -3], [90, 90]]), 4, np.ones(3))
    assert np.argwhere(~np.isnan(painted)).tolist() == [[0, 0], [18, 28], [18, 29], [19, 28], [19, 29]]
    small = paint_tiles(Canvas(BLANK, 64.0), np.array([[640, 320]]), 8, np.ones(1))
    assert np.argwhere(~np.isnan(small)).tolist() == [[5, 10]]  # smaller than a pixel: one pixel


def test_ranks() -> None:
    assert attention_ranks(np.array([0.1, 0.7, 0.1, 0.05])) == pytest.approx([0.5, 0.875, 0.5, 0.125])
    assert attention_ranks(np.full(9, 1 / 9)).tolist() == [0.5] * 9 and attention_ranks(np.ones(1)).tolist() == [0.5]


def test_canvas_of_tiles_holds_them_all() -> None:
    coords = np.array([[1000, 5000], [9000, 6000]])
    canvas = canvas_of_tiles(coords, 500, longest=100)
    assert canvas.image.shape == (18, 100, 3) and canvas.origin == (1000, 5000)  # 8500 x 1500 by 85
    painted = paint_tiles(canvas, coords, 500, np.array([0.0, 1.0]))
    assert painted[0, 0] == 0 and painted[-1, -1] == 1


def test_geojson_is_closed_squares_with_measurements() -> None:
    coords = np.array([[0, 0], [512, 0], [0, 512], [512, 1024]])
    attention = np.array([0.1, 0.6, 0.05, 0.25], np.float32)
    ranks = attention_ranks(attention)
    found = json.loads(json.dumps(tiles_geojson(coords, 512.0, attention, ranks)))
    assert found["type"] == "FeatureCollection" and len(found["features"]) == 4
    for feature, (x, y), value, rank in zip(found["features"], coords.tolist(), attention, ranks, strict=True):
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) == 5 and ring[0] == ring[-1] and ring[0] == [x, y] and ring[2] == [x + 512, y + 512]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) / 2
        assert area == 512**2  # the order of the corners is one way round
        properties = feature["properties"]
        assert properties["objectType"] == "tile"
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in properties["classification"]["color"])
        assert properties["measurements"] == {"attention": pytest.approx(float(value)), "rank": float(rank)}
    assert found["features"][1]["properties"]["classification"]["name"] == "attention 80-90 %"
    top = tiles_geojson(coords, 512, attention, ranks, top=0.5)["features"]
    assert [one["properties"]["measurements"]["rank"] for one in top] == [0.875, 0.625]  # in the order of the tiles


def test_figure_has_two_panels_and_a_bar() -> None:
    painted = paint_tiles(Canvas(BLANK, 1.0), np.array([[2, 3]]), 6, np.array([1.0]))
    figure = plot_heatmap(Canvas(BLANK, 1.0), painted, "slide: tumour 0.9", truth=painted, note="no thumbnail")
    assert len(figure.axes) == 3 and figure.get_suptitle() == "slide: tumour 0.9"
    shown = figure.axes[1].images[1].get_array()
    assert shown.mask.sum() == 20 * 30 - 36 and shown[3, 2] == 1
