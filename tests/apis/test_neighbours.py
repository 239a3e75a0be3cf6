"""faiss gives the neighbours that comparing with everything gives, with groups left out, ties and unlucky data."""

import sys

import numpy as np
import pytest

from medkit.apis import neighbours
from medkit.apis.neighbours import Neighbours, nearest
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.neighbours import all_neighbours, weighted_vote


def plain(bank, queries, k, metric, groups=None, of_queries=None):
    """One query at a time, one row at a time, in longdouble."""
    found = []
    for i, query in enumerate(queries.astype(np.longdouble)):
        rows = bank.astype(np.longdouble)
        if metric == "cosine":
            scores = rows @ query / (np.sqrt((rows**2).sum(1)) * np.sqrt((query**2).sum()))
        else:
            scores = -np.sqrt(((rows - query) ** 2).sum(1))
        left = [j for j in range(len(bank)) if groups is None or groups[j] != of_queries[i]]
        best = sorted(left, key=lambda j: (-float(np.round(scores[j], 12)), j))[:k]
        found.append([(abs(float(scores[j])) if metric == "l2" else float(scores[j]), j) for j in best])
    return np.array([[v for v, _ in row] for row in found]), np.array([[j for _, j in row] for row in found])


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(700, 16)).astype(np.float32), rng.normal(size=(40, 16)).astype(np.float32)


@pytest.mark.parametrize("search", [nearest, all_neighbours])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_equals_a_loop(vectors, metric, search):
    bank, queries = vectors
    values, indices = search(bank, queries, 7, metric)
    wanted = plain(bank, queries, 7, metric)
    np.testing.assert_array_equal(indices, wanted[1])
    np.testing.assert_allclose(values, wanted[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("search", [nearest, all_neighbours])
@pytest.mark.parametrize("num_groups", [2, 30, 700])
def test_own_group_is_left_out_exactly(vectors, num_groups, search):
    bank, queries = vectors
    groups = np.array([f"slide {g}" for g in np.random.default_rng(1).integers(0, num_groups, 740)])
    exclude = groups[:700], groups[700:]
    values, indices = search(bank, queries, 5, "cosine", exclude)
    wanted = plain(bank, queries, 5, "cosine", *exclude)
    np.testing.assert_array_equal(indices, wanted[1])
    np.testing.assert_allclose(values, wanted[0], rtol=0, atol=1e-12)
    assert (exclude[0][indices] != exclude[1][:, None]).all()


def test_a_group_nearer_than_all_others(vectors, monkeypatch):
    """Each query's nearest 400 rows are its own group's: proposals must be widened, by hand and without faiss."""
    bank, queries = vectors
    order = np.argsort(bank[:, 0])
    bank, groups = bank[order], (np.arange(700) < 400).astype(int)
    bank[groups == 1] = queries[0] + 0.01 * bank[groups == 1]
    exclude = groups, np.ones(40, int)
    for widest in (4096, 60):
        monkeypatch.setattr(neighbours, "_WIDEST", widest)
        np.testing.assert_array_equal(
            nearest(bank, queries, 3, "l2", exclude)[1], plain(bank, queries, 3, "l2", *exclude)[1]
        )


@pytest.mark.parametrize("search", [nearest, all_neighbours])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_ties_go_to_the_lower_index(metric, search):
    rng = np.random.default_rng(2)
    some = rng.normal(size=(5, 33)).astype(np.float32)
    bank = some[rng.integers(0, 5, 900)]  # each of five vectors 180 times
    queries = some + 0.01 * rng.normal(size=some.shape).astype(np.float32)
    _, indices = search(bank, queries, 9, metric)
    for row, original in zip(indices, some, strict=True):
        np.testing.assert_array_equal(row, np.flatnonzero((bank == original).all(axis=1))[:9])


def test_float32_alone_would_be_wrong():
    """Directions so close that their cosines are one number in float32: faiss alone orders them wrongly."""
    rng = np.random.default_rng(3)
    bank = (1 + 1e-3 * rng.normal(size=(500, 64))).astype(np.float32)
    queries = bank[:20] + rng.normal(scale=1e-4, size=(20, 64)).astype(np.float32)
    wanted = plain(bank, queries, 10, "cosine")[1]
    import faiss

    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, bank)]
    assert (faiss.knn(*unit, 10, metric=faiss.METRIC_INNER_PRODUCT)[1] != wanted).mean() > 0.2
    np.testing.assert_array_equal(nearest(bank, queries, 10)[1], wanted)


def test_few_rows_and_zeros():
    bank = np.array([[1.0, 0], [0, 2], [0, 0]])
    values, indices = nearest(bank, np.array([[3.0, 0]]), 20)
    assert indices.tolist() == [[0, 1, 2]] and values.tolist() == [[1, 0, 0]]
    values, indices = nearest(bank, np.array([[3.0, 0]]), 2, "l2", exclude=(np.array([0, 1, 0]), np.array([0])))
    assert indices.tolist() == [[1, -1]] and np.isnan(values[0, 1]) and values[0, 0] == pytest.approx(13**0.5)


def test_bank_is_searched_again_and_says_its_size(vectors):
    bank, queries = vectors
    index = Neighbours(bank, "l2")
    assert index.nbytes == bank.nbytes
    np.testing.assert_array_equal(index.search(queries[:3], 4)[1], index.search(queries, 4)[1][:3])
    assert index.search(queries[:0], 4)[1].shape == (0, 4)
    with pytest.raises(ConfigError, match="go together"):
        index.search(queries, 4, groups=np.zeros(40))


def test_wrong_input_is_named(vectors):
    bank, queries = vectors
    broken = queries.copy()
    broken[7, 3] = np.nan
    with pytest.raises(DatasetError, match="row 7 of the queries holds NaN"):
        nearest(bank, broken, 3)
    with pytest.raises(DatasetError, match=r"bank \(700, 16\) and queries \(40, 8\)"):
        nearest(bank, queries[:, :8], 3)
    with pytest.raises(ConfigError, match="metric='dot'"):
        nearest(bank, queries, 3, "dot")
    with pytest.raises(ConfigError, match="k=0"):
        nearest(bank, queries, 0)
    with pytest.raises(DatasetError, match="expected one for each of 700 rows"):
        nearest(bank, queries, 3, exclude=(np.zeros(40), np.zeros(700)))


def test_absent_faiss_names_the_extra(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"medkit\[selfsup\]"):
        nearest(*vectors, 3)


def test_votes_are_weighted_by_similarity():
    votes = weighted_vote(np.array([[0.7, 0.0, 0.0]]), np.array([[2, 0, 0]]), 3, temperature=0.7)
    np.testing.assert_allclose(votes, [[2, 0, np.e]])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_come_and_go(vectors, metric):
    """After adding longer rows, and after taking them out, the answer is a new bank's, to the last bit."""
    bank, queries = vectors
    groups = np.arange(700) // 5
    bank = np.concatenate([bank[:650], 40 * bank[650:]])
    index = Neighbours(bank[:650], metric, groups[:650])
    index.extend(bank[650:], groups[650:])
    keep = np.arange(700) % 7 != 3
    for rows in (np.ones(700, bool), keep, np.arange(keep.sum()) < 500):
        index.keep(rows)
        bank, groups = bank[rows], groups[rows]
        fresh = Neighbours(bank, metric, groups)
        answers = [one.search(queries, 9, groups[:40]) for one in (index, fresh)]
        for one, other in zip(*answers, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ConfigError, match="keeps 0 of 500 rows"):
        index.keep(np.zeros(500, bool))
    with pytest.raises(ConfigError, match="3 rows need as many groups"):
        index.extend(bank[:3])
