"""How often are the nearest cases of other people of the query's class? With chance level and intervals by subject.

precision@k is the part of the k nearest that have the query's label, mAP the average precision of the whole ranking.
Chance is what a random order of the cases of other subjects gives, exactly. Intervals are percentiles over draws of the
queries' subjects (`medkit.evaluation.functional.resampling`); the cases that are searched stay the same. The mean over
classes stands beside the mean over queries, which the largest class decides.
Command: ``python tools/retrieve.py evaluate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medkit.apis.case_index import CaseIndex
from medkit.apis.cases import Case, ModelFingerprint
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.bootstrap import Bootstrap, Difference, compare
from medkit.evaluation.functional.resampling import resample
from medkit.evaluation.functional.retrieval import QueryScores, query_scores

__all__ = ["MACRO", "CaseEvaluation", "compare_evaluations", "evaluate_index", "evaluation_rows"]

MACRO = "mean of classes"
_CELLS_AT_ONCE = 8_000_000  # of rankings


@dataclass(frozen=True)
class CaseEvaluation:
    """Scores of an index.

    Attributes:
        bootstrap: estimates and draws of ``precision@K``, ``mAP`` and their ``chance`` and ``chance mAP``, over all
            queries, and with ``/CLASS`` and ``/mean of classes`` behind the name.
        classes: class -> (queries, subjects).
        ks: numbers of neighbours.
        num_queries: queries that counted.
        left_out: why -> number of queries or cases that did not.
    """

    bootstrap: Bootstrap
    classes: Mapping[str, tuple[int, int]]
    ks: tuple[int, ...]
    num_queries: int
    left_out: Mapping[str, int]


def evaluate_index(
    index: CaseIndex,
    ks: Sequence[int] = (1, 5, 10),
    queries: tuple[np.ndarray, Sequence[Case], ModelFingerprint] | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    max_queries: int | None = None,
) -> CaseEvaluation:
    """Score the labelled cases of an index.

    Args:
        index: what is searched; its cases without a label are left out.
        ks: numbers of neighbours.
        queries: codes (M, D) with their cases and fingerprint; None takes each case of the index in turn. The cases of
            a query's own subject are never among its neighbours.
        num_draws: of the bootstrap.
        seed: of the draws.
        max_queries: take this many queries, drawn by ``seed``: a ranking has the length of the index.

    Raises:
        ConfigError: a number of neighbours below 1.
        WeightsError: the queries are another model's.
        DatasetError: no label, one class only, or no query with a case of another subject.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"k={list(ks)}; expected one or more numbers of neighbours from 1")
    bank = _labelled(index)
    codes, cases, fingerprint = queries or (bank.codes, bank.cases, bank.fingerprint)
    known = np.flatnonzero([bool(case.label) for case in cases])
    left_out = {"cases without a label": len(index) - len(bank), "queries without a label": len(cases) - len(known)}
    if max_queries is not None and len(known) > max_queries:
        left_out["queries not drawn"] = len(known) - max_queries
        known = np.sort(np.random.default_rng(seed).choice(known, max_queries, replace=False))
    if not len(known):
        raise DatasetError("no query has a label, so nothing can be scored; give labels with the data")
    asked = [cases[row] for row in known]
    scores = _scores(bank, codes[known], asked, fingerprint, tuple(ks))
    left_out["queries without a case of another subject"] = int((~scores.kept).sum())
    asked = [case for case, kept in zip(asked, scores.kept, strict=True) if kept]
    return _summary(scores, asked, tuple(ks), num_draws, seed, {why: n for why, n in left_out.items() if n})


def compare_evaluations(first: CaseEvaluation, second: CaseEvaluation) -> dict[str, Difference]:
    """First less second by metric, paired: both must have asked the same queries.

    Raises:
        DatasetError: they asked different ones.
    """
    try:
        return compare(first.bootstrap, second.bootstrap)
    except ValueError as error:
        raise DatasetError(f"the two indexes cannot be compared: {error}") from error


