"""Intervals by resampling patients, and the paired comparison of two models (Efron and Tibshirani, 1993).

A draw takes as many patients as there are, with replacement, and all images of each: frames of one patient are no
independent evidence. A draw is a weight per image, so nothing is matched again: confusion matrices of single images
are added up with the weights, and so are the true and false positives that average precision is made of. A draw gives
what `match` of the repeated images would give (to the last bit, but for equal scores in one image, whose order matters
to AP). The score threshold stays what it was: its choice is no part of the interval. Two models bootstrapped with the
same patients and seed see the same draws, which makes them comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import csr_array

from .average_precision import HIT, RECALLS, UNMATCHED, ClassHits, coco_hits
from .matching import Matches, Thresholds
from .matrix import lesion_matrices_per_image
from .resampling import Resampling
from .table import binary_view

__all__ = ["Bootstrap", "Difference", "bootstrap", "compare", "percentiles"]

DRAWS_AT_ONCE = 50  # bounds the memory


@dataclass(frozen=True)
class Bootstrap:
    """Draws of every metric.

    Names: lesion/precision, lesion/recall, lesion/f1 (macro), coco/mAP, coco/mAP_50; per class index
    lesion/precision_0, lesion/recall_0, lesion/f1_0, ... and coco/AP_0, ...; with malignant classes
    lesion/sensitivity_all and the other fields of `BinaryView`.

    Attributes:
        estimates: Name -> value on the set itself.
        draws: Name -> ``(B,)``; nan where a draw has nothing to judge by (no lesion of a class).
        resampling: What was drawn.
    """

    estimates: dict[str, float]
    draws: dict[str, np.ndarray]
    resampling: Resampling

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a metric."""
        return percentiles(self.draws[name], level)


def percentiles(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle share ``level`` of draws ``(B,)``; nan where there are none."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    matches: Matches,
    score_thr: Thresholds,
    resampling: Resampling,
    ap: bool = True,
    malignant: Sequence[int] = (),
) -> Bootstrap:
    """Bootstrap the lesion-level rates at a threshold and, with ``ap``, COCO's mAP and AP50.

    Args:
        matches: What `match` returned.
        score_thr: One threshold, or one per class; the same in all draws.
        resampling: What `resample` returned for the patients of these images.
        ap: Average precision too; it takes nearly all of the time.
        malignant: Malignant classes, for sensitivity and specificity; none leaves these out.
    """
    itself = np.ones((1, matches.num_images), np.int16)
    weights = np.concatenate([itself, resampling.weights])  # (1 + B, N): the first row is the estimate
    matrices = _weighted(lesion_matrices_per_image(matches, score_thr), weights)  # (1 + B, C+1, C+1)
    values = _lesion_rates(matrices)
    if len(malignant):
        views = [asdict(binary_view(matrix, malignant)) for matrix in matrices]
        values |= {f"lesion/{name}": np.array([view[name] for view in views]) for name in views[0]}
    if ap:
        values |= _ap_values(coco_hits(matches), weights)
    return Bootstrap(
        {name: float(one[0]) for name, one in values.items()}, {n: one[1:] for n, one in values.items()}, resampling
    )


