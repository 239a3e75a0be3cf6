"""Intervals by resampling patients, and the paired comparison of two models (Efron and Tibshirani, 1993).

A draw takes as many patients as there are, with replacement, and all images of each: frames of one patient are no
independent evidence. A draw is a weight per image, so nothing is matched again: confusion matrices of single images
are added up with the weights, and so are the true and false positives that average precision is made of. A draw gives
what `match` of the repeated images would give (to the last bit, but for equal scores in one image, whose order matters
to AP). The score threshold stays what it was: its choice is no part of the interval. Two models bootstrapped with the same patients and seed see the same draws, which makes them comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import csr_array

from .average_precision import HIT, IOU_THRS, RECALLS, UNMATCHED, ClassHits, coco_hits
from .matching import Matches, Thresholds
from .matrix import lesion_matrices_per_image
from .table import binary_view

__all__ = ["Bootstrap", "Difference", "Resampling", "bootstrap", "compare", "resample"]

DRAWS_AT_ONCE = 50  # bounds the memory


@dataclass(frozen=True)
class Resampling:
    """Weights of a bootstrap.

    Attributes:
        weights: ``(B, N)`` int16: how often each draw holds each image.
        unit: What was drawn, for the reader: '154 patients', '59 images (no patient is known)', ...
        num_units: How many of them there are.
        seed: Seed of the draws.
        patients: ``(N,)`` unit of each image: two models are comparable only where these agree.
    """

    weights: np.ndarray
    unit: str
    num_units: int
    seed: int
    patients: np.ndarray

    @property
    def num_draws(self) -> int:
        """Number of draws B."""
        return len(self.weights)


def resample(
    patients: Sequence[str | None] | None, num_images: int, num_draws: int = 1000, seed: int = 0
) -> Resampling:
    """Draw patients.

    Args:
        patients: Patient of each image; an image without one (None or '') stands for a patient of its own.
        num_images: Number of images N.
        num_draws: Number of draws B.
        seed: Seed of the draws.
    """
    given = [None] * num_images if patients is None else list(patients)
    if len(given) != num_images:
        raise ValueError(f"{len(given)} patients for {num_images} images; give one for each image, in their order")
    unknown = sum(not one for one in given)
    names = [f"patient {one}" if one else f"image {index}" for index, one in enumerate(given)]
    _, units = np.unique(names, return_inverse=True) if names else (None, np.zeros(0, np.int64))
    num_units = int(units.max()) + 1 if len(units) else 0
    if unknown == num_images:
        unit = f"{num_images} images (no patient is known, so frames of one patient count as independent)"
    else:
        unit = f"{num_units} patients" + (f" ({unknown} images without one count as their own)" if unknown else "")
    rng = np.random.default_rng(seed)
    chances = np.full(num_units, 1 / max(num_units, 1))
    counts = rng.multinomial(num_units, chances, size=num_draws) if num_units else np.zeros((num_draws, 0))
    return Resampling(counts.astype(np.int16)[:, units], unit, num_units, seed, units)


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
    starts = range(0, len(weights), DRAWS_AT_ONCE)
    ap = np.concatenate([_class_ap(hits, weights[at : at + DRAWS_AT_ONCE]) for at in starts])  # (B, C, T)
    present = ~np.isnan(ap[:, :, 0])  # (B, C)
    count = np.maximum(present.sum(axis=1), 1)
    mean = np.where(present.any(axis=1)[:, None], np.nansum(ap, axis=1) / count[:, None], np.nan)  # (B, T)
    values = {"coco/mAP": mean.mean(axis=1), "coco/mAP_50": mean[:, 0]}
    return values | {f"coco/AP_{c}": ap[:, c].mean(axis=1) for c in range(len(hits))}


def _class_ap(hits: list[ClassHits], weights: np.ndarray) -> np.ndarray:
    """AP ``(B, C, T)`` of all sizes together."""
    ap = np.full((len(weights), len(hits), len(IOU_THRS)), np.nan)
    for label, one in enumerate(hits):
        total = weights[:, one.gt_images[one.gt_counts[:, 0]]].sum(axis=1, dtype=np.int64)  # (B,)
        outcomes = one.outcomes[:, :, 0]  # (M, T)
        active = ~(outcomes == UNMATCHED).all(axis=1)  # the others are false positives whatever the IoU threshold
        before = _base_false(one, active, weights)  # (B, n)
        heavy = weights[:, one.pred_images[one.candidates[active]]].astype(np.int32)  # (B, n)
        for thr, outcome in enumerate(outcomes[active].T):
            at = np.flatnonzero(outcome == HIT)
            true = np.cumsum(heavy[:, at], axis=1, dtype=np.int32)
            false = before[:, at] + np.cumsum(heavy * (outcome == UNMATCHED), axis=1, dtype=np.int32)[:, at]
            ap[:, label, thr] = _mean_precision(true, false, total)
    return ap


def _mean_precision(true: np.ndarray, false: np.ndarray, total: np.ndarray) -> np.ndarray:
    """`precision_at` of each draw ``(B, n)``, averaged over the recalls ``(B,)``; nan where total ``(B,)`` is 0."""
    num = true.shape[1]
    precision = np.divide(true, false + true + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate([envelope, np.zeros((len(true), 1))], axis=1)  # 0 beyond the last hit
    recall = true / np.maximum(total, 1)[:, None]
    ap = np.full(len(true), np.nan)
    for draw in np.flatnonzero(total):
        at = np.searchsorted(recall[draw], RECALLS, side="left") if num else np.zeros(len(RECALLS), int)
        ap[draw] = envelope[draw, at].mean()
    return ap


def _base_false(one: ClassHits, active: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted false positives ``(B, n)`` before each active candidate, of the predictions that never hit."""
    always = one.counts[:, 0].copy()  # (D,)
    always[one.candidates[~active]] = True
    sources = np.flatnonzero(always)
    places = np.searchsorted(one.candidates[active], sources)  # the active candidate that comes next
    shape = (int(active.sum()) + 1, weights.shape[1])
    counts = csr_array((np.ones(len(sources), np.int32), (places, one.pred_images[sources])), shape=shape)
    return np.cumsum(counts @ weights.T.astype(np.int32), axis=0, dtype=np.int32)[:-1].T


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