def evaluation_rows(found: CaseEvaluation) -> tuple[list[str], list[list[str]]]:
    """A table, header and rows: all queries, the mean of classes, each class; 95 % intervals in brackets."""
    names = [*(f"precision@{k}" for k in found.ks), "mAP"]
    header = ["queries", "number (subjects)", *names[:-1], "chance", "mAP", "chance mAP"]
    subjects = found.bootstrap.resampling.num_units
    rows = []
    for label, suffix in (("all", ""), *((name, f"/{name}") for name in (MACRO, *found.classes))):
        count = found.classes.get(label, (found.num_queries, subjects))
        cells = {name: _cell(found.bootstrap, name + suffix) for name in names}
        chance = [f"{found.bootstrap.estimates[name + suffix]:.3f}" for name in ("chance", "chance mAP")]
        rows.append([label, f"{count[0]} ({count[1]})", *(cells[n] for n in names[:-1]), chance[0], cells["mAP"],
                     chance[1]])  # fmt: skip
    return header, rows


def _cell(bootstrap: Bootstrap, name: str) -> str:
    low, high = bootstrap.interval(name)
    return f"{bootstrap.estimates[name]:.3f} [{low:.3f}, {high:.3f}]"


def _labelled(index: CaseIndex) -> CaseIndex:
    rows = [row for row, case in enumerate(index.cases) if case.label]
    labels = sorted({index.cases[row].label for row in rows})
    if len(labels) < 2:
        raise DatasetError(f"the index holds the labels {labels}; retrieval is scored by two labels or more")
    if len(rows) == len(index):
        return index
    cases = [index.cases[row] for row in rows]
    return CaseIndex.build(index.codes[rows], cases, index.fingerprint, index.metric)


def _scores(
    bank: CaseIndex, codes: np.ndarray, cases: Sequence[Case], fingerprint: ModelFingerprint, ks: tuple[int, ...]
) -> QueryScores:
    """Scores of all queries, some at a time."""
    labels, persons = (np.array([getattr(case, name) for case in cases]) for name in ("label", "person"))
    of_bank = tuple(np.array([getattr(case, name) for case in bank.cases]) for name in ("label", "person"))
    step, parts = max(1, _CELLS_AT_ONCE // len(bank)), []
    for start in range(0, len(cases), step):
        rows = slice(start, start + step)
        _, found = bank.search(codes[rows], len(bank), fingerprint=fingerprint, subjects=cases[rows])
        if (found[:, 0] < 0).all():
            raise DatasetError("all cases are of one subject, so there is nothing to find in others")
        parts.append(query_scores(found, (labels[rows], persons[rows]), of_bank, ks))  # type: ignore[arg-type]
    return QueryScores(
        kept=np.concatenate([part.kept for part in parts]),
        precision={k: np.concatenate([part.precision[k] for part in parts]) for k in ks},
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ("ap", "chance", "chance_ap")},
    )


def _summary(
    scores: QueryScores, cases: Sequence[Case], ks: tuple[int, ...], num_draws: int, seed: int, left_out: dict[str, int]
) -> CaseEvaluation:
    labels, persons = np.array([case.label for case in cases]), np.array([case.person for case in cases])
    drawn = resample([case.subject for case in cases], len(cases), num_draws, seed)
    weights = np.concatenate([np.ones((1, len(cases))), drawn.weights])  # (1 + B, Q): the first row is the estimate
    columns = {f"precision@{k}": scores.precision[k] for k in ks}
    columns |= {"mAP": scores.ap, "chance": scores.chance, "chance mAP": scores.chance_ap}
    classes = {name: (int((labels == name).sum()), len(set(persons[labels == name]))) for name in sorted(set(labels))}
    values = {}
    for name, column in columns.items():
        values[name] = _means(weights, column)
        of_class = np.stack([_means(weights[:, labels == one], column[labels == one]) for one in classes])  # (C, 1 + B)
        values |= {f"{name}/{one}": row for one, row in zip(classes, of_class, strict=True)}
        values[f"{name}/{MACRO}"] = np.nanmean(of_class, axis=0)  # a draw without a class is judged by the others
    estimates = {name: float(one[0]) for name, one in values.items()}
    bootstrap = Bootstrap(estimates, {name: one[1:] for name, one in values.items()}, drawn)
    return CaseEvaluation(bootstrap, classes, ks, len(cases), left_out)


def _means(weights: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Weighted means (B,) of (Q,); nan where all weights are 0."""
    total = weights.sum(axis=1)
    return np.where(total > 0, weights @ column / np.maximum(total, 1), np.nan)
