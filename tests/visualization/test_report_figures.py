"""Plots of the report show what they were given; the page escapes, needs no network and is the same twice."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medkit.visualization.curves import plot_f1_confidence, plot_froc, plot_pr, plot_reliability
from medkit.visualization.galleries import GalleryItem, cut_out, plot_gallery
from medkit.visualization.html import figure_html, page, picture_html, save_figures, table_html, text_html
from medkit.visualization.markup import latex_table, markdown_table
from medkit.visualization.sheet import SheetTile
from medkit.visualization.training import plot_training
from medkit.visualization.where import plot_miss_map, plot_size_recall


def labels(figure):
    return figure.axes[0].get_legend_handles_labels()[1]


def test_pr_leaves_out_classes_without_lesions():
    figure = plot_pr({"cyst": np.full(101, 0.5), "HCC": np.full(101, np.nan)}, np.linspace(0, 1, 101))
    assert labels(figure) == ["cyst (AP50 0.500)"]


def test_f1_marks_thresholds():
    thresholds = np.linspace(0, 1, 5)
    one = plot_f1_confidence(thresholds, {"cyst": thresholds, "macro": thresholds}, {"threshold": 0.25})
    assert "threshold 0.25" in labels(one)
    each = plot_f1_confidence(thresholds, {"cyst": thresholds}, {"cyst": 0.75})
    line, mark = each.axes[0].lines
    assert mark.get_xdata()[0] == 0.75 and mark.get_color() == line.get_color()


def test_froc_has_no_zero_on_its_axis_and_no_line_between_known_points():
    rates = np.array([0.125, 1.0, 8.0])
    figure = plot_froc({"a": (np.arange(9.0), np.arange(9) / 9), "b": (rates, rates / 8)}, rates)
    curve, points = figure.axes[0].lines
    assert min(curve.get_xdata()) > 0 and curve.get_drawstyle() == "steps-post"
    assert points.get_marker() == "o" and [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["1/8", "1", "8"]


def test_reliability_leaves_empty_bins_out():
    figure = plot_reliability(np.linspace(0, 1, 4), np.array([5, 0, 2]), np.array([0.2, np.nan, 0.9]),
                              np.array([0.4, np.nan, 1.0]))  # fmt: skip
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.4, 1.0]


def test_training_marks_releases():
    rows = [dict(epoch=e, split="train", loss=3.0 - e, lr=0.1) for e in (1, 2)]
    rows += [{"epoch": 2, "split": "val", "coco/mAP": 0.3, "lesion/f1": 0.5}]
    figure = plot_training(rows, [(2, "layer4")])
    left, right = figure.axes
    assert labels(figure) == ["loss"] and right.get_legend_handles_labels()[1] == ["mAP", "F1 (macro)"]
    assert [text.get_text() for text in left.texts] == ["layer4"] and left.lines[-1].get_xdata()[0] == 1.5
    ssl = plot_training([{"epoch": 1, "split": "train", "loss": -0.5, "selfsup/std_ratio": 0.9, "selfsup/rank": 300.0}])
    assert ssl.axes[1].get_legend_handles_labels()[1] == ["selfsup/std_ratio"]
    assert len(plot_training([]).axes) == 2


def test_where():
    lesions, missed = np.array([[0, 2], [4, 8]]), np.array([[0, 1], [1, 8]])
    texts = [text.get_text() for text in plot_miss_map(lesions, missed).axes[1].texts]
    assert texts == ["", "1/2", "1/4", "8/8"]
    nan = np.array([np.nan])
    plot_size_recall(np.array([1.0, 9.0]), np.array([0.5]), nan, nan, np.array([0.4]), np.array([12]))


def item(focus, size=(100, 200)):
    boxes = np.array([focus, [0, 0, 5, 5]], float)
    tile = SheetTile(np.zeros(size, np.uint8), boxes, np.array([0, 1]), boxes[:0], np.array([], int), np.array([]), "t")
    return GalleryItem(tile, np.array(focus, float))


@pytest.mark.parametrize("focus", [[90, 40, 110, 60], [180, 80, 200, 100], [2, 2, 198, 98]])
def test_cut_out_keeps_the_box_and_stays_inside(focus):
    cut = cut_out(item(focus))
    height, width = cut.tile.image.shape
    assert height <= 100 and width <= 200
    assert (cut.focus >= 0).all() and (cut.focus <= [width, height, width, height]).all()
    assert cut.tile.gt_bboxes[0].tolist() == cut.focus.tolist()
    assert len(cut.tile.gt_labels) == (2 if focus[0] == 2 else 1)  # a box outside the cut-out is left out


class Audit(HTMLParser):
    """Every tag closes; collects what would be loaded."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loaded, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.loaded += [v for k, v in attributes if k in ("src", "href", "xlink:href") and not v.startswith("#")]
        if tag not in ("meta", "img", "br", "path", "rect", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "rect", "use"):
            assert self.open.pop() == tag


def make_page():
    nasty = "<script>alert('x')</script> & \"co\""
    gallery = plot_gallery([item([20, 20, 60, 60])], ["a", "b"])
    content = figure_html(plot_pr({"a": np.ones(101)}, np.linspace(0, 1, 101)), nasty)
    content += picture_html(gallery, nasty) + text_html(nasty) + table_html([nasty], [[nasty]])
    return page(nasty, nasty, [(nasty, content), ("left out", "")])


def test_page_is_escaped_whole_and_alone(tmp_path):
    html = make_page()
    seen = Audit(html)
    assert not seen.open and "script" not in seen.tags
    assert all(address.startswith("data:image/jpeg;base64,") for address in seen.loaded) and len(seen.loaded) == 1
    assert "left out" not in html and not re.search(r"url\((?!#)|@import", html)
    assert make_page() == html
    svg, jpg = save_figures(html, tmp_path)
    assert svg.read_text().startswith("<svg") and jpg.read_bytes()[:2] == b"\xff\xd8"
    assert base64.b64encode(jpg.read_bytes()).decode() in html
    assert len(list(tmp_path.iterdir())) == len(save_figures(html, tmp_path)) == 2


def test_best_cells_are_marked():
    html = table_html(["run", "mAP", "F1"], [["a", "0.5", "0.2"], ["b", "0.6", "-"]], best=[False, True, True])
    assert html.count("class=mark") == 1 and "<td class=mark>0.6" in html


def test_markup():
    assert markdown_table(["a|b", "c"], [["x|y", 1]]) == "| a\\|b | c |\n| --- | ---: |\n| x\\|y | 1 |\n"
    tex = latex_table(["run_1", "AP"], [["50 % & more", "0.5"]], "a_b")
    assert r"run\_1 & AP \\" in tex and r"50 \% \& more & 0.5 \\" in tex and r"\caption{a\_b}" in tex