def _weighted(per_image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Matrices ``(B, C+1, C+1)`` of the draws from those of single images ``(N, C+1, C+1)``."""
    num, size = per_image.shape[:2]
    sums = weights.astype(np.float64) @ per_image.reshape(num, -1).astype(np.float64)
    return sums.reshape(-1, size, size)


def _lesion_rates(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 ``(B,)``, per class and macro, from matrices ``(B, C+1, C+1)``."""
    size = matrix.shape[1]
    hits = np.diagonal(matrix, axis1=1, axis2=2)[:, 1:]  # (B, C)
    lesions, called = matrix[:, 1:].sum(axis=2), matrix[:, :, 1:].sum(axis=1)
    parts = {"precision": (hits, called), "recall": (hits, lesions), "f1": (2 * hits, lesions + called)}
    rates = {n: np.divide(a, b, out=np.zeros_like(a, dtype=float), where=b > 0) for n, (a, b) in parts.items()}
    values = {f"lesion/{name}": rate.mean(axis=1) for name, rate in rates.items()}
    return values | {f"lesion/{n}_{c}": rate[:, c] for n, rate in rates.items() for c in range(size - 1)}


def _ap_values(hits: list[ClassHits], weights: np.ndarray) -> dict[str, np.ndarray]:
    """mAP, AP50 and AP per class ``(B,)``; a class without lesions in a draw is nan there, and out of its means."""
    classes = [_Evidence.of(one, weights.shape[1]) for one in hits]
    starts = range(0, len(weights), DRAWS_AT_ONCE)
    parts = [[one.ap(weights[at : at + DRAWS_AT_ONCE]) for one in classes] for at in starts]  # (B', T) each
    ap = np.concatenate([np.stack(part, axis=1) for part in parts])  # (B, C, T)
    present = ~np.isnan(ap[:, :, 0])  # (B, C)
    count = np.maximum(present.sum(axis=1), 1)
    mean = np.where(present.any(axis=1)[:, None], np.nansum(ap, axis=1) / count[:, None], np.nan)  # (B, T)
    values = {"coco/mAP": mean.mean(axis=1), "coco/mAP_50": mean[:, 0]}
    return values | {f"coco/AP_{c}": ap[:, c].mean(axis=1) for c in range(len(hits))}


@dataclass(frozen=True)
class _Evidence:
    """What the AP of one class, all sizes together, is made of.

    ``images`` and ``outcomes`` ``(n, T)`` are those of the predictions whose outcome depends on the IoU threshold,
    by descending score; ``between`` ``(n+1, N)`` counts per image the other false positives before each of them.
    """

    gt_images: np.ndarray
    images: np.ndarray
    outcomes: np.ndarray
    between: csr_array

    @classmethod
    def of(cls, one: ClassHits, num_images: int) -> _Evidence:
        outcomes = one.outcomes[:, :, 0]  # (M, T)
        active = ~(outcomes == UNMATCHED).all(axis=1)
        always = one.counts[:, 0].copy()  # (D,) false positives whatever the IoU threshold
        always[one.candidates[~active]] = True
        sources, own = np.flatnonzero(always), one.candidates[active]
        cells = np.searchsorted(own, sources), one.pred_images[sources]  # the active prediction that comes next
        between = csr_array((np.ones(len(sources), np.int32), cells), shape=(len(own) + 1, num_images))
        return cls(one.gt_images[one.gt_counts[:, 0]], one.pred_images[own], outcomes[active], between)

    def ap(self, weights: np.ndarray) -> np.ndarray:
        """AP ``(B, T)`` of the draws."""
        total = weights[:, self.gt_images].sum(axis=1, dtype=np.int64)  # (B,)
        before = np.cumsum(self.between @ weights.T.astype(np.int32), axis=0, dtype=np.int32)[:-1].T  # (B, n)
        heavy = weights[:, self.images].astype(np.int32)  # (B, n)
        columns = []
        for outcome in self.outcomes.T:
            at = np.flatnonzero(outcome == HIT)
            true = np.cumsum(heavy[:, at], axis=1, dtype=np.int32)
            false = before[:, at] + np.cumsum(heavy * (outcome == UNMATCHED), axis=1, dtype=np.int32)[:, at]
            columns.append(_mean_precision(true, false, total))
        return np.stack(columns, axis=1)


def _mean_precision(true: np.ndarray, false: np.ndarray, total: np.ndarray) -> np.ndarray:
    """`precision_at` of each draw ``(B, n)``, averaged over the recalls ``(B,)``; nan where total ``(B,)`` is 0."""
    draws, num = true.shape
    envelope = np.zeros((draws, num + 1))  # the last column, 0, is beyond the last hit
    np.divide(true, false + true + np.spacing(1), out=envelope[:, :num])
    np.maximum.accumulate(envelope[:, ::-1], axis=1, out=envelope[:, ::-1])
    step = int(max(total.max(initial=0), true.max(initial=0))) + 2  # one sorted row for all draws: one search
    rows = np.arange(draws)[:, None] * step
    at = np.searchsorted((true + rows).ravel(), _hits_needed(total) + rows) - np.arange(draws)[:, None] * num
    means = np.take_along_axis(envelope, np.minimum(at, num), axis=1).mean(axis=1)
    return np.where(total > 0, means, np.nan)


def _hits_needed(total: np.ndarray) -> np.ndarray:
    """Fewest hits ``(B, R)`` at which the recall, hits / total ``(B,)`` in floating point, reaches each of COCO's."""
    whole = np.maximum(total, 1)[:, None]
    needed = np.maximum(np.ceil(RECALLS * whole).astype(np.int64) - 1, 0)  # rounding is off by one at most
    for _ in range(2):
        needed += needed / whole < RECALLS
    return needed


@dataclass(frozen=True)
class Difference:
    """First model minus second, on the same draws: estimate, percentile interval, two-sided bootstrap p."""

    estimate: float
    low: float
    high: float
    p: float


def compare(first: Bootstrap, second: Bootstrap, level: float = 0.95) -> dict[str, Difference]:
    """Paired differences of all metrics that both have.

    p is twice the smaller share of draws on one side of 0, counting 0 on both sides and one draw more (so it is
    never 0), at most 1.

    Raises:
        ValueError: the two were drawn from different images, patients, seeds or numbers of draws.
    """
    a, b = first.resampling, second.resampling
    if a.seed != b.seed or a.num_draws != b.num_draws or not np.array_equal(a.patients, b.patients):
        raise ValueError(
            f"the models were resampled differently ({a.num_draws} draws of {a.unit}, seed {a.seed}; {b.num_draws} "
            f"of {b.unit}, seed {b.seed}); evaluate both on the same images with the same patients and seed"
        )
    names = [name for name in first.draws if name in second.draws]
    return {n: _difference(first, second, n, level) for n in names}


def _difference(first: Bootstrap, second: Bootstrap, name: str, level: float) -> Difference:
    draws = first.draws[name] - second.draws[name]
    known = draws[~np.isnan(draws)]
    tail = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0)) + 1
    p = min(1.0, 2 * tail / (len(known) + 1)) if len(known) else float("nan")
    return Difference(first.estimates[name] - second.estimates[name], *percentiles(draws, level), p)
