"""Clusters against classes: every assignment tried, permutations, empty clusters; RMSE and the brain's mask."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkit.evaluation.functional.clustering import (
    UNASSIGNED,
    best_assignment,
    clustering_accuracy,
    contingency,
    majority_rate,
)
from medkit.evaluation.functional.reconstruction import brain_mask, rmse_percent

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@st.composite
def clusterings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    classes = draw(st.integers(2, 4))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=30))
    labels, clusters = np.array(pairs).T
    return labels, clusters, classes


@settings(max_examples=200, deadline=None)
@given(clusterings())
def test_no_other_naming_is_better(case) -> None:
    labels, clusters, classes = case
    every = [np.mean(np.array(names)[clusters] == labels) for names in permutations(range(classes))]
    assert clustering_accuracy(labels, clusters, classes) == pytest.approx(max(every), abs=1e-12)
    names = best_assignment(labels, clusters, classes)
    assert sorted(names) == list(range(classes))
    assert np.mean(names[clusters] == labels) == pytest.approx(max(every), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(clusterings(), st.randoms(use_true_random=False))
def test_numbers_and_order_of_clusters_do_not_matter(case, random) -> None:
    labels, clusters, classes = case
    renamed, order = list(range(classes)), list(range(len(labels)))
    random.shuffle(renamed)
    random.shuffle(order)
    expected = clustering_accuracy(labels, clusters, classes)
    assert clustering_accuracy(labels[order], np.array(renamed)[clusters][order], classes) == pytest.approx(expected)
    assert expected >= contingency(labels, clusters, classes, classes).max() / len(labels)
    assert clustering_accuracy(labels, labels, classes) == 1


def test_a_cluster_too_many_is_always_wrong() -> None:
    labels, clusters = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 2, 1, 1, 1])
    assert best_assignment(labels, clusters, 2, 3).tolist() == [0, 1, UNASSIGNED]
    assert clustering_accuracy(labels, clusters, 2, 3) == pytest.approx(5 / 6)


def test_one_cluster_for_all_reaches_the_majority() -> None:
    labels = np.array([0, 1, 1, 1, 2])
    assert majority_rate(labels) == clustering_accuracy(labels, np.zeros(5, int), 3) == pytest.approx(0.6)


@pytest.mark.parametrize("labels, clusters", [([], []), ([0, 1], [0]), ([0, 2], [0, 1]), ([0, -1], [0, 0])])
def test_what_cannot_be_counted_is_refused(labels, clusters) -> None:
    with pytest.raises(ValueError, match="expected"):
        clustering_accuracy(np.array(labels), np.array(clusters), 2)


def test_golden_rmse() -> None:
    golden = np.load(GOLDEN / "metric_embedding_loss.npz")
    tolerance = json.loads((GOLDEN / "metric_embedding_loss.json").read_text())["tolerance"]
    found = rmse_percent(golden["recon/x"], golden["recon/xhat"])
    assert np.allclose(found, golden["recon/rmse_percent_of_unit_range"], **tolerance)
    mean = np.mean([rmse_percent(x, y) for x, y in zip(golden["recon/x"], golden["recon/xhat"], strict=True)]) / 100
    assert np.allclose(mean, golden["recon/rmse_mean_of_volumes"], **tolerance)


def test_rmse_in_a_mask() -> None:
    volume = np.zeros((2, 3, 4))
    made, mask = volume.copy(), np.zeros((2, 3, 4), bool)
    made[0], mask[0] = 0.5, True
    assert rmse_percent(volume, made, mask) == pytest.approx(50)
    assert rmse_percent(volume, made) == pytest.approx(50 / np.sqrt(2))
    with pytest.raises(ValueError, match="mask is empty"):
        rmse_percent(volume, made, ~mask & mask)
    with pytest.raises(ValueError, match="expected one shape"):
        rmse_percent(volume, made[:1])


def test_brain_mask_fills_ventricles_and_leaves_specks_out() -> None:
    volume = np.zeros((12, 12, 12))
    volume[2:10, 2:10, 2:10] = 0.6
    volume[5:7, 5:7, 5:7] = 0.0  # a ventricle
    volume[0, 0, 0] = 0.9  # a speck
    mask = brain_mask(volume)
    assert mask.sum() == 8**3 and mask[5, 5, 5] and not mask[0, 0, 0]
    assert not brain_mask(np.zeros((3, 3, 3))).any()
