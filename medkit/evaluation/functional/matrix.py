"""Confusion matrices of the lesion-level and of the one-to-one protocol.

A matrix is ``(C+1, C+1)``; row = truth, column = prediction, index 0 = None, class c = index c+1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .boxes import ImageBoxes
from .greedy import greedy
from .matching import LesionEvents, Matches, Thresholds, limits, match

__all__ = ["lesion_matrices_per_image", "lesion_matrix", "one_to_one_matrix"]


def lesion_matrix(events: LesionEvents, score_thr: Thresholds, num_classes: int) -> np.ndarray:
    """Confusion matrix ``(C+1, C+1)`` of the lesion-level protocol at one threshold, or one per class."""
    size = num_classes + 1
    cells = (events.lesion_labels + 1) * size + events.called(score_thr) + 1
    matrix = np.bincount(cells, minlength=size * size).reshape(size, size)
    matrix[0, 1:] = np.bincount(events.over_labels[events.over(score_thr)], minlength=num_classes)
    return matrix


def lesion_matrices_per_image(matches: Matches, score_thr: Thresholds) -> np.ndarray:
    """The matrices ``(N, C+1, C+1)`` of single images: what a bootstrap adds up with its weights."""
    events, size = matches.events, matches.num_classes + 1
    over = events.over(score_thr)
    truth = np.concatenate([events.lesion_labels + 1, np.zeros(over.sum(), np.int64)])
    called = np.concatenate([events.called(score_thr), events.over_labels[over]]) + 1
    images = np.concatenate([events.lesion_images, events.over_images[over]])
    cells = (images * size + truth) * size + called
    return np.bincount(cells, minlength=matches.num_images * size * size).reshape(-1, size, size)


def one_to_one_matrix(
    images: Sequence[ImageBoxes] | Matches, score_thr: Thresholds, num_classes: int, iou_thr: float = 0.5
) -> np.ndarray:
    """Confusion matrix ``(C+1, C+1)`` with every prediction and every lesion used at most once.

    Pass 1 is COCO's rule: by descending score, within the class, the free lesion of the largest IoU. Pass 2
    lets what is left over pair across classes (a confusion); the rest pairs with None. So the diagonal holds
    COCO's true positives, a row sums to the lesions of a class, a column to its predictions that were kept.
    """
    matches = images if isinstance(images, Matches) else match(images, num_classes)
    boxes = matches.boxes
    kept = boxes.pred_scores >= limits(score_thr, boxes.pred_labels)  # (P,)
    pairs = matches.overlaps.where((matches.overlaps.ious >= iou_thr) & kept[matches.overlaps.preds])
    crowd = boxes.gt_ignore[pairs.gts]
    same = boxes.pred_labels[pairs.preds] == boxes.gt_labels[pairs.gts]
    groups = boxes.pred_images[pairs.preds] * num_classes + boxes.pred_labels[pairs.preds]
    scores = boxes.pred_scores[pairs.preds]
    first = greedy(pairs, groups, scores, same[:, None], ~crowd[:, None], crowd)[:, 0]
    spent, found = np.zeros(len(kept), bool), boxes.gt_ignore.copy()
    spent[pairs.preds[first]] = True  # predictions on a crowd region of their class are dropped here
    found[pairs.gts[first]] = True
    left = ~spent[pairs.preds] & ~found[pairs.gts]
    second = greedy(pairs, boxes.pred_images[pairs.preds], scores, left[:, None])[:, 0]
    spent[pairs.preds[second]] = True
    found[pairs.gts[second]] = True
    hits = (first & ~crowd) | second
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(matrix, (boxes.gt_labels[pairs.gts[hits]] + 1, boxes.pred_labels[pairs.preds[hits]] + 1), 1)
    matrix[1:, 0] = np.bincount(boxes.gt_labels[~found], minlength=num_classes)
    matrix[0, 1:] = np.bincount(boxes.pred_labels[kept & ~spent], minlength=num_classes)
    return matrix
