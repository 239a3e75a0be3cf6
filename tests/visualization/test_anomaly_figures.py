"""Pictures of anomaly detection."""

import numpy as np

from medkit.visualization.anomaly import AnomalyTile, heat_overlay, map_range, plot_anomaly_gallery, plot_roc


def test_heat_leaves_the_image_where_the_map_is_low() -> None:
    image = np.full((16, 20, 3), 100, np.uint8)
    one = np.zeros((8, 10), np.float32)
    one[:, 8:] = 2.0
    shown = heat_overlay(image, one, 0.5, 1.5)
    assert shown.shape == image.shape
    np.testing.assert_array_equal(shown[:, :12], image[:, :12])
    assert np.abs(shown[:, 18:].astype(int) - 100).max() > 40
    assert map_range([one])[0] == 0 and map_range([one])[1] == 2


def test_a_roc_band_spans_the_seeds() -> None:
    line = np.linspace(0, 1, 5)
    figure = plot_roc({"a": [(line, line), (line, np.sqrt(line))], "b": [(line, line)]}, {"a": 0.6, "b": 0.5})
    axes = figure.axes[0]
    assert len(axes.collections) == 1, "one band: b has one seed"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a (0.600)", "b (0.500)"]


def test_a_gallery_tells_the_truth_above_each_image() -> None:
    tiles = [AnomalyTile(np.zeros((8, 8, 3), np.uint8), np.eye(8), 0.5, label) for label in (0, 1, -1)]
    figure = plot_anomaly_gallery(tiles, "title")
    assert [axes.get_title().split("\n")[0] for axes in figure.axes[:3]] == ["healthy", "anomalous", "unknown"]
