"""Exact nearest neighbours among many descriptors: faiss proposes in float32, float64 decides, and a bound proves it.

faiss's flat index compares with every row, but in float32, where near ones change places and equal ones come in any
order. Here its proposals are scored again in float64, and a query whose k-th neighbour is not better than anything
that faiss left out, by more than float32 can err, is asked again with more proposals, in the end without faiss.
The result is therefore that of `medkit.evaluation.functional.neighbours.all_neighbours`.

    similarities, indices = nearest(bank, queries, k=20)
    distances, indices = nearest(bank, queries, 5, 'l2', exclude=(slide_of_row, slide_of_query))

Needs the extra ``medkit[selfsup]``. Timed by ``python tools/benchmark.py neighbours``.
"""

from types import ModuleType

import numpy as np

from medkit.errors import ConfigError
from medkit.evaluation.functional.neighbours import (
    Exclude,
    all_neighbours,
    check_vectors,
    greatest_length,
    group_codes,
    pair_scores,
    ranked,
    score_values,
)

__all__ = ["Neighbours", "nearest"]

_MARGIN = 32  # proposals beyond k
_WIDER = 8
_WIDEST = 4096  # proposals; beyond, one pass without faiss is quicker
_OWN_GROUP = 1024  # proposals for rows that are left out, at most, in the first round
_FLOAT32 = float(np.finfo(np.float32).eps) / 2
_NUMBERS_AT_ONCE = 8_000_000  # float64 numbers of proposals, 64 MB
_QUERIES_AT_ONCE = 4096
_MATRIX_FROM = 20  # queries; faiss 1.15 takes one pair at a time up to 128 000, at a fourteenth of the speed


