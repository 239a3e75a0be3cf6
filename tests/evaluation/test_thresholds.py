"""Thresholds: the choice, its neighbourhood, thresholds.json with settings, files of older versions."""

import json

import numpy as np
import pytest

from medkit.errors import ConfigError
from medkit.evaluation import thresholds
from medkit.evaluation.functional import (
    ImageBoxes,
    choose_class_thresholds,
    choose_threshold,
    class_table,
    confidence_curves,
    lesion_matrix,
    match,
)
from medkit.evaluation.metrics import LesionMetric
from medkit.evaluation.report import build_report
from medkit.evaluation.report_text import report_text
from medkit.evaluation.thresholds import choose_thresholds, read_threshold, settings_of, write_threshold

from .synthetic import random_images

LESION, FAR = [10, 10, 40, 40], [200, 200, 240, 240]
CLASSES = ("a", "b")


def two_classes():
    """Class 0 is right at .92, wrong at .53; class 1 right at .31, wrong at .12: no one threshold serves both."""
    return [
        ImageBoxes.create([LESION, FAR], [0.92, 0.53], [0, 0], [LESION], [0]),
        ImageBoxes.create([LESION, FAR], [0.31, 0.12], [1, 1], [LESION], [1]),
    ]


def test_thresholds_per_class_are_observed_scores_and_serve_both():
    events = match(two_classes(), 2).events
    choice = choose_class_thresholds(events, 2, fallback=0.3)
    np.testing.assert_array_equal(choice.score_thrs, np.float32([0.92, 0.31]).astype(float))
    assert choice.f1.tolist() == [1, 1] and choice.macro_f1 == 1 > choose_threshold(events, 2).macro_f1
    assert list(choice.nearby[0]) == pytest.approx([0.77, 0.82, 0.87, 0.92, 0.97, 1.0])
    assert list(choice.nearby[0].values()) == [1, 1, 1, 1, 0, 0]  # at .53 and below it would be 2/3


def test_macro_f1_of_the_thresholds_together_is_measured():
    events = match(random_images(np.random.default_rng(3), 60), 4).events
    choice = choose_class_thresholds(events, 4, fallback=0.3)
    assert choice.macro_f1 == class_table(lesion_matrix(events, choice.score_thrs, 4)).macro_f1
    curves = confidence_curves(events, 4).f1
    np.testing.assert_array_equal(choice.f1, curves.max(axis=1))


def test_ties_go_to_the_higher_and_a_flat_curve_gives_none():
    events = match([ImageBoxes.create([LESION, FAR], [0.8, 0.2], [0, 1], [LESION], [0])], 2).events
    choice = choose_class_thresholds(events, 2, fallback=0.45)
    assert choice.score_thrs[0] == np.float32(0.8) and np.isnan(choice.score_thrs[1]) and choice.nearby[1] == {}
    assert choice.applied(0.45).tolist() == [float(np.float32(0.8)), 0.45]


def test_neighbours_of_the_global_threshold():
    choice = choose_threshold(match(two_classes(), 2).events, 2)
    nearby = choice.nearby(2)
    assert list(nearby) == pytest.approx([choice.score_thr + step for step in (-0.1, -0.05, 0, 0.05, 0.1)])
    assert nearby[choice.score_thr] == choice.macro_f1 == max(nearby.values())


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(b"weights")
    return path


def chosen(settings=None):
    events = match(two_classes(), 2).events
    return choose_thresholds(events, CLASSES, chosen_on="val.json", num_images=2, settings=settings)


def test_file_holds_the_neighbourhood_and_comes_back(checkpoint):
    settings = dict(img_size=128, test_cfg=dict(topk=100, nms=dict(type="nms")))
    path = write_threshold(checkpoint, chosen(settings))
    entry = json.loads(path.read_text())["epoch_1.pth"]
    assert entry["class_thr"] == pytest.approx(dict(a=0.92, b=0.31)) and entry["class_macro_f1"] == 1
    assert entry["nearby"][f"{entry['score_thr']:.4g}"] == entry["macro_f1"] and len(entry["class_nearby"]["a"]) == 6
    stored = read_threshold(checkpoint, settings=settings)
    assert stored.by_class() == entry["class_thr"] and stored.settings == settings
    assert read_threshold(checkpoint) is not None  # who does not ask takes any settings


