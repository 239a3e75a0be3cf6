"""Folds never share a subject; scores of codes whose answer is known; tables, pictures and files of random codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.apis.crossval import CrossvalResult, CrossvalSettings
from medkit.apis.crossval_folds import UNLABELLED, subject_folds
from medkit.apis.crossval_records import CodeSet, FoldRecord, read_fold, write_fold
from medkit.apis.crossval_report import write_crossval
from medkit.apis.crossval_scores import fold_scores, retrieval_scores, scanner_scores
from medkit.apis.crossval_table import main_table
from medkit.apis.fold_tables import mean_and_deviation
from medkit.errors import ConfigError, DatasetError

CLASSES = ("CN", "AD")


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and subjects of scans: 6 to 20 subjects, 1 to 4 scans each, some without a label."""
    visits = draw(st.lists(st.integers(1, 4), min_size=6, max_size=20))
    subjects = np.repeat([f"s{i}" for i in range(len(visits))], visits)
    labels = np.repeat(np.arange(len(visits)) % 2, visits)
    unlabelled = draw(st.lists(st.integers(0, len(labels) - 1), max_size=4))
    labels[[row for row in unlabelled if subjects[row] not in ("s0", "s1", "s2", "s3", "s4", "s5")]] = UNLABELLED
    return labels, subjects


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.integers(2, 3), st.integers(0, 3))
def test_no_subject_on_both_sides_and_each_held_out_once(cohort, num_folds: int, seed: int) -> None:
    labels, subjects = cohort
    folds = subject_folds(labels, subjects, CLASSES, num_folds, seed)
    assert folds == subject_folds(labels, subjects, CLASSES, num_folds, seed)
    labelled = set(subjects[labels >= 0].tolist())
    assert sorted(name for fold in folds for name in fold.test) == sorted(labelled)
    for fold in folds:
        assert set(fold.train).isdisjoint(fold.test) and set(fold.train) | set(fold.test) == set(subjects.tolist())


def test_classes_have_like_shares_in_all_folds() -> None:
    subjects = np.repeat([f"s{i:02d}" for i in range(60)], 2)
    labels = np.repeat(np.arange(60) % 3 == 0, 2).astype(int)  # one third
    for fold in subject_folds(labels, subjects, CLASSES, 5):
        assert np.mean(labels[np.isin(subjects, fold.test)]) == pytest.approx(1 / 3, abs=0.03)


def test_sets_that_cannot_be_divided_are_refused() -> None:
    labels, subjects = np.array([0, 0, 0, 1, 1]), np.array(["a", "b", "c", "d", "d"])
    with pytest.raises(DatasetError, match="'AD' has 1 subjects"):
        subject_folds(labels, subjects, CLASSES, 3)
    with pytest.raises(DatasetError, match="1 classes"):
        subject_folds(labels * 0, subjects, ("CN",), 2)
    with pytest.raises(ConfigError, match="--folds 1"):
        subject_folds(labels, subjects, CLASSES, 1)


