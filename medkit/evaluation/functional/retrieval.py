"""How good are descriptors of tiles? ADDR, and retrieval of tissue from other slides.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139. ADDR says how
much farther apart the descriptors of distant tiles are than those of neighbours; it is what the siamese loss optimises.
Retrieval uses labels that the training never sees. Command: ``python tools/benchmark_pathology.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma


@dataclass(frozen=True)
class Addr:
    """Average descriptor distance ratio: far pairs over near pairs; 1 means no structure, scale does not matter.

    Attributes:
        pooled: ratio of the means over all pairs of all slides ("global ADDR").
        per_slide: ratio within each slide that has both kinds of pairs, by slide; `mean_of_slides` is their mean.
        num_near: number of near pairs.
        num_far: number of far pairs.
    """

    pooled: float
    per_slide: dict
    num_near: int
    num_far: int

    @property
    def mean_of_slides(self) -> float:
        """Mean of the slides' ratios; each slide counts alike."""
        return float(np.mean(list(self.per_slide.values())))


def addr(descriptors: np.ndarray, near_pairs: np.ndarray, far_pairs: np.ndarray, slides: np.ndarray) -> Addr:
    """ADDR of (N, D) descriptors from near and far pairs, (P, 2) indices, within the slides (N,).

    Raises:
        ValueError: no pair of one kind, a pair across slides, or near pairs that are all alike.
    """
    distance = {}
    for name, pairs in (("near", near_pairs), ("far", far_pairs)):
        if not len(pairs):
            raise ValueError(f"there is no {name} pair, so ADDR is not defined")
        if (slides[pairs[:, 0]] != slides[pairs[:, 1]]).any():
            raise ValueError(f"a {name} pair joins two slides; ADDR compares tiles of one slide")
        distance[name] = np.linalg.norm(descriptors[pairs[:, 0]] - descriptors[pairs[:, 1]], axis=1)
    if not distance["near"].any():
        raise ValueError("all near pairs have distance 0: the descriptors have collapsed")
    near_slide, far_slide = slides[near_pairs[:, 0]], slides[far_pairs[:, 0]]
    per_slide = {}
    for slide in np.intersect1d(near_slide, far_slide).tolist():
        near = distance["near"][near_slide == slide].mean()
        per_slide[slide] = float(distance["far"][far_slide == slide].mean() / near) if near > 0 else float("inf")
    return Addr(float(distance["far"].mean() / distance["near"].mean()), per_slide, len(near_pairs), len(far_pairs))


@dataclass(frozen=True)
class Retrieval:
    """What the tiles of a label find in other groups.

    Attributes:
        fraction: k -> part of the first k neighbours that have the query's label, averaged over queries.
        recall: k -> part of the queries with at least one such neighbour among the first k.
        mean_ap: mean average precision of the ranking, as far as it is given.
        chance: the fraction that random neighbours in other groups would reach.
        num_queries: number of queries; those with no tile of another group are left out.
    """

    fraction: dict[int, float]
    recall: dict[int, float]
    mean_ap: float
    chance: float
    num_queries: int


