"""COCO's greedy one-to-one assignment (Lin et al., 2014, https://arxiv.org/abs/1405.0312), for many images at once.

Predictions take turns within a group (an image, or a class of an image), best score first. One turn is done for
all groups together, for all IoU thresholds and sizes together, so the loop is as long as the busiest group.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .boxset import Overlaps

__all__ = ["greedy"]


def greedy(
    pairs: Overlaps,
    groups: np.ndarray,
    scores: np.ndarray,
    eligible: np.ndarray,
    preferred: np.ndarray | None = None,
    reusable: np.ndarray | None = None,
) -> np.ndarray:
    """Assign predictions to ground-truth boxes, under K rules side by side.

    A prediction takes, among its eligible boxes that are free, a preferred one before the others, then the
    largest IoU, then the last. Equal scores: the earlier prediction comes first.

    Args:
        pairs: The overlaps (n) to choose from.
        groups: Group of each pair's prediction ``(n,)``; a box must not occur in two groups.
        scores: Score of each pair's prediction ``(n,)``.
        eligible: ``(n, K)`` pairs that a rule allows.
        preferred: ``(n, K)`` pairs that come before the rest; default none.
        reusable: ``(n,)`` pairs whose box may serve many predictions (a crowd region); default none.

    Returns:
        Mask ``(n, K)`` of the pairs that were chosen: at most one per prediction and rule.
    """
    num, rules = eligible.shape
    chosen = np.zeros((num, rules), bool)
    if not num:
        return chosen
    turns = _turns(pairs.preds, groups, scores)
    order = np.lexsort((pairs.gts, pairs.ious, pairs.preds, turns))
    rank = np.arange(num) if preferred is None else np.arange(num)[:, None] + num * preferred[order]
    value = np.where(eligible[order], rank if rank.ndim == 2 else rank[:, None], -1)  # (n, K) larger is better
    boxes, gts = np.unique(pairs.gts[order], return_inverse=True)
    keeps_free = np.zeros(num, bool) if reusable is None else reusable[order]
    taken = np.zeros((len(boxes), rules), bool)
    preds = pairs.preds[order]
    bounds = np.append(np.flatnonzero(np.diff(turns[order], prepend=-1)), num)
    for start, stop in pairwise(bounds):
        blocked = taken[gts[start:stop]] & ~keeps_free[start:stop, None]
        free = np.where(blocked, -1, value[start:stop])  # (m, K)
        heads = np.flatnonzero(np.diff(preds[start:stop], prepend=-1))
        best = np.maximum.reduceat(free, heads, axis=0)  # (predictions, K)
        row, rule = np.nonzero(best >= 0)
        position = best[row, rule] % num
        chosen[order[position], rule] = True
        taken[gts[position], rule] = True
    return chosen


def _turns(preds: np.ndarray, groups: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Place ``(n,)`` of each pair's prediction in its group, from 0."""
    _, first, inverse = np.unique(preds, return_index=True, return_inverse=True)
    order = np.lexsort((preds[first], -scores[first], groups[first]))
    sorted_groups = groups[first][order]
    heads = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    place = np.arange(len(order)) - np.repeat(heads, np.diff(np.append(heads, len(order))))
    turns = np.empty(len(order), np.int64)
    turns[order] = place
    return turns[inverse]
