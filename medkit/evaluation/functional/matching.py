"""Which prediction belongs to which lesion: the lesion-level protocol and the one-to-one protocol.

Lesion-level protocol (liver ultrasound report), per image at a score threshold t:

1. P = predictions with score >= t.
2. A lesion's candidates are the predictions in P with IoU >= 0.25, of any class. None: the lesion is missed.
   Otherwise the candidate with the highest score names its class.
3. A prediction in P with IoU < 0.25 to every lesion is an over-detection.
4. A prediction that touches a lesion but is not its best counts nowhere.

The best candidate over all scores is also the best one above any t that it reaches, so one pass over the
images finds it and a threshold only decides whether it counts. Equal scores: the larger IoU decides, then the
lower class index, so the order of predictions never matters.

The one-to-one protocol is COCO's greedy assignment (Lin et al., 2014, https://arxiv.org/abs/1405.0312).

A confusion matrix is ``(C+1, C+1)``; row = truth, column = prediction, index 0 = None, class c = index c+1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .boxes import ImageBoxes, box_cover, box_iou

__all__ = ["LesionEvents", "lesion_events", "lesion_matrix", "one_to_one_matrix"]

NO_LABEL = -1


@dataclass(frozen=True)
class LesionEvents:
    """What the lesion-level protocol needs to know about a data set, for every threshold at once.

    ``lesion_*`` have one entry per lesion (L), ``over_*`` one per prediction that touches nothing (F).
    ``lesion_preds`` is the class of the best candidate (-1: none), ``lesion_scores`` its score (-inf: none);
    ``*_images`` index the images that were given.
    """

    lesion_labels: np.ndarray
    lesion_preds: np.ndarray
    lesion_scores: np.ndarray
    lesion_images: np.ndarray
    over_labels: np.ndarray
    over_scores: np.ndarray
    over_images: np.ndarray


def _best_candidates(image: ImageBoxes, iou: np.ndarray, iou_thr: float) -> tuple[np.ndarray, np.ndarray]:
    """Class and score of the best candidate of each lesion, ``(G,)`` each; iou is ``(P, G)``."""
    num_gt = iou.shape[1]
    if not iou.size:
        return np.full(num_gt, NO_LABEL), np.full(num_gt, -np.inf, np.float32)
    touching = iou >= iou_thr  # (P, G)
    scores = np.where(touching, image.pred_scores[:, None], -np.inf)  # (P, G)
    best_score = scores.max(axis=0)  # (G,)
    tied = np.where(touching & (scores == best_score), iou, -1.0)  # (P, G)
    by_label = np.argsort(image.pred_labels, kind="stable")
    best = by_label[tied[by_label].argmax(axis=0)]  # (G,) first of the largest IoU: the lowest class
    found = touching.any(axis=0)
    return np.where(found, image.pred_labels[best], NO_LABEL), best_score.astype(np.float32)


def _touches_nothing(image: ImageBoxes, iou: np.ndarray, iou_thr: float) -> np.ndarray:
    """Mask ``(P,)`` of predictions on no lesion and on no crowd region."""
    free = np.asarray(~(iou >= iou_thr).any(axis=1))
    if image.gt_ignore.any():
        crowds = image.gt_bboxes[image.gt_ignore]
        free &= ~(box_cover(image.pred_bboxes, crowds) >= iou_thr).any(axis=1)
    return free


def lesion_events(images: Sequence[ImageBoxes], iou_thr: float = 0.25) -> LesionEvents:
    """Run the lesion-level protocol over all images, leaving only the threshold open.

    Args:
        images: One record per image, empty images included.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
    """
    columns: list[list[np.ndarray]] = [[] for _ in range(7)]
    for index, image in enumerate(images):
        real = ~image.gt_ignore
        iou = box_iou(image.pred_bboxes, image.gt_bboxes[real])  # (P, G)
        preds, scores = _best_candidates(image, iou, iou_thr)
        free = _touches_nothing(image, iou, iou_thr)
        over = image.pred_labels[free]
        row = (
            image.gt_labels[real],
            preds,
            scores,
            np.full(len(preds), index),
            over,
            image.pred_scores[free],
            np.full(len(over), index),
        )
        for column, values in zip(columns, row, strict=True):
            column.append(values)
    kinds = (np.int64, np.int64, np.float32, np.int64, np.int64, np.float32, np.int64)
    return LesionEvents(
        *(
            np.concatenate(column).astype(kind) if column else np.zeros(0, kind)
            for column, kind in zip(columns, kinds, strict=True)
        )
    )


def lesion_matrix(events: LesionEvents, score_thr: float, num_classes: int) -> np.ndarray:
    """Confusion matrix ``(C+1, C+1)`` of the lesion-level protocol at one threshold."""
    size = num_classes + 1
    thr = np.float32(score_thr)  # scores are float32: a stored 0.35 must meet the threshold 0.35
    called = np.where(events.lesion_scores >= thr, events.lesion_preds + 1, 0)  # (L,)
    cells = (events.lesion_labels + 1) * size + called
    matrix = np.bincount(cells, minlength=size * size).reshape(size, size)
    kept = events.over_labels[events.over_scores >= thr]
    matrix[0, 1:] = np.bincount(kept, minlength=num_classes)
    return matrix


def _assign(iou: np.ndarray, iou_thr: float) -> list[tuple[int, int]]:
    """Greedy pairs (row, column): rows in their order take the free column of the largest IoU >= iou_thr."""
    free = iou.copy()
    pairs = []
    for row in np.flatnonzero((iou >= iou_thr).any(axis=1)) if iou.size else ():
        column = free.shape[1] - 1 - int(free[row, ::-1].argmax())  # of equal ones the last, as pycocotools
        if free[row, column] >= iou_thr:
            pairs.append((int(row), column))
            free[:, column] = -1.0
    return pairs


def _one_to_one_cells(image: ImageBoxes, score_thr: float, iou_thr: float) -> list[tuple[int, int]]:
    """Cells (truth, prediction) of one image, each to be counted once."""
    kept = np.flatnonzero(image.above(score_thr))
    kept = kept[np.argsort(-image.pred_scores[kept], kind="stable")]
    real = ~image.gt_ignore
    labels, gt_labels = image.pred_labels[kept], image.gt_labels[real]
    iou = box_iou(image.pred_bboxes[kept], image.gt_bboxes[real])  # (P, G)
    same_class = labels[:, None] == gt_labels[None, :]
    first = _assign(np.where(same_class, iou, -1.0), iou_thr)
    iou[[p for p, _ in first], :] = -1.0
    iou[:, [g for _, g in first]] = -1.0
    crowd = box_cover(image.pred_bboxes[kept], image.gt_bboxes[image.gt_ignore]) >= iou_thr
    crowd &= labels[:, None] == image.gt_labels[image.gt_ignore][None, :]
    dropped = set(np.flatnonzero(crowd.any(axis=1))) - {p for p, _ in first}
    iou[sorted(dropped), :] = -1.0
    pairs = first + _assign(iou, iou_thr)
    spent, found = {p for p, _ in pairs} | dropped, {g for _, g in pairs}
    cells = [(int(gt_labels[g]) + 1, int(labels[p]) + 1) for p, g in pairs]
    cells += [(int(gt_labels[g]) + 1, 0) for g in range(len(gt_labels)) if g not in found]
    return cells + [(0, int(labels[p]) + 1) for p in range(len(kept)) if p not in spent]


def one_to_one_matrix(
    images: Sequence[ImageBoxes], score_thr: float, num_classes: int, iou_thr: float = 0.5
) -> np.ndarray:
    """Confusion matrix ``(C+1, C+1)`` with every prediction and every lesion used at most once.

    Pass 1 is COCO's rule: by descending score, within the class, the free lesion of the largest IoU. Pass 2
    lets what is left over pair across classes (a confusion); the rest pairs with None. So the diagonal holds
    COCO's true positives, a row sums to the lesions of a class, a column to its predictions that were kept.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for image in images:
        for truth, called in _one_to_one_cells(image, score_thr, iou_thr):
            matrix[truth, called] += 1
    return matrix
