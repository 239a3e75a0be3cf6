"""ADDR and retrieval: golden values, what they do not depend on, group exclusion, chance, and what is refused."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from medkit.data.tile_pairs import all_pairs
from medkit.evaluation.functional.neighbours import all_neighbours
from medkit.evaluation.functional.retrieval import addr, query_scores, retrieval_fractions

CLOSE = dict(rtol=1e-10, atol=1e-12)


def of_other_groups(descriptors: np.ndarray, queries: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    return all_neighbours(descriptors, descriptors[queries], k, "l2", exclude=(groups, groups[queries]))[1]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "golden/addr_retrieval.npz") as arrays:
        return dict(arrays)


def test_addr_equals_golden(golden) -> None:
    near, far = all_pairs(golden["slide"], golden["xy_mm"], 2.0, 10.0)
    for pairs, name in ((near, "near_pairs"), (far, "far_pairs")):
        assert set(map(tuple, pairs.tolist())) == set(map(tuple, golden[name].tolist()))
        assert len(pairs) == len(golden[name])
    found = addr(golden["embedding"], near, far, golden["slide"])
    np.testing.assert_allclose(found.pooled, golden["addr_global"], **CLOSE)
    np.testing.assert_allclose(list(found.per_slide.values()), golden["addr_per_slide"], **CLOSE)
    np.testing.assert_allclose(found.mean_of_slides, golden["addr_slide_mean"], **CLOSE)
    assert (found.num_near, found.num_far) == (56, 910)


def test_addr_knows_no_scale_but_structure(golden) -> None:
    near, far, slides = golden["near_pairs"], golden["far_pairs"], golden["slide"]
    scaled = addr(7 * golden["embedding"] + 3, near, far, slides)
    np.testing.assert_allclose(scaled.pooled, golden["addr_global"], **CLOSE)
    noise = np.random.default_rng(0).normal(size=(len(slides), 64))
    assert abs(addr(noise, near, far, slides).pooled - 1) < 0.03
    assert addr(golden["xy_mm"], near, far, slides).pooled > 5  # places themselves


def test_retrieval_equals_golden(golden) -> None:
    queries = np.flatnonzero(golden["tumor"])
    np.testing.assert_array_equal(queries, golden["query_index"])
    neighbours = of_other_groups(golden["embedding"], queries, golden["slide"], k=10)
    np.testing.assert_array_equal(neighbours, golden["top10_index"])
    found = retrieval_fractions(neighbours, queries, golden["tumor"], golden["slide"])
    for k in (1, 5, 10):
        np.testing.assert_allclose(found.fraction[k], golden[f"retrieval_tumor_fraction_top{k}"], **CLOSE)
    np.testing.assert_allclose(found.chance, golden["chance_other_slides"], **CLOSE)


def test_patient_exclusion_takes_out_the_patients_other_slide() -> None:
    descriptors = np.array([[0.0], [0.1], [5.0], [9.0]])
    slides, patients = np.array([0, 1, 2, 3]), np.array([0, 0, 1, 2])
    by_slide = of_other_groups(descriptors, np.array([0]), slides, k=1)
    by_patient = of_other_groups(descriptors, np.array([0]), patients, k=1)
    assert (by_slide[0, 0], by_patient[0, 0]) == (1, 2)
    with pytest.raises(ValueError, match="own group"):
        retrieval_fractions(by_slide, np.array([0]), np.zeros(4), patients, ks=(1,))


def test_recall_and_average_precision_by_hand() -> None:
    labels, groups = np.array([1, 0, 1, 1, 0]), np.array([0, 1, 1, 1, 1])
    neighbours = np.array([[1, 2, 4, 3]])  # no, yes, no, yes
    found = retrieval_fractions(neighbours, np.array([0]), labels, groups, ks=(1, 2, 4))
    assert found.fraction == {1: 0.0, 2: 0.5, 4: 0.5}
    assert found.recall == {1: 0.0, 2: 1.0, 4: 1.0}
    assert found.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found.chance == 0.5


def test_scores_of_each_query_against_another_bank() -> None:
    """Labels and groups are names; of the first query's own group there is one, of its label two beside that."""
    bank = np.array(["a", "b", "a", "a", "b"]), np.array(["s0", "s1", "s1", "s2", "s3"])
    queries = np.array(["a", "c"]), np.array(["s0", "new"])
    found = query_scores(np.array([[1, 2, 4, 3, -1], [0, 1, 2, 3, 4]]), queries, bank, ks=(1, 3, 5))
    assert {k: v.tolist() for k, v in found.precision.items()} == {1: [0, 0], 3: [1 / 3, 0], 5: [0.5, 0]}
    assert found.ap.tolist() == [0.5, 0] and found.chance.tolist() == [0.5, 0]
    assert found.chance_ap[1] == 0
    orders = list(permutations([1, 2, 3, 4]))
    each = [query_scores(np.array([order]), (queries[0][:1], queries[1][:1]), bank, ks=(1, 4)) for order in orders]
    assert found.chance_ap[0] == pytest.approx(np.mean([one.ap[0] for one in each]), abs=1e-12)
    assert found.chance[0] == pytest.approx(np.mean([one.precision[1][0] for one in each]))


def test_few_tiles_in_other_groups() -> None:
    descriptors, groups = np.arange(4.0)[:, None], np.array([0, 0, 0, 1])
    neighbours = of_other_groups(descriptors, np.arange(4), groups, k=3)
    assert neighbours[0].tolist() == [3, -1, -1]
    assert neighbours[3].tolist() == [2, 1, 0]
    found = retrieval_fractions(neighbours, np.arange(4), np.ones(4), groups, ks=(1, 3))
    assert found.fraction == {1: 1.0, 3: 1.0} and found.num_queries == 4


@pytest.mark.parametrize("near, far, message", [((0, 1), (0, 2), "two slides"), ((0, 3), (0, 1), "collapsed")])
def test_addr_refuses(near: tuple, far: tuple, message: str) -> None:
    descriptors, slides = np.array([[0.0], [1.0], [2.0], [0.0]]), np.array([0, 0, 1, 0])
    with pytest.raises(ValueError, match=message):
        addr(descriptors, np.array([near]), np.array([far]), slides)
    with pytest.raises(ValueError, match="no far pair"):
        addr(descriptors, np.array([[0, 1]]), np.zeros((0, 2), int), slides)
