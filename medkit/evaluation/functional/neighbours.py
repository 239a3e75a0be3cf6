"""Nearest neighbours by comparing with everything, in float64: what `medkit.apis.neighbours` must agree with.

Cosines closer than 1e-13 count as equal, as do squared distances closer than that part of the greatest squared length;
of equal ones the lower index is nearer, so that the result does not depend on how a library orders its sums.
`weighted_vote` is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (CVPR
2018), the k-NN of self-supervision.
Used by the k-NN probe of ``python tools/train.py`` and by ``python tools/knn.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medkit.errors import ConfigError, DatasetError

__all__ = [
    "METRICS",
    "all_neighbours",
    "check_vectors",
    "greatest_length",
    "group_codes",
    "pair_scores",
    "ranked",
    "score_values",
    "weighted_vote",
]

METRICS = ("cosine", "l2")
_DECIMALS = 13
_SCORES_AT_ONCE = 32_000_000  # float64 numbers, 256 MB
_ROWS_AT_ONCE = 65_536

Exclude = tuple[np.ndarray, np.ndarray]


def all_neighbours(
    bank: np.ndarray, queries: np.ndarray, k: int, metric: str = "cosine", exclude: Exclude | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of ``bank`` for each query.

    Args:
        bank: (N, D).
        queries: (M, D).
        k: neighbours; all N when there are fewer.
        metric: ``'cosine'`` or ``'l2'``.
        exclude: groups (N,) of the bank and (M,) of the queries; rows of the query's own group are left out.

    Returns:
        Cosine similarities, falling, or Euclidean distances, rising, (M, k) float64, and indices (M, k) int64. Where
        fewer than k rows are left, nan and -1.
    """
    bank, queries = check_vectors(bank, queries, k, metric)
    k = min(k, len(bank))
    codes = group_codes(exclude, len(bank), len(queries))
    scale = greatest_length(bank, queries) if metric == "l2" else 1.0
    values, found = np.full((len(queries), k), np.nan), np.full((len(queries), k), -1)
    step = max(1, _SCORES_AT_ONCE // len(bank))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        scores = _block_scores(bank, queries[rows], metric, scale)  # (m, N), the larger the nearer
        if codes is not None:
            scores[codes[1][rows, None] == codes[0]] = -np.inf
        for row, indices in enumerate(_best(scores, k), start):
            exact = pair_scores(bank[indices], queries[row], metric, scale)
            order = ranked(exact, indices)
            values[row, : len(indices)] = score_values(exact[order], metric, scale)
            found[row, : len(indices)] = indices[order]
    return values, found


def weighted_vote(
    similarities: np.ndarray, labels: np.ndarray, num_classes: int, temperature: float = 0.07
) -> np.ndarray:
    """Votes (M, K) of neighbours with ``labels`` (M, k) and cosines (M, k), of weight exp(cosine / temperature)."""
    weights = np.exp(similarities / temperature)
    votes = np.zeros((len(labels), num_classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes


def check_vectors(
    bank: np.ndarray, queries: np.ndarray, k: int, metric: str, *, trusted_bank: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, or an error that names what is wrong with them; a trusted bank is known to be finite."""
    bank, queries = np.asarray(bank), np.asarray(queries)
    if metric not in METRICS:
        raise ConfigError(f"metric={metric!r}; expected one of {METRICS}")
    if k < 1:
        raise ConfigError(f"k={k} neighbours; expected 1 or more")
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or not len(bank):
        raise DatasetError(f"bank {bank.shape} and queries {queries.shape}; expected (N, D) and (M, D), N at least 1")
    for name, vectors in (("bank", bank[:0] if trusted_bank else bank), ("queries", queries)):
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            wrong = ~np.isfinite(vectors[start : start + _ROWS_AT_ONCE]).all(axis=1)
            if wrong.any():
                raise DatasetError(
                    f"row {start + int(wrong.argmax())} of the {name} holds NaN or infinity; the network that made it "
                    "diverged, or its input is broken"
                )
    return bank, queries


def group_codes(exclude: Exclude | None, num_bank: int, num_queries: int) -> Exclude | None:
    """Groups of any type as whole numbers that are equal where the groups are."""
    if exclude is None:
        return None
    groups = [np.asarray(part) for part in exclude]
    if [part.shape for part in groups] != [(num_bank,), (num_queries,)]:
        raise DatasetError(
            f"exclude has groups of shape {groups[0].shape} and {groups[1].shape}; expected one for each of "
            f"{num_bank} rows of the bank and of {num_queries} queries"
        )
    codes = np.unique(np.concatenate(groups), return_inverse=True)[1]
    return codes[:num_bank], codes[num_bank:]


def pair_scores(rows: np.ndarray, query: np.ndarray, metric: str, scale: float = 1.0) -> np.ndarray:
    """Scores of ``rows`` (..., D) and ``query`` (..., D), float64, each pair summed in the same order.

    Cosine similarity (0 for a vector of zeros), or minus the squared distance over ``scale`` squared.
    """
    rows, query = np.asarray(rows, np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        return -np.square((rows - query) / scale).sum(axis=-1)
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(query, axis=-1)
    return (rows * query).sum(axis=-1) / np.maximum(lengths, np.finfo(np.float64).tiny)


def ranked(scores: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Order along the last axis: the larger score first, of equal ones the lower index."""
    return np.lexsort((indices, -np.round(scores, _DECIMALS)), axis=-1)


def score_values(scores: np.ndarray, metric: str, scale: float) -> np.ndarray:
    """What a user is given: cosine similarities, or Euclidean distances."""
    return scores if metric == "cosine" else np.sqrt(-scores) * scale


def greatest_length(bank: np.ndarray, queries: np.ndarray) -> float:
    """The greatest length of a vector, so that rounding means the same for metres and micrometres."""
    return max(*(float(np.linalg.norm(part, axis=1).max(initial=0)) for part in (bank, queries)), 1e-30)


def _block_scores(bank: np.ndarray, queries: np.ndarray, metric: str, scale: float) -> np.ndarray:
    """(m, N) of a few queries, by matrix products."""
    queries = queries.astype(np.float64)
    tiny = np.finfo(np.float64).tiny
    scores = np.empty((len(queries), len(bank)))
    if metric == "cosine":
        queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), tiny)
    for start in range(0, len(bank), _ROWS_AT_ONCE):
        rows = bank[start : start + _ROWS_AT_ONCE].astype(np.float64)
        part = scores[:, start : start + len(rows)]
        if metric == "cosine":
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), tiny)
            np.matmul(queries, rows.T, out=part)
        else:
            rows, scaled = rows / scale, queries / scale
            np.matmul(2 * scaled, rows.T, out=part)  # minus the squared distance, term by term
            part -= np.square(scaled).sum(axis=1)[:, None]
            part -= np.square(rows).sum(axis=1)
    return np.round(scores, _DECIMALS, out=scores)


def _best(scores: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """Indices of the k largest scores of each row, of equal ones the first; left-out ones never."""
    least = np.partition(scores, -k, axis=1)[:, -k]  # (m,)
    for row, limit in zip(scores, least, strict=True):
        candidates = np.flatnonzero((row >= limit) & (row > -np.inf))
        yield candidates[np.argsort(-row[candidates], kind="stable")[:k]]