def nearest(
    bank: np.ndarray,
    queries: np.ndarray,
    k: int,
    metric: str = "cosine",
    exclude: Exclude | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of ``bank`` for each query, exactly.

    Args:
        bank: (N, D).
        queries: (M, D).
        k: neighbours; all N when there are fewer.
        metric: ``'cosine'`` or ``'l2'``.
        exclude: groups (N,) of the bank and (M,) of the queries; rows of the query's own group are left out.

    Returns:
        Cosine similarities, falling, or Euclidean distances, rising, (M, k) float64, and indices (M, k) int64; of
        equal ones the lower index first. Where fewer than k rows are left, nan and -1.

    Raises:
        ConfigError: faiss is not installed, or an argument is out of range.
        DatasetError: vectors that are not finite or do not fit each other.
    """
    groups, of_queries = exclude or (None, None)
    return Neighbours(bank, metric, groups).search(queries, k, of_queries)


class Neighbours:
    """A bank of descriptors that is searched several times; it keeps the bank and one float32 copy of it.

    Args:
        bank: (N, D).
        metric: ``'cosine'`` or ``'l2'``.
        groups: (N,) of the rows, where searches are to leave out the query's own.
    """

    def __init__(self, bank: np.ndarray, metric: str = "cosine", groups: np.ndarray | None = None) -> None:
        self._faiss = _import_faiss()
        self.bank, _ = check_vectors(bank, np.asarray(bank)[:0], 1, metric)
        self.metric, self.groups = metric, None if groups is None else np.asarray(groups)
        self._centre = self.bank.mean(axis=0, dtype=np.float64) if metric == "l2" else None
        self._copy = self._prepare(self.bank)  # (N, D) float32
        self._lengths = _lengths(self.bank, self._copy)  # (2, N)

    @property
    def nbytes(self) -> int:
        """Memory of the float32 copy; the bank itself is the caller's."""
        return self._copy.nbytes

    def extend(self, rows: np.ndarray, groups: np.ndarray | None = None) -> None:
        """Put rows (n, D) behind those there are, whose float32 copies stay as they are, and so does the centre."""
        rows = check_vectors(self.bank, rows, 1, self.metric, trusted_bank=True)[1].astype(self.bank.dtype)
        if (groups is None) != (self.groups is None) or (groups is not None and len(groups) != len(rows)):
            raise ConfigError(f"{len(rows)} rows need as many groups where the bank has groups, and else none")
        copy = self._prepare(rows)
        self._lengths = np.concatenate([self._lengths, _lengths(rows, copy)], axis=1)
        self.bank, self._copy = np.concatenate([self.bank, rows]), np.concatenate([self._copy, copy])
        if self.groups is not None and groups is not None:
            self.groups = np.concatenate([self.groups, groups])

    def keep(self, rows: np.ndarray) -> None:
        """Leave only the rows of a mask (N,); they keep their order. At least one must stay."""
        if rows.shape != (len(self.bank),) or not rows.any():
            raise ConfigError(f"a mask {rows.shape} that keeps {int(rows.sum())} of {len(self.bank)} rows; keep some")
        self.bank, self._copy, self._lengths = self.bank[rows], self._copy[rows], self._lengths[:, rows]
        self.groups = None if self.groups is None else self.groups[rows]

    def search(self, queries: np.ndarray, k: int, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`; ``groups`` (M,) are those of the queries."""
        queries = check_vectors(self.bank, queries, k, self.metric, trusted_bank=True)[1]
        if (groups is None) != (self.groups is None):
            raise ConfigError("groups of the bank and of the queries go together; give both or none")
        exclude = None if groups is None or self.groups is None else (self.groups, np.asarray(groups))
        codes, k = group_codes(exclude, len(self.bank), len(queries)), min(k, len(self.bank))
        scale = max(float(self._lengths[0].max()), greatest_length(queries, queries)) if self.metric == "l2" else 1.0
        values, found = np.full((len(queries), k), np.nan), np.full((len(queries), k), -1)
        width, pending = k + _MARGIN + self._own(codes), np.arange(len(queries))
        while len(pending) and width <= min(_WIDEST, len(self.bank) - 1):
            proven = np.zeros(len(pending), bool)
            for start in range(0, len(pending), _QUERIES_AT_ONCE):
                rows = pending[start : start + _QUERIES_AT_ONCE]
                own = None if codes is None else (codes[0], codes[1][rows])
                answer = self._propose(queries[rows], k, width, own, scale)
                values[rows], found[rows], proven[start : start + _QUERIES_AT_ONCE] = answer
            width, pending = width * _WIDER, pending[~proven]
        if len(pending):
            own = None if codes is None else (codes[0], codes[1][pending])
            values[pending], found[pending] = all_neighbours(self.bank, queries[pending], k, self.metric, own)
        return values, found

    def _propose(
        self, queries: np.ndarray, k: int, width: int, codes: Exclude | None, scale: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and indices (m, k), and for which queries (m,) they are proven; for others nan and -1."""
        prepared = self._prepare(queries)
        rough, indices = self._faiss_search(prepared, width)  # (m, width), the nearest first
        left_out, error = rough[:, -1], self._error(prepared)  # no other row scores higher, but for the error
        if codes is not None:
            rough = np.where(codes[0][indices] == codes[1][:, None], -np.inf, rough)
            order = np.argsort(-rough, axis=1, kind="stable")
            rough, indices = (np.take_along_axis(part, order, axis=1) for part in (rough, indices))
        limit = rough[:, k - 1] - 2 * error  # what scores lower is none of the k
        proven = limit > left_out
        values, found = np.full((len(queries), k), np.nan), np.full((len(queries), k), -1)
        rows = np.flatnonzero(proven)
        wide = int((rough[rows] >= limit[rows, None]).sum(axis=1).max(initial=k))
        step = max(1, _NUMBERS_AT_ONCE // (wide * self.bank.shape[1]))
        for part in (rows[start : start + step] for start in range(0, len(rows), step)):
            near = indices[part, :wide]
            scores = pair_scores(self.bank[near], queries[part, None], self.metric, scale)  # (n, wide) float64
            scores[rough[part, :wide] == -np.inf] = -np.inf
            order = ranked(scores, near)[:, :k]
            values[part] = score_values(np.take_along_axis(scores, order, axis=1), self.metric, scale)
            found[part] = np.take_along_axis(near, order, axis=1)
        return values, found, proven

    def _faiss_search(self, prepared: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Float32 scores, the larger the nearer, and indices, (m, width)."""
        faiss, settings = self._faiss, self._faiss.cvar
        kind = faiss.METRIC_INNER_PRODUCT if self.metric == "cosine" else faiss.METRIC_L2
        before = settings.distance_compute_blas_threshold
        settings.distance_compute_blas_threshold = _MATRIX_FROM
        try:
            rough, indices = faiss.knn(prepared, self._copy, width, metric=kind)
        finally:
            settings.distance_compute_blas_threshold = before
        return rough if self.metric == "cosine" else -rough, indices

    def _error(self, prepared: np.ndarray) -> np.ndarray:
        """How far faiss's float32 scores can be from the true ones, (m,)."""
        steps = (self.bank.shape[1] + 8) * _FLOAT32  # of a sum of D products, and of making the copy
        if self.metric == "cosine":
            return np.full(len(prepared), 2 * steps)
        reach = np.linalg.norm(prepared, axis=1).astype(np.float64) + self._lengths[1].max()  # (m,), centred
        return 2 * steps * reach**2

    def _own(self, codes: Exclude | None) -> int:
        """Proposals that may fall to the rows left out."""
        if codes is None or not len(codes[1]):
            return 0
        sizes = np.bincount(codes[0], minlength=int(codes[1].max()) + 1)[codes[1]]
        return min(int(sizes.max()), _OWN_GROUP)

    def _prepare(self, vectors: np.ndarray) -> np.ndarray:
        """(n, D) float32 for faiss: of unit length, or with the bank's mean taken away, which keeps digits."""
        out = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), 65_536):
            part = vectors[start : start + 65_536].astype(np.float64)
            if self._centre is not None:
                part -= self._centre
            else:
                part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float64).tiny)
            out[start : start + len(part)] = part
        return out


def _lengths(rows: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """(2, n): lengths of rows and of their float32 copies."""
    return np.stack([np.linalg.norm(part, axis=1) for part in (rows, copy)])


def _import_faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "searching neighbours needs faiss; run `pip install medkit[selfsup]` (or `pip install faiss-cpu`)"
        ) from error
    return faiss
