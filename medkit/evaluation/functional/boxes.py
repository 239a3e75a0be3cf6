"""Boxes of one image, and their overlaps: the input that every evaluation function shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ImageBoxes", "box_areas", "box_cover", "box_iou"]


@dataclass(frozen=True)
class ImageBoxes:
    """Predictions and ground truth of one image, all boxes xyxy in pixels of the original image.

    Attributes:
        pred_bboxes: ``(P, 4)`` as the detector gave them.
        pred_scores: ``(P,)`` in [0, 1].
        pred_labels: ``(P,)`` class indices from 0.
        gt_bboxes: ``(G, 4)`` float64, as the annotation file has them (COCO AP is sensitive to rounding).
        gt_labels: ``(G,)`` class indices from 0.
        gt_ignore: ``(G,)`` True for crowd regions: neither hit nor miss, predictions on them are dropped.
        gt_areas: ``(G,)`` areas for the COCO size classes; the box area where the annotation has none.
    """

    pred_bboxes: np.ndarray
    pred_scores: np.ndarray
    pred_labels: np.ndarray
    gt_bboxes: np.ndarray
    gt_labels: np.ndarray
    gt_ignore: np.ndarray
    gt_areas: np.ndarray

    @classmethod
    def create(
        cls, pred_bboxes, pred_scores, pred_labels, gt_bboxes, gt_labels, gt_ignore=None, gt_areas=None
    ) -> ImageBoxes:
        """Build a record from anything array-like; empty lists stand for 'no box'."""
        gt_bboxes = np.asarray(gt_bboxes, dtype=np.float64).reshape(-1, 4)
        num_gt = len(gt_bboxes)
        ignore = np.zeros(num_gt, bool) if gt_ignore is None else np.asarray(gt_ignore, dtype=bool)
        areas = box_areas(gt_bboxes) if gt_areas is None else np.asarray(gt_areas, dtype=np.float64)
        return cls(
            pred_bboxes=np.asarray(pred_bboxes, dtype=np.float32).reshape(-1, 4),
            pred_scores=np.asarray(pred_scores, dtype=np.float32).reshape(-1),
            pred_labels=np.asarray(pred_labels, dtype=np.int64).reshape(-1),
            gt_bboxes=gt_bboxes,
            gt_labels=np.asarray(gt_labels, dtype=np.int64).reshape(-1),
            gt_ignore=ignore.reshape(-1),
            gt_areas=areas.reshape(-1),
        )

    def above(self, score_thr: float | np.ndarray) -> np.ndarray:
        """Mask ``(P,)`` of predictions with score >= score_thr, one or one per class ``(C,)``; in float32 as scores."""
        thr = np.asarray(score_thr, np.float32)
        return self.pred_scores >= (thr if thr.ndim == 0 else thr[self.pred_labels])


def box_areas(bboxes: np.ndarray) -> np.ndarray:
    """Areas ``(N,)`` of xyxy boxes ``(N, 4)``; a box turned inside out has area 0."""
    return np.prod(np.clip(bboxes[:, 2:] - bboxes[:, :2], 0, None), axis=1)


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])  # (N, M, 2)
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])  # (N, M, 2)
    return np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)  # (N, M)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union ``(N, M)`` of xyxy boxes, in float64; 0 where both areas are 0."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    inter = _intersections(first, second)
    union = box_areas(first)[:, None] + box_areas(second)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def box_cover(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share ``(N, M)`` of each first box that lies inside each second box: COCO's overlap with a crowd."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    inter = _intersections(first, second)
    area = np.broadcast_to(box_areas(first)[:, None], inter.shape)
    return np.divide(inter, area, out=np.zeros_like(inter), where=area > 0)
