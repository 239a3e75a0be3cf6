"""How good are descriptors of tiles? ADDR, and retrieval of tissue from other slides.

Gildenblat and Klaiman, "Self-Supervised Similarity Learning for Digital Pathology", arXiv 1905.08139. ADDR says how
much farther apart the descriptors of distant tiles are than those of neighbours; it is what the siamese loss optimises.
Retrieval uses labels that the training never sees. Command: ``python tools/benchmark_pathology.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
    there = neighbours >= 0
    if (there & (groups[neighbours] == groups[queries][:, None])).any():
        raise ValueError("a neighbour is of the query's own group; exclude it from the search")
    kept = there[:, 0]
    if not kept.any():
        raise ValueError("all tiles are of one group, so there is nothing to retrieve from others")
    hit = (there & (labels[neighbours] == labels[queries][:, None]))[kept]  # (Q', K)
    there = there[kept]
    return Retrieval(
        fraction={k: float((hit[:, :k].sum(1) / there[:, :k].sum(1)).mean()) for k in ks},
        recall={k: float(hit[:, :k].any(axis=1).mean()) for k in ks},
        mean_ap=_mean_average_precision(hit),
        chance=_chance(queries[kept], labels, groups),
        num_queries=int(kept.sum()),
    )


def _mean_average_precision(hit: np.ndarray) -> float:
    """Mean over queries of the mean precision at each hit; 0 for a query without any."""
    precision = hit.cumsum(axis=1) / np.arange(1, hit.shape[1] + 1)
    return float(((precision * hit).sum(1) / hit.sum(1).clip(min=1)).mean())


def _chance(queries: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """Mean over queries of the share of their label among the tiles of other groups."""
    shares = {}
    for group in np.unique(groups[queries]).tolist():
        others = labels[groups != group]
        for label in np.unique(labels[queries]).tolist():
            shares[group, label] = float((others == label).mean())
    pairs = zip(groups[queries].tolist(), labels[queries].tolist(), strict=True)
    return float(np.mean([shares[pair] for pair in pairs]))
