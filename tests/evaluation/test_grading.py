"""Metrics of grades: parity with scikit-learn and with SSiT's own numbers, ties, absent classes, draws of patients."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from medkit.evaluation.functional import resample
from medkit.evaluation.functional.grading import (
    GRADING_METRICS,
    auroc,
    fit_grade_thresholds,
    grade_matrix,
    grading_draws,
    grading_intervals,
    grading_metrics,
    kappa,
    ordinal_auroc,
    ordinal_grades,
    quadratic_kappa,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_golden_kappa_and_grades() -> None:
    golden, about = np.load(GOLDEN / "ssit_kappa.npz"), json.loads((GOLDEN / "ssit_kappa.json").read_text())
    assert kappa(golden["conf_mat"]) == pytest.approx(golden["kappa"], abs=float(about["tolerance"]))
    assert ordinal_grades(golden["regression_outputs"], 5).tolist() == golden["grades"].tolist()
    assert about["arguments"]["thresholds"] == (np.arange(5) - 0.5).tolist()


def test_grades_round_half_up_and_clip() -> None:
    values = [-9, -0.5, 0.49999999999999994, 0.5, 1.4999, 2.5, 3.5, 40]
    assert ordinal_grades(np.array(values), 5).tolist() == [0, 0, 0, 1, 1, 3, 4, 4]
    with pytest.raises(ValueError, match="diverged"):
        ordinal_grades(np.array([0.0, np.nan]), 5)


def test_thresholds_are_given_or_rounding() -> None:
    values = np.array([0.1, 0.2, 0.7, 2.0])
    assert ordinal_grades(values, 3, np.array([0.2, 2.0])).tolist() == [0, 1, 1, 2]
    for wrong in ([0.5], [1.5, 0.5]):
        with pytest.raises(ValueError, match="expected 2 rising numbers for 3 grades"):
            ordinal_grades(values, 3, np.array(wrong))


@pytest.mark.parametrize("seed", range(3))
def test_fitted_thresholds_undo_a_squeezed_scale(seed: int) -> None:
    """A network that squeezes grades towards the middle: rounding is poor, fitted thresholds are nearly as before."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 400)
    clean = labels + rng.normal(0, 0.25, 400)
    squeezed = 0.5 * clean + 1.6
    before, rounded = (quadratic_kappa(labels, ordinal_grades(x, 6), 6) for x in (clean, squeezed))
    fitted = fit_grade_thresholds(labels, squeezed, 6)
    after = quadratic_kappa(labels, ordinal_grades(squeezed, 6, fitted), 6)
    assert rounded < before - 0.1 and after > before - 0.01
    assert (np.diff(fitted) >= 0).all()


def test_fitted_thresholds_never_lose() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    assert fit_grade_thresholds(labels, labels.astype(float), 3).tolist() == [0.5, 1.5]
    with pytest.raises(ValueError, match="kappa has no value"):
        fit_grade_thresholds(np.ones(4), np.ones(4), 3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_classes", [2, 5])
def test_as_scikit_learn(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, 60)
    scores = rng.dirichlet(np.ones(num_classes), 60).round(1)  # many ties
    scores /= scores.sum(1, keepdims=True)
    found = grading_metrics(labels, scores.argmax(1), scores, num_classes)
    given = (labels, scores.argmax(1))
    classes = list(range(num_classes))
    wanted = {
        "kappa": sk.cohen_kappa_score(*given, labels=classes, weights="quadratic"),
        "accuracy": sk.accuracy_score(*given),
        "balanced_accuracy": sk.balanced_accuracy_score(*given),
        "auroc": sk.roc_auc_score(labels, scores if num_classes > 2 else scores[:, 1], multi_class="ovr"),
    }
    assert tuple(found) == GRADING_METRICS
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    nominal = grading_metrics(*given, scores, num_classes, ordinal=False)["kappa"]
    assert nominal == pytest.approx(sk.cohen_kappa_score(*given, labels=classes), abs=1e-12)


def test_kappa_counts_the_distance_of_an_absent_class() -> None:
    """scikit-learn without `labels` would number the classes it sees; the distance 0 to 4 then became 1."""
    labels, grades = np.array([0, 0, 4, 4]), np.array([0, 1, 4, 4])
    assert quadratic_kappa(labels, grades, 5) == pytest.approx(
        sk.cohen_kappa_score(labels, grades, labels=range(5), weights="quadratic"), abs=1e-12
    )
    assert np.isnan(quadratic_kappa(np.zeros(3, int), np.zeros(3, int), 5))


def test_auroc_absent_classes_ties_and_one_class() -> None:
    assert auroc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
    assert np.isnan(auroc(np.array([1, 1]), np.array([0.1, 0.5])))
    labels, scores = np.array([0, 0, 2, 2]), np.eye(3)[[0, 0, 2, 0]]
    assert auroc(labels, scores) == pytest.approx((0.75 + 0.75) / 2)  # class 1 is absent and not counted as a miss
    assert ordinal_auroc(np.array([0, 1, 2]), np.array([0.1, 0.7, 0.9]), 3) == 1
    assert ordinal_auroc(np.array([0, 1, 4]), np.array([3.0, 2, 1]), 5) == 0
    with pytest.raises(ValueError, match="from 0 to 1"):
        auroc(np.array([0, 2]), np.array([0.1, 0.2]))


@pytest.mark.parametrize("regressed", [False, True])
def test_a_draw_is_the_set_with_its_images_repeated(regressed: bool) -> None:
    rng = np.random.default_rng(0)
    labels, patients = rng.integers(0, 4, 30), [f"p{i // 2}" for i in range(30)]
    scores = rng.normal(size=30) if regressed else rng.random((30, 4))
    grades = ordinal_grades(scores, 4) if regressed else scores.argmax(1)
    taken = resample(patients, 30, num_draws=120)
    draws = grading_draws(labels, grades, scores, 4, taken)
    for b in (0, 119):
        rows = np.repeat(np.arange(30), taken.weights[b])
        spelt_out = grading_metrics(labels[rows], grades[rows], scores[rows], 4)
        for name in GRADING_METRICS:
            assert draws[name][b] == pytest.approx(spelt_out[name], abs=1e-12), name
    low, high = grading_intervals(draws)["accuracy"]
    assert low < grading_metrics(labels, grades, scores, 4)["accuracy"] < high


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="grades hold 5"):
        grade_matrix(np.array([0, 1]), np.array([0, 5]), 5)
    with pytest.raises(ValueError, match="2 labels and 1 grades"):
        grade_matrix(np.array([0, 1]), np.array([0]), 5)
