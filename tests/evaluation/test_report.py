"""The report: metric keys, text, files."""

import csv
import json
import math

import numpy as np
import pytest

from medkit.errors import ConfigError
from medkit.evaluation.functional import ImageBoxes
from medkit.evaluation.report import build_report, malignant_indices
from medkit.evaluation.report_text import coco_line, report_text

from .synthetic import images_from_matrix, random_images

CLASSES = ("cyst", "HCC", "hemangioma", "metastasis")
YOLOX = [[0, 8, 3, 4, 1], [3, 27, 1, 1, 0], [4, 1, 8, 2, 1], [6, 1, 1, 22, 1], [3, 1, 4, 1, 1]]


@pytest.fixture
def report():
    return build_report(images_from_matrix(YOLOX, 0.4, np.random.default_rng(0)), CLASSES, score_thr=0.4)


def test_metric_keys(report):
    names = [f"coco/{n}" for n in ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")]
    names += [f"coco/AP_{c}" for c in CLASSES] + [f"lesion/{n}" for n in ("precision", "recall", "f1")]
    names += [f"lesion/f1_{c}" for c in CLASSES] + ["lesion/score_thr"]
    assert list(report.metrics()) == names
    assert report.metrics()["lesion/score_thr"] == 0.4
    assert report.metrics()["lesion/f1"] == pytest.approx(np.mean(report.table.f1))
    assert report.metrics()["coco/AP_HCC"] == report.coco.class_ap[1]


def test_text_names_the_numbers_and_the_source_of_the_threshold(report):
    text = report_text(report)
    assert text.startswith("COCO bbox  mAP 0.") and coco_line(report).count("AP") == 6
    words = ("macro", "metastasis", "over-detections", "score >= 0.40", "threshold given", "FROC")
    for word in (*words, "malignant against benign: sensitivity"):
        assert word in text
    assert "optimistic" not in text


def test_in_sample_choice_is_called_optimistic():
    report = build_report(random_images(np.random.default_rng(0), 30), CLASSES)
    assert "optimistic" in report_text(report) and 0 <= report.score_thr <= 1


def test_useless_threshold_and_absent_class_are_said():
    report = build_report(
        [ImageBoxes.create([[0, 0, 9, 9]], [0.7], [1], [[50, 50, 90, 90]], [0])], ("a", "b")
    )
    text = report_text(report)
    assert "no lesion of b in this set" in text and "F1 is 0 at every threshold" in text
    assert report.binary is None and "malignant against benign" not in text


def test_files(report, tmp_path):
    report.write(tmp_path / "new")
    content = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert content["confusion_matrix"]["rows_are_truth"] == YOLOX
    assert content["metrics"]["lesion/f1"] == report.table.macro_f1
    rows = list(csv.DictReader((tmp_path / "new" / "per_class.csv").open()))
    assert [row["class"] for row in rows] == [*CLASSES, "macro"]
    assert float(rows[1]["recall"]) == report.table.recall[1]
    matrix = list(csv.reader((tmp_path / "new" / "confusion_matrix.csv").open()))
    assert matrix[0][1:] == ["None", *CLASSES] and [int(v) for v in matrix[2][1:]] == YOLOX[1]


def test_json_has_null_for_nan():
    report = build_report([ImageBoxes.create([], [], [], [[0, 0, 9, 9]], [0])], ("a", "b"))
    assert math.isnan(report.metrics()["coco/AP_b"])
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["metrics"]["coco/AP_b"] is None


def test_malignant_classes():
    assert malignant_indices(CLASSES, None) == [1, 3]
    assert malignant_indices(("benign", "malignant"), None) == [1]
    assert malignant_indices(("lesion",), None) == []
    assert malignant_indices(("malignant",), None) == []  # no benign class: no two-class view
    assert malignant_indices(CLASSES, ("HCC",)) == [1]
    with pytest.raises(ConfigError, match="tumour"):
        malignant_indices(CLASSES, ("tumour",))


def test_intervals_in_text_json_and_csv(tmp_path):
    images = random_images(np.random.default_rng(1), 40)
    patients = [f"P{i // 4}" for i in range(40)]
    report = build_report(images, CLASSES, score_thr=0.3, patients=patients, num_draws=50)
    text = report_text(report)
    assert "95% intervals: macro F1 0." in text and "50 bootstrap draws of 10 patients" in text
    report.write(tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    intervals = content["intervals"]
    assert (intervals["draws"], intervals["seed"], intervals["resampled"]) == (50, 0, "10 patients")
    low, high = intervals["values"]["lesion/f1_HCC"]
    assert low <= content["metrics"]["lesion/f1_HCC"] <= high and "lesion/sensitivity_all" in intervals["values"]
    assert set(intervals["values"]) >= {"coco/mAP", "coco/mAP_50", "coco/AP_cyst", "lesion/precision"}
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    assert float(rows[1]["f1_low"]) == low and float(rows[-1]["AP_high"]) == intervals["values"]["coco/mAP"][1]


def test_curves_froc_and_calibration_are_written(report, tmp_path):
    report.write(tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["coco_backend"] == "medkit" and content["intervals"] is None
    assert content["froc"]["false_positives_per_image"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert content["froc"]["mean_sensitivity"] == report.froc.mean and "protocol" in content["froc"]
    assert 0 <= content["calibration"]["ece"] <= 1 and len(content["calibration"]["counts"]) == 10
    curves = np.load(tmp_path / "curves.npz")
    assert curves["f1"].shape == (4, len(curves["thresholds"])) and curves["pr_precision_iou50"].shape == (4, 101)
    assert len(curves["froc_sensitivity"]) == len(curves["froc_false_positives_per_image"])
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    assert float(rows[2]["AP_m"]) == pytest.approx(report.coco.class_size_ap[2, 2]) and "f1_low" not in rows[0]