def retrieval_fractions(
    neighbours: np.ndarray,
    queries: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """Score neighbours by label. With ``groups`` of patients or of slides neighbours of the query's group are refused.

    Args:
        neighbours: (Q, K) indices into the tiles, nearest first, K >= max(ks); -1 where there is none. Give as many as
            there are tiles for the mean average precision of the whole ranking. `all_neighbours` finds them.
        queries: (Q,) indices of the tiles that were looked up.
        labels: (N,) of all tiles.
        groups: (N,) slide or patient of all tiles.
        ks: numbers of neighbours.

    Raises:
        ValueError: too few neighbours, one of the query's own group, or no query at all.
    """
    if not len(queries) or neighbours.shape[1] < max(ks):
        raise ValueError(f"{len(queries)} queries with {neighbours.shape[1]} neighbours; expected {max(ks)} or more")
    found = query_scores(neighbours, (labels[queries], groups[queries]), (labels, groups), ks)
    return Retrieval(
        fraction={k: float(found.precision[k].mean()) for k in ks},
        recall={k: float((found.precision[k] > 0).mean()) for k in ks},
        mean_ap=float(found.ap.mean()),
        chance=float(found.chance.mean()),
        num_queries=len(found.ap),
    )


@dataclass(frozen=True)
class QueryScores:
    """What each query found, Q' of them: those without a case of another group are left out.

    Attributes:
        kept: (Q,) which queries have a case of another group.
        precision: k -> (Q',) part of the first k neighbours that have the query's label.
        ap: (Q',) average precision of the ranking, as far as it is given; 0 where it holds no case of the label.
        chance: (Q',) precision of a random ranking: the part of the cases of other groups that have the label.
        chance_ap: (Q',) average precision of a random ranking of all cases of other groups, on average.
    """

    kept: np.ndarray
    precision: dict[int, np.ndarray]
    ap: np.ndarray
    chance: np.ndarray
    chance_ap: np.ndarray


def query_scores(
    neighbours: np.ndarray,
    queries: tuple[np.ndarray, np.ndarray],
    bank: tuple[np.ndarray, np.ndarray],
    ks: Sequence[int] = (1, 5, 10),
) -> QueryScores:
    """Score each query's neighbours by label.

    Args:
        neighbours: (Q, K) indices into the bank, nearest first, -1 where there is none.
        queries: labels and groups, (Q,) each.
        bank: labels and groups, (N,) each.
        ks: numbers of neighbours; of fewer neighbours, those that there are.

    Raises:
        ValueError: a neighbour of the query's own group, or no query with a neighbour.
    """
    (labels, groups), (bank_labels, bank_groups) = queries, bank
    there = neighbours >= 0
    if (there & (bank_groups[neighbours] == groups[:, None])).any():
        raise ValueError("a neighbour is of the query's own group; exclude it from the search")
    kept = there[:, 0]
    if not kept.any():
        raise ValueError("all tiles are of one group, so there is nothing to retrieve from others")
    hit = (there & (bank_labels[neighbours] == labels[:, None]))[kept]  # (Q', K)
    there = there[kept]
    relevant, others = _counts(labels[kept], groups[kept], bank_labels, bank_groups)
    return QueryScores(
        kept=kept,
        precision={k: hit[:, :k].sum(1) / there[:, :k].sum(1) for k in ks},
        ap=_average_precision(hit),
        chance=relevant / others,
        chance_ap=_random_ap(relevant, others),
    )


def _average_precision(hit: np.ndarray) -> np.ndarray:
    """Mean precision at each hit (Q,); 0 for a query without any."""
    precision = hit.cumsum(axis=1) / np.arange(1, hit.shape[1] + 1)
    return (precision * hit).sum(1) / hit.sum(1).clip(min=1)


def _random_ap(relevant: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Average precision of R relevant among N in random order, on average.

    At a hit at rank i the R - 1 other hits are equally likely at each of the N - 1 other ranks, so precision there is
    (1 + (i - 1) (R - 1) / (N - 1)) / i; a hit is equally likely at each rank.
    """
    harmonic = digamma(others + 1.0) + np.euler_gamma  # 1 + 1/2 + ... + 1/N
    rest = (relevant - 1) / np.maximum(others - 1, 1)
    return np.where(relevant > 0, (harmonic + rest * (others - harmonic)) / others, 0.0)


def _counts(
    labels: np.ndarray, groups: np.ndarray, bank_labels: np.ndarray, bank_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each query (Q,) how many of the bank's rows of other groups have its label, and how many there are."""
    of_label, label_codes = np.unique(np.concatenate([bank_labels, labels]), return_inverse=True)
    of_group, group_codes = np.unique(np.concatenate([bank_groups, groups]), return_inverse=True)
    num = len(bank_labels)
    cells, there = np.unique(group_codes[:num] * len(of_label) + label_codes[:num], return_counts=True)
    wanted = group_codes[num:] * len(of_label) + label_codes[num:]
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    own = np.where(cells[at] == wanted, there[at], 0)  # (Q,)
    per_label = np.bincount(label_codes[:num], minlength=len(of_label))
    per_group = np.bincount(group_codes[:num], minlength=len(of_group))
    return per_label[label_codes[num:]] - own, num - per_group[group_codes[num:]]