def code_set(shift: float, first: int, count: int, seed: int = 0, scanner_shift: float = 0.0) -> CodeSet:
    """Two scans of each subject; codes (N, 8) of classes ``shift`` apart, of scanners ``scanner_shift`` apart."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(first, first + count), 2)
    labels, scanners = numbers % 2, numbers // 2 % 2
    codes = rng.normal(0, 0.1, (len(numbers), 8)) + shift * labels[:, None]
    codes[:, 0] += scanner_shift * scanners
    texts = (np.char.add("s", numbers.astype(str)), np.tile(["1", "2"], count), np.array(["A", "B"])[scanners])
    return CodeSet(codes.astype(np.float32), labels, *texts, np.array([f"{i}.nii" for i in range(len(numbers))]))


def fold_record(shift: float, seed: int = 0, scanner_shift: float = 0.0) -> FoldRecord:
    train, test = (code_set(shift, first, 12, seed + first, scanner_shift) for first in (0, 12))
    volumes = np.random.default_rng(seed).random((2, 8, 12, 10)).astype(np.float16)
    rmse = np.linspace(4, 6, 24)
    return FoldRecord(train, test, rmse, rmse + 1, np.array([0, 2]), volumes, volumes * 0.9, {"fingerprint": "f"})


def test_classes_far_apart_score_one_and_shuffled_labels_stay_low() -> None:
    scores = fold_scores(fold_record(3.0), 2)
    ones = ("accuracy", "balanced_accuracy", "ari", "nmi", "train_accuracy", "precision_1", "precision_5", "map")
    assert {scores[name] for name in (*ones, "held_out_precision_5", "held_out_map")} == {1.0}
    assert scores["silhouette"] > 0.9
    assert scores["majority"] == scores["chance"] == 0.5 < scores["accuracy_chance"] < 0.75
    assert scores["held_out_chance"] == pytest.approx(10 / 22)  # its own subject's two scans are left out
    assert scores["rmse"] == pytest.approx(5) and scores["rmse_brain"] == pytest.approx(6)


def test_scanner_that_drowns_the_class_is_told() -> None:
    record = fold_record(0.0, scanner_shift=5.0)
    scores, of_scanner = fold_scores(record, 2), scanner_scores(record, 2)
    assert scores["accuracy"] == 0.5 and scores["nmi"] == pytest.approx(0, abs=1e-9)
    assert {one["same"] for one in of_scanner.values()} == {1.0} and set(of_scanner) == {"A", "B"}
    assert {one["same_chance"] for one in of_scanner.values()} == {0.5}


def test_own_subject_is_never_a_neighbour() -> None:
    codes = code_set(0.0, 0, 2)
    with pytest.raises(ValueError, match="one group"):
        retrieval_scores(codes.take(np.arange(2)), codes.take(np.arange(2)))  # both scans of one subject
    assert retrieval_scores(codes, codes)["precision_1"] == 0  # the only other subject is of the other class


def test_a_code_that_is_not_finite_names_its_scan() -> None:
    codes = code_set(0.0, 0, 2)
    broken = codes.codes.copy()
    broken[3, 0] = np.nan
    with pytest.raises(DatasetError, match=r"3\.nii"):
        CodeSet(broken, codes.labels, codes.subjects, codes.visits, codes.scanners, codes.names)


def test_fold_file_returns_what_was_written(tmp_path: Path) -> None:
    record, path = fold_record(1.0), tmp_path / "fold.npz"
    assert read_fold(path) is None
    write_fold(path, record)
    found = read_fold(path)
    assert found is not None and found.facts == record.facts and found.test.subjects.tolist()[:2] == ["s12", "s12"]
    assert np.array_equal(found.train.codes, record.train.codes) and np.array_equal(found.inputs, record.inputs)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match="remove it"):
        read_fold(path)


def test_tables_and_pictures(tmp_path: Path) -> None:
    results = []
    for name, shift in (("plain", 0.0), ("metric", 3.0)):
        records = tuple(fold_record(shift, seed) for seed in range(2))
        results.append(CrossvalResult(name, CLASSES, records, tuple(fold_scores(record, 2) for record in records)))
    text = write_crossval(results, CrossvalSettings(("plain.py", "metric.py"), str(tmp_path), folds=2))
    head = ["config", "k-means accuracy"]
    assert main_table(results)[1][:2] == head
    line = next(line for line in text.splitlines() if line.startswith("| metric |"))
    assert "1.000 ± 0.000" in line and "5.00 ± 0.00" in line
    mean, deviation = mean_and_deviation(np.array([1 - one["accuracy"] for one in results[0].scores]))
    assert f"| metric less plain | {mean:+.3f} ± {deviation:.3f} |" in text
    assert "0.786 ± 0.087" in text and "7.11" in text and "| plain | A |" in text
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["configs"]["metric"]["mean"]["accuracy"] == 1 and len(content["configs"]["plain"]["folds"]) == 2
    assert {"codes.png", "slices_plain.png", "slices_metric.png", "scores.csv", "table.md"} <= {
        path.name for path in tmp_path.iterdir()
    }
