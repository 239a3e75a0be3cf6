"""Figures: they hold what they were given, they save, and they leave pyplot alone."""

import sys

import numpy as np
import pytest

from medkit.visualization import SheetTile, plot_confusion_matrix, prediction_sheet
from medkit.visualization.sheet import TRUTH, class_color

CLASSES = ("cyst", "HCC")
MATRIX = np.array([[0, 7, 3], [2, 30, 8], [5, 1, 4]])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_confusion_matrix_writes_counts_and_row_shares(tmp_path):
    figure = plot_confusion_matrix(MATRIX, CLASSES, title="test", path=tmp_path / "deep" / "matrix.png")
    axes = figure.axes[0]
    assert texts(axes) == ["", "7", "3", "2\n5%", "30\n75%", "8\n20%", "5\n50%", "1\n10%", "4\n40%"]
    assert [label.get_text() for label in axes.get_yticklabels()][1:] == list(CLASSES)
    assert (tmp_path / "deep" / "matrix.png").stat().st_size > 5000


def test_confusion_matrix_of_nothing():
    assert texts(plot_confusion_matrix(np.zeros((2, 2), int), ("lesion",)).axes[0])[-1] == "0\n0%"


def tile(channels=0, preds=2):
    shape = (60, 80, channels) if channels else (60, 80)
    boxes = np.array([[5, 5, 30, 30], [40, 20, 79, 59]], float)[:preds]
    return SheetTile(np.full(shape, 90, np.uint8), np.array([[4.0, 4, 31, 31]]), np.array([0]), boxes,
                     np.arange(preds), np.linspace(0.9, 0.5, preds), "frame 1")  # fmt: skip


def test_sheet_draws_truth_in_green_and_predictions_in_class_colours(tmp_path):
    from matplotlib.colors import to_hex

    figure = prediction_sheet(
        [tile(), tile(3), tile(preds=0)], CLASSES, path=tmp_path / "sheet.png", columns=2
    )
    first = figure.axes[0]
    assert [to_hex(p.get_edgecolor()) for p in first.patches] == [TRUTH, class_color(1), class_color(0)]
    assert texts(first) == ["cyst", "HCC 0.50", "cyst 0.90"]
    assert len(figure.axes) == 4 and len(figure.axes[2].patches) == 1
    assert (tmp_path / "sheet.png").stat().st_size > 5000


@pytest.mark.parametrize("count", [0, 1])
def test_sheet_of_few_images(count):
    assert len(prediction_sheet([tile()] * count, CLASSES).axes) == 4


def test_class_colours_never_are_the_colour_of_truth():
    assert TRUTH not in {class_color(label) for label in range(40)}


def test_pyplot_is_not_loaded():
    plot_confusion_matrix(MATRIX, CLASSES)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
