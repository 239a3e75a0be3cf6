"""A query and what was found, drawn: a column each, a row for each view, names as they are."""

import numpy as np

from medkit.visualization.retrieval import CaseTile, plot_retrieval


def views(number: int, shape: tuple[int, ...] = (8, 6)) -> list[np.ndarray]:
    return [np.full(shape, 40 * i, np.uint8) for i in range(number)]


def test_columns_are_cases_and_rows_views(tmp_path) -> None:
    found = [CaseTile(views(3), ["1: distance 0.5", "AD"], True), CaseTile(views(3), ["2", "CN"], False)]
    figure = plot_retrieval(CaseTile(views(3), ["query", "cost $x_1$ and $"]), found)
    grid = np.array(figure.axes).reshape(3, 3)
    assert [axes.get_title() for axes in grid[0]] == ["query\ncost $x_1$ and $", "1: distance 0.5\nAD", "2\nCN"]
    colors = [axes.title.get_color() for axes in grid[0]]
    assert colors[0] == "black" and len(set(colors)) == 3
    assert [axes.images[0].get_array().max() for axes in grid[:, 1]] == [0, 40, 80]
    figure.savefig(tmp_path / "a.png")  # a dollar sign in a name is no formula


def test_colour_images_and_lost_pictures() -> None:
    figure = plot_retrieval(CaseTile(views(1, (5, 5, 3)), ["query"]), [CaseTile([], ["1"])])
    first, second = figure.axes
    assert first.images[0].get_array().shape == (5, 5, 3)
    assert not second.images and second.texts[0].get_text() == "no picture"
