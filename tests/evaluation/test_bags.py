"""Metrics of bags by patient: parity with scikit-learn, aggregation, absent classes, draws of patients, instances."""

import numpy as np
import pytest
from sklearn import metrics as sk

from medkit.evaluation.functional import compare
from medkit.evaluation.functional.bags import (
    BagScores,
    bag_bootstrap,
    bag_metrics,
    by_patient,
    class_auroc,
    instance_auc,
)


def bags(cases: str, labels: list[int], positive: list[float]) -> BagScores:
    scores = np.array(positive)
    ids = np.array([f"s{number}" for number in range(len(cases))])
    return BagScores(ids, np.array(list(cases)), np.array(labels), np.stack([1 - scores, scores], axis=1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_classes", [2, 4])
def test_as_scikit_learn(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, 50)
    scores = rng.dirichlet(np.ones(num_classes), 50).round(1)  # many ties
    scores /= scores.sum(1, keepdims=True)
    found, given = bag_metrics(labels, scores, ordinal=True), (labels, scores.argmax(1))
    wanted = {
        "auroc": sk.roc_auc_score(labels, scores if num_classes > 2 else scores[:, 1], multi_class="ovr"),
        "balanced_accuracy": sk.balanced_accuracy_score(*given),
        "f1": sk.f1_score(*given, average="macro"),
        "accuracy": sk.accuracy_score(*given),
        "kappa": sk.cohen_kappa_score(*given, weights="quadratic"),
    } | {f"f1_{c}": value for c, value in enumerate(sk.f1_score(*given, average=None))}
    assert set(found) == set(wanted) and "kappa" not in bag_metrics(labels, scores)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_an_absent_class_is_left_out_and_can_be_named() -> None:
    labels, scores = np.array([0, 0, 2, 2]), np.eye(4)[[0, 2, 2, 1]]
    assert np.isnan(class_auroc(labels, scores)).tolist() == [False, True, False, True]
    found = bag_metrics(labels, scores)
    assert found["auroc"] == pytest.approx(np.nanmean(class_auroc(labels, scores)))
    assert found["f1"] == pytest.approx(sk.f1_score(labels, scores.argmax(1), average="macro"))  # 0, 1 and 2
    assert found["f1_1"] == 0 and np.isnan(found["f1_3"])
    assert np.isnan(bag_metrics(np.zeros(4, int), scores)["auroc"])


def test_bags_of_a_patient_become_one_row() -> None:
    given = bags("bab", [1, 0, 1], [0.2, 0.4, 0.9])
    mean, highest = by_patient(given), by_patient(given, "max")
    assert mean.ids.tolist() == mean.cases.tolist() == ["a", "b"] and mean.labels.tolist() == [0, 1]
    assert mean.scores[:, 1] == pytest.approx([0.4, 0.55]) and highest.scores[:, 1] == pytest.approx([0.4, 0.9])
    assert by_patient(given, "none") is given
    with pytest.raises(ValueError, match="patient b have different labels"):
        by_patient(bags("bab", [1, 0, 0], [0.2, 0.4, 0.9]))
    with pytest.raises(ValueError, match="'median'"):
        by_patient(given, "median")
    with pytest.raises(ValueError, match="scores of s1 are"):
        bags("ab", [0, 1], [0.1, np.nan])


def test_draws_are_those_of_whole_patients() -> None:
    rng = np.random.default_rng(1)
    cases = "".join("abcdefgh"[i // 3] for i in range(24))
    labels = [i // 3 % 2 for i in range(24)]
    given = bags(cases, labels, rng.uniform(size=24).tolist())
    for judged in (given, by_patient(given)):
        found = bag_bootstrap(judged, num_draws=150, seed=3)
        drawn = np.repeat(np.arange(len(judged.ids)), found.resampling.weights[120])
        again = bag_metrics(judged.labels[drawn], judged.scores[drawn])
        assert {n: found.draws[n][120] for n in again} == pytest.approx({n: float(v) for n, v in again.items()})
    assert found.resampling.num_units == 8 and "8 patients" in found.resampling.unit
    low, high = found.interval("auroc")
    assert low <= found.estimates["auroc"] <= high
    better = by_patient(bags(cases, labels, [0.1 + 0.8 * label for label in labels]))
    difference = compare(bag_bootstrap(better, 150, 3), found)["auroc"]
    assert difference.estimate == pytest.approx(1 - found.estimates["auroc"]) and difference.low >= 0


def test_instance_auc_by_bag_and_pooled() -> None:
    attention = [np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6]), np.array([0.5, 0.5]), np.array([0.4, 0.6])]
    labels = [np.array([1, 0, 0]), np.array([1, 0, -1]), np.array([0, 0]), np.array([-1, -1])]
    found = instance_auc(attention, labels)
    assert (found.mean, found.num_bags) == (0.5, 2)  # 1 in the first, 0 in the second; the others hold one kind
    share = [0.7 * 3, 0.2 * 3, 0.1 * 3, 0.1 * 3, 0.3 * 3, 1.0, 1.0]
    assert found.pooled == pytest.approx(sk.roc_auc_score([1, 0, 0, 1, 0, 0, 0], share))
    nothing = instance_auc([], [])
    assert np.isnan(nothing.mean) and np.isnan(nothing.pooled) and nothing.num_bags == 0
    with pytest.raises(ValueError, match="bag 0"):
        instance_auc([np.ones(3)], [np.ones(2)])
