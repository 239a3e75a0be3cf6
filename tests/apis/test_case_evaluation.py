"""Retrieval scored: by hand, at chance on noise, per class, by subject, and paired."""

import numpy as np
import pytest

from medkit.apis.case_evaluation import MACRO, compare_evaluations, evaluate_index, evaluation_rows
from medkit.apis.case_index import CaseIndex
from medkit.apis.cases import Case, ModelFingerprint
from medkit.errors import ConfigError, DatasetError, WeightsError

MODEL = ModelFingerprint("M", "1")


def make(codes, labels, subjects, metric="l2") -> CaseIndex:
    rows = enumerate(zip(labels, subjects, strict=True))
    return CaseIndex.build(np.asarray(codes, np.float32), [Case(f"c{i}", s, b) for i, (b, s) in rows], MODEL, metric)


def test_by_hand() -> None:
    """On a line: a0 a1 | b | a; the first two are of one person."""
    index = make([[0], [1], [3], [7]], "aaba", ["p", "p", "q", "r"])
    found = evaluate_index(index, ks=(1, 2), num_draws=20)
    values = found.bootstrap.estimates
    # c0, c1 find b, a; b finds c1, c0, c3; c3 finds b, c1, c0
    assert values["precision@1"] == 0 and values["precision@2"] == pytest.approx((0.5 + 0.5 + 0 + 0.5) / 4)
    assert values["mAP"] == pytest.approx((0.5 + 0.5 + 0 + (1 / 2 + 2 / 3) / 2) / 4)
    assert values["chance"] == pytest.approx((0.5 + 0.5 + 0 + 2 / 3) / 4)
    assert values["precision@2/a"] == 0.5 and values["precision@2/b"] == 0
    assert values[f"precision@2/{MACRO}"] == 0.25
    assert found.classes == {"a": (3, 2), "b": (1, 1)} and found.bootstrap.resampling.num_units == 3
    header, rows = evaluation_rows(found)
    assert [row[:2] for row in rows] == [["all", "4 (3)"], [MACRO, "4 (3)"], ["a", "3 (2)"], ["b", "1 (1)"]]
    assert len(header) == len(rows[0]) and rows[0][3].startswith("0.375 [")


def test_noise_is_at_chance_and_classes_apart_are_perfect() -> None:
    rng = np.random.default_rng(0)
    labels, subjects = np.where(np.arange(400) % 4 == 0, "rare", "common"), [f"s{i // 2 % 100}" for i in range(400)]
    noise = evaluate_index(make(rng.normal(size=(400, 5)), labels, subjects), ks=(5,), num_draws=200)
    values, low_high = noise.bootstrap.estimates, noise.bootstrap.interval
    for metric, chance in (("precision@5", "chance"), ("mAP", "chance mAP")):
        for suffix in ("", "/rare", "/common", f"/{MACRO}"):
            low, high = low_high(metric + suffix)
            assert low < values[metric + suffix] < high
            assert abs(values[metric + suffix] - values[chance + suffix]) < 0.04
    codes = rng.normal(size=(400, 5)) + 50 * (labels == "rare")[:, None]
    apart = evaluate_index(make(codes, labels, subjects), ks=(5,), num_draws=50)
    assert apart.bootstrap.estimates["mAP"] == apart.bootstrap.interval("precision@5/rare")[0] == 1
    gain = compare_evaluations(apart, noise_again := evaluate_index(
        make(rng.normal(size=(400, 5)), labels, subjects), ks=(5,), num_draws=50))["mAP/rare"]  # fmt: skip
    assert gain.estimate == pytest.approx(1 - noise_again.bootstrap.estimates["mAP/rare"]) and gain.low > 0.5


def test_own_subject_is_never_found() -> None:
    """Visits of one person lie on each other and have the same label: without exclusion precision would be 1."""
    codes = np.repeat(np.random.default_rng(1).normal(size=(60, 4)), 3, axis=0)
    labels, subjects = np.repeat(["a", "b"] * 30, 3), np.repeat([f"s{i}" for i in range(60)], 3)
    values = evaluate_index(make(codes, labels, subjects), ks=(2,), num_draws=10).bootstrap.estimates
    assert abs(values["precision@2"] - values["chance"]) < 0.2
    alone = evaluate_index(make(codes, labels, [f"{i}" for i in range(180)]), ks=(2,), num_draws=10)
    assert alone.bootstrap.estimates["precision@2"] == 1


def test_held_out_queries_and_what_is_left_out() -> None:
    rng = np.random.default_rng(2)
    index = make(rng.normal(size=(30, 3)), ["a", "b", ""] * 10, [f"s{i}" for i in range(30)])
    asked = [Case("q0", "s0", "a"), Case("q1", "new", "b"), Case("q2", "new", ""), Case("c1", "s1", "b")]
    codes = rng.normal(size=(4, 3)).astype(np.float32)
    codes[3] = index.codes[1]
    found = evaluate_index(index, ks=(1, 19), queries=(codes, asked, MODEL), num_draws=10)
    assert found.num_queries == 3
    assert found.left_out == {"cases without a label": 10, "queries without a label": 1}
    assert found.bootstrap.estimates["precision@19/a"] == pytest.approx(9 / 19)  # its own is out
    drawn = evaluate_index(index, queries=(codes, asked, MODEL), num_draws=10, max_queries=2)
    assert drawn.num_queries == 2 and drawn.left_out["queries not drawn"] == 1


def test_faults_are_named() -> None:
    codes = np.eye(4)
    with pytest.raises(DatasetError, match=r"the labels \['a'\]"):
        evaluate_index(make(codes, "aaaa", "pqrs"))
    with pytest.raises(DatasetError, match="all cases are of one subject"):
        evaluate_index(make(codes, "abab", "pppp"))
    index = make(codes, "abab", "pqrs")
    with pytest.raises(DatasetError, match="no query has a label"):
        evaluate_index(index, queries=(codes, [Case(str(i)) for i in range(4)], MODEL))
    with pytest.raises(WeightsError, match="another model"):
        evaluate_index(index, queries=(codes, index.cases, ModelFingerprint("M", "2")))
    with pytest.raises(ConfigError, match=r"k=\[5, 0\]"):
        evaluate_index(index, ks=(5, 0))
    other = evaluate_index(make(codes[:3], "aba", "pqr"), num_draws=10)
    with pytest.raises(DatasetError, match="cannot be compared"):
        compare_evaluations(evaluate_index(index, num_draws=10), other)