@pytest.mark.parametrize("changed", [dict(img_size=256), dict(test_cfg=dict(topk=50))])
def test_other_settings_are_one_line_and_no_threshold(checkpoint, changed, monkeypatch):
    said = []
    monkeypatch.setattr(thresholds, "print_log", lambda line, logger: said.append(line))
    settings = dict(img_size=128, test_cfg=dict(topk=100))
    write_threshold(checkpoint, chosen(settings))
    assert read_threshold(checkpoint, settings={**settings, **changed}) is None
    name, value = next(iter(changed.items()))
    assert len(said) == 1 and "is not used" in said[0] and f"{name} {settings[name]}, now {value}" in said[0]


def test_settings_are_read_off_a_config():
    cfg = dict(img_size=64, model=dict(type="x", test_cfg=dict(topk=(1, 2))), lr=1)
    assert settings_of(cfg) == dict(img_size=64, test_cfg=dict(topk=(1, 2)))
    assert settings_of({}) == dict(img_size=None, test_cfg=None)


def test_tuples_in_settings_survive_json(checkpoint):
    settings = dict(img_size=(1, 2), test_cfg=None)
    write_threshold(checkpoint, chosen(settings))
    assert read_threshold(checkpoint, settings=settings) is not None


def test_older_file_still_loads(checkpoint):
    write_threshold(checkpoint, chosen())
    path = checkpoint.parent / "thresholds.json"
    new = json.loads(path.read_text())["epoch_1.pth"]
    names = ("score_thr", "chosen_on", "macro_f1", "num_images", "iou_thr", "protocol", "checkpoint_sha256")
    path.write_text(json.dumps({"epoch_1.pth": {name: new[name] for name in names}}))
    stored = read_threshold(checkpoint, settings=dict(img_size=128, test_cfg=None))
    assert stored.score_thr == new["score_thr"] and stored.by_class() is None


def test_flat_curve_stores_nothing():
    events = match([ImageBoxes.create([FAR], [0.7], [0], [LESION], [0])], 2).events
    assert choose_thresholds(events, CLASSES, chosen_on="val.json", num_images=1) is None


def test_report_at_thresholds_per_class():
    report = build_report(two_classes(), CLASSES, score_thr=[0.9, 0.3], score_thr_from="per class, from somewhere")
    assert report.table.macro_f1 == 1 and report.one_to_one.macro_f1 == 1 and report.score_thr == 0.3
    assert len(report.events.over_scores) == 0 and len(report.matches.events.over_scores) == 2
    content = report.to_json()
    assert content["class_score_thr"] == dict(a=0.9, b=0.3) and content["per_class"][1]["score_thr"] == 0.3
    assert "score >= a 0.900, b 0.300" in report_text(report)
    json.dumps(content, allow_nan=False)


def test_metric_takes_thresholds_by_class_name():
    metric = LesionMetric(classes=CLASSES, score_thr=dict(b=0.3, a=0.9))
    assert metric._thresholds() == [0.9, 0.3]
    with pytest.raises(ConfigError, match=r"thresholds for \['a', 'c'\]"):
        LesionMetric(classes=CLASSES, score_thr=dict(a=0.9, c=0.3))._thresholds()
    with pytest.raises(ConfigError, match="score_thr of a"):
        LesionMetric(score_thr=dict(a=1.9))


def test_stored_thresholds_in_the_order_of_the_classes(checkpoint):
    write_threshold(checkpoint, chosen())
    stored = read_threshold(checkpoint)
    assert stored.per_class(("b", "a")) == pytest.approx([0.31, 0.92]) and stored.per_class(("a", "c")) is None
