"""COCO's box average precision on arrays (Lin et al., 2014, https://arxiv.org/abs/1405.0312), and what it is made of.

The rules, the order of ties and the rounding are pycocotools': equal numbers to 1e-9 (tests/evaluation/test_coco.py).
One cap of 100 predictions per image and class holds for all numbers. All IoU thresholds and sizes are matched at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .boxset import BoxSet
from .greedy import greedy
from .matching import Matches

__all__ = ["AREAS", "IOU_THRS", "MAX_DETS", "RECALLS", "ClassHits", "average_precision", "coco_hits", "precision_at"]

MAX_DETS = 100
IOU_THRS = np.linspace(0.5, 0.95, 10)  # (T,)
RECALLS = np.linspace(0.0, 1.0, 101)  # (R,)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
UNMATCHED, HIT, IGNORED = 0, 1, 2  # outcomes of a prediction


@dataclass(frozen=True)
class ClassHits:
    """Outcome of COCO's matching for one class, predictions by descending score.

    Only predictions that could match anything, the candidates (M), have outcomes of their own; the others can
    only be false positives. Every array is cut at 100 predictions per image.

    Attributes:
        pred_images: ``(D,)`` image of each prediction.
        pred_scores: ``(D,)`` score of each prediction.
        counts: ``(D, A)`` predictions that are false positives at a size, whatever the IoU threshold.
        candidates: ``(M,)`` positions of the candidates among the D.
        outcomes: ``(M, T, A)`` int8: UNMATCHED (a false positive), HIT, IGNORED.
        gt_images: ``(G,)`` image of each ground-truth box.
        gt_counts: ``(G, A)`` boxes that count at a size; crowd regions never do.
    """

    pred_images: np.ndarray
    pred_scores: np.ndarray
    counts: np.ndarray
    candidates: np.ndarray
    outcomes: np.ndarray
    gt_images: np.ndarray
    gt_counts: np.ndarray


def coco_hits(matches: Matches) -> list[ClassHits]:
    """COCO's matching at all IoU thresholds (T) and sizes (A), per class."""
    boxes = matches.boxes
    gt_counts = _inside(boxes.gt_areas) & ~boxes.gt_ignore[:, None]  # (G, A)
    pred_inside = _inside(boxes.pred_areas)  # (P, A)
    candidates, outcomes = _candidate_outcomes(matches, gt_counts, pred_inside)
    order = np.lexsort((np.arange(len(boxes.pred_scores)), -boxes.pred_scores))
    order = order[_rank_in_image(boxes, order) < MAX_DETS]
    row_of = np.full(len(boxes.pred_scores), -1)
    row_of[candidates] = np.arange(len(candidates))
    hits = []
    for label in range(matches.num_classes):
        preds, gts = order[boxes.pred_labels[order] == label], boxes.gt_labels == label
        rows = row_of[preds]
        hits.append(
            ClassHits(
                pred_images=boxes.pred_images[preds],
                pred_scores=boxes.pred_scores[preds],
                counts=pred_inside[preds] & (rows < 0)[:, None],
                candidates=np.flatnonzero(rows >= 0),
                outcomes=outcomes[rows[rows >= 0]],
                gt_images=boxes.gt_images[gts],
                gt_counts=gt_counts[gts],
            )
        )
    return hits


def _inside(areas: np.ndarray) -> np.ndarray:
    """``(N, A)`` whether an area belongs to a size; both limits belong, as in COCO."""
    low, high = np.array(list(AREAS.values())).T
    return (areas[:, None] >= low) & (areas[:, None] <= high)


def _rank_in_image(boxes: BoxSet, order: np.ndarray) -> np.ndarray:
    """Place ``(P,)`` of each prediction among those of its image and class; ``order`` sorts all by score."""
    groups = boxes.pred_images[order] * boxes.num_classes + boxes.pred_labels[order]
    by_group = np.argsort(groups, kind="stable")
    heads = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    rank = np.empty(len(order), np.int64)
    rank[by_group] = np.arange(len(order)) - np.repeat(heads, np.diff(np.append(heads, len(order))))
    return rank


def _candidate_outcomes(
    matches: Matches, gt_counts: np.ndarray, pred_inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions ``(M,)`` with a box of their class at IoU >= .5, and their outcomes ``(M, T, A)``."""
    boxes, pairs = matches.boxes, matches.overlaps
    same = boxes.pred_labels[pairs.preds] == boxes.gt_labels[pairs.gts]
    pairs = pairs.where(same & (pairs.ious >= IOU_THRS[0]))
    num_t, num_a = len(IOU_THRS), len(AREAS)
    chosen = greedy(
        pairs,
        groups=boxes.pred_images[pairs.preds] * matches.num_classes + boxes.pred_labels[pairs.preds],
        scores=boxes.pred_scores[pairs.preds],
        eligible=np.repeat(pairs.ious[:, None] >= IOU_THRS, num_a, axis=1),  # (n, T * A)
        preferred=np.tile(gt_counts[pairs.gts], num_t),
        reusable=boxes.gt_ignore[pairs.gts],
    )
    candidates, rows = np.unique(pairs.preds, return_inverse=True)
    unmatched = np.where(pred_inside[candidates], UNMATCHED, IGNORED).astype(np.int8)  # (M, A)
    outcomes = np.repeat(unmatched[:, None, :], num_t, axis=1)  # (M, T, A)
    pair, rule = np.nonzero(chosen)
    size = rule % num_a
    outcomes[rows[pair], rule // num_a, size] = np.where(gt_counts[pairs.gts[pair], size], HIT, IGNORED)
    return candidates, outcomes


def average_precision(hits: list[ClassHits]) -> np.ndarray:
    """Interpolated precision ``(T, R, C, A)`` at the 101 recalls; -1 where a class has no box of a size.

    The layout of pycocotools' ``eval['precision']``: AP is the mean over the entries above -1.
    """
    precision = np.full((len(IOU_THRS), len(RECALLS), len(hits), len(AREAS)), -1.0)
    for label, one in enumerate(hits):
        total = one.gt_counts.sum(axis=0)  # (A,)
        before = np.cumsum(one.counts, axis=0)[one.candidates]  # (M, A) false positives up to each candidate
        false = before[:, None, :] + np.cumsum(one.outcomes == UNMATCHED, axis=0)  # (M, T, A)
        for size in np.flatnonzero(total):
            for thr in range(len(IOU_THRS)):
                at = np.flatnonzero(one.outcomes[:, thr, size] == HIT)
                true = np.arange(1.0, len(at) + 1)
                precision[thr, :, label, size] = precision_at(true, false[at, thr, size], total[size])
    return precision


def precision_at(true: np.ndarray, false: np.ndarray, total: float) -> np.ndarray:
    """Interpolated precision ``(R,)`` from true and false positives ``(n,)`` up to each hit, by descending score."""
    if not len(true):
        return np.zeros(len(RECALLS))
    precision = true / (false + true + np.spacing(1))  # COCO's guard against 0/0, kept for equal digits
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / total, RECALLS, side="left")
    return np.where(at < len(true), envelope[np.minimum(at, len(true) - 1)], 0.0)
