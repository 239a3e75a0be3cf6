"""Which prediction belongs to which lesion: the lesion-level protocol, for every score threshold at once.

Lesion-level protocol (liver ultrasound report), per image at a score threshold t:

1. P = predictions with score >= t.
2. A lesion's candidates are the predictions in P with IoU >= 0.25, of any class. None: the lesion is missed.
   Otherwise the candidate with the highest score names its class.
3. A prediction in P with IoU < 0.25 to every lesion is an over-detection.
4. A prediction that touches a lesion but is not its best counts nowhere.

A lesion's best candidate of each class is found once; a threshold, one for all or one per class, then only decides
which of them count. Equal scores: the larger IoU decides, then the lower class index, so the order of predictions
never matters. Predictions on a crowd region are dropped, the region is no lesion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .boxes import ImageBoxes
from .boxset import BoxSet, Overlaps, find_overlaps

__all__ = ["LesionEvents", "LesionStatus", "Matches", "PredStatus", "Thresholds", "lesion_events", "match"]

NO_LABEL = -1
Thresholds = float | np.ndarray  # one for all classes, or one per class (C,)


class PredStatus(IntEnum):
    """What became of a prediction at a threshold."""

    BELOW = 0  # score under the threshold
    RIGHT = 1  # the best candidate of a lesion, and of its class
    CONFUSED = 2  # the best candidate of a lesion of another class
    EXTRA = 3  # touches a lesion that another prediction decides: counts nowhere
    OVER = 4  # touches no lesion: an over-detection
    IGNORED = 5  # touches no lesion, but a crowd region: dropped


class LesionStatus(IntEnum):
    """What became of a lesion at a threshold."""

    MISSED = 0
    RIGHT = 1
    CONFUSED = 2  # found, and named wrongly


@dataclass(frozen=True)
class LesionEvents:
    """What the lesion-level protocol needs to know about a data set, for every threshold at once.

    ``lesion_*`` have one entry per lesion (L), ``over_*`` one per prediction that touches nothing (F).
    ``lesion_preds`` is the class of the best candidate (-1: none), ``lesion_scores`` its score (-inf: none);
    ``*_images`` index the images that were given. ``class_scores`` and ``class_preds`` ``(L, C)`` hold the best
    candidate of each class: its score (-inf: none) and its index in the BoxSet (-1: none); ``class_ious`` its
    IoU. ``lesion_gts`` and ``over_preds`` are indices into the BoxSet.
    """

    lesion_labels: np.ndarray
    lesion_preds: np.ndarray
    lesion_scores: np.ndarray
    lesion_images: np.ndarray
    over_labels: np.ndarray
    over_scores: np.ndarray
    over_images: np.ndarray
    class_scores: np.ndarray
    class_ious: np.ndarray
    class_preds: np.ndarray
    lesion_gts: np.ndarray
    over_preds: np.ndarray

    def called(self, score_thr: Thresholds) -> np.ndarray:
        """Class ``(L,)`` that each lesion is given at a threshold; -1 where it is missed."""
        return _best_class(self.class_scores, self.class_ious, score_thr)

    def over(self, score_thr: Thresholds) -> np.ndarray:
        """Mask ``(F,)`` of the over-detections at a threshold."""
        return self.over_scores >= limits(score_thr, self.over_labels)

    def reaching(self, score_thr: Thresholds) -> LesionEvents:
        """The events of the predictions that reach a threshold, as if there were no others."""
        called, over = self.called(score_thr), self.over(score_thr)
        kept = self.class_scores >= np.asarray(score_thr, np.float32)  # (L, C)
        scores = np.where(kept, self.class_scores, -np.inf).astype(np.float32)
        return replace(
            self,
            lesion_preds=called,
            lesion_scores=scores.max(axis=1, initial=-np.inf),
            over_labels=self.over_labels[over],
            over_scores=self.over_scores[over],
            over_images=self.over_images[over],
            over_preds=self.over_preds[over],
            class_scores=scores,
            class_ious=np.where(kept, self.class_ious, -1.0),
            class_preds=np.where(kept, self.class_preds, -1),
        )


@dataclass(frozen=True)
class Matches:
    """Everything that matching finds out about a data set; all other functions read from it.

    Attributes:
        boxes: Predictions and ground truth as flat arrays.
        overlaps: Their overlaps.
        events: The lesion-level protocol.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
    """

    boxes: BoxSet
    overlaps: Overlaps
    events: LesionEvents
    iou_thr: float

    @property
    def num_images(self) -> int:
        """Number of images, those without boxes included."""
        return self.boxes.num_images

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.boxes.num_classes

    def deciding_preds(self, score_thr: Thresholds) -> np.ndarray:
        """Index ``(L,)`` of the prediction that decides each lesion; -1 where it is missed."""
        called = self.events.called(score_thr)
        chosen = np.take_along_axis(self.events.class_preds, np.maximum(called, 0)[:, None], axis=1)[:, 0]
        return np.where(called >= 0, chosen, -1)

    def lesion_status(self, score_thr: Thresholds) -> np.ndarray:
        """`LesionStatus` ``(L,)`` of each lesion; image and box: ``events.lesion_images``, ``events.lesion_gts``."""
        called = self.events.called(score_thr)
        right = called == self.events.lesion_labels
        return np.where(called < 0, LesionStatus.MISSED, np.where(right, LesionStatus.RIGHT, LesionStatus.CONFUSED))

    def pred_status(self, score_thr: Thresholds) -> np.ndarray:
        """`PredStatus` ``(P,)`` of each prediction; image: ``boxes.pred_images``."""
        boxes, events = self.boxes, self.events
        status = np.full(len(boxes.pred_scores), PredStatus.IGNORED)
        touching = (self.overlaps.ious >= self.iou_thr) & ~boxes.gt_ignore[self.overlaps.gts]
        status[self.overlaps.preds[touching]] = PredStatus.EXTRA
        status[events.over_preds] = PredStatus.OVER
        deciding = self.deciding_preds(score_thr)
        right = self.lesion_status(score_thr) == LesionStatus.RIGHT
        status[deciding[(deciding >= 0) & ~right]] = PredStatus.CONFUSED
        status[deciding[right]] = PredStatus.RIGHT  # last: a prediction may decide two lesions
        status[boxes.pred_scores < limits(score_thr, boxes.pred_labels)] = PredStatus.BELOW
        return status


def match(images: Sequence[ImageBoxes], num_classes: int, iou_thr: float = 0.25) -> Matches:
    """The one pass over a data set.

    Args:
        images: One record per image, empty images included.
        num_classes: Number of classes C.
        iou_thr: Smallest IoU at which a prediction touches a lesion.
    """
    return match_boxes(BoxSet.from_images(images, num_classes), iou_thr)


def match_boxes(boxes: BoxSet, iou_thr: float = 0.25) -> Matches:
    """`match` for boxes that are flat already."""
    overlaps = find_overlaps(boxes)
    return Matches(boxes, overlaps, _events(boxes, overlaps, iou_thr), iou_thr)


def lesion_events(images: Sequence[ImageBoxes], iou_thr: float = 0.25) -> LesionEvents:
    """Only the lesion-level protocol, with as many classes as occur; see `match`."""
    labels = [labels for image in images for labels in (image.pred_labels, image.gt_labels)]
    return match(images, max((int(one.max()) + 1 for one in labels if len(one)), default=1), iou_thr).events


def limits(score_thr: Thresholds, labels: np.ndarray) -> np.ndarray:
    """The threshold of each label, in float32 as scores are: a stored 0.35 must meet the threshold 0.35."""
    thr = np.asarray(score_thr, np.float32)
    return np.broadcast_to(thr, labels.shape) if thr.ndim == 0 else thr[labels]


def _events(boxes: BoxSet, overlaps: Overlaps, iou_thr: float) -> LesionEvents:
    touching = overlaps.where(overlaps.ious >= iou_thr)
    lesions = np.flatnonzero(~boxes.gt_ignore)  # (L,)
    class_preds, class_ious = _best_of_each_class(boxes, touching, lesions)
    scores = np.append(boxes.pred_scores, np.float32(-np.inf))  # the last one stands for 'no candidate'
    class_scores = scores[class_preds]  # (L, C)
    best = _best_class(class_scores, class_ious, -np.inf)  # (L,)
    free = np.ones(len(boxes.pred_scores), bool)
    free[touching.preds] = False  # crowd regions included
    over = np.flatnonzero(free)
    return LesionEvents(
        lesion_labels=boxes.gt_labels[lesions],
        lesion_preds=best,
        lesion_scores=class_scores.max(axis=1, initial=-np.inf),
        lesion_images=boxes.gt_images[lesions],
        over_labels=boxes.pred_labels[over],
        over_scores=boxes.pred_scores[over],
        over_images=boxes.pred_images[over],
        class_scores=class_scores,
        class_ious=class_ious,
        class_preds=class_preds,
        lesion_gts=lesions,
        over_preds=over,
    )


def _best_of_each_class(boxes: BoxSet, touching: Overlaps, lesions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and IoU ``(L, C)`` of each lesion's best candidate of each class."""
    preds = np.full((len(boxes.gt_labels), boxes.num_classes), -1)
    ious = np.full(preds.shape, -1.0)
    order = np.lexsort((touching.ious, boxes.pred_scores[touching.preds]))  # the best is written last
    cells = touching.gts[order], boxes.pred_labels[touching.preds[order]]
    preds[cells], ious[cells] = touching.preds[order], touching.ious[order]
    return preds[lesions], ious[lesions]


def _best_class(class_scores: np.ndarray, class_ious: np.ndarray, score_thr: Thresholds) -> np.ndarray:
    """Class ``(L,)`` of the highest score among those that reach their threshold; -1 where none does."""
    reached = (class_scores > -np.inf) & (class_scores >= np.asarray(score_thr, np.float32))
    scores = np.where(reached, class_scores, -np.inf)  # (L, C)
    tied = reached & (scores == scores.max(axis=1, keepdims=True, initial=-np.inf))
    return np.where(reached.any(axis=1), np.where(tied, class_ious, -2.0).argmax(axis=1), NO_LABEL)
