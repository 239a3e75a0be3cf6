"""Boxes of a whole data set as flat arrays, and every overlap between a prediction and a ground-truth box.

All of the evaluation works on these arrays, so a data set is looped over once, here. Overlaps are kept as a
sparse list of pairs: a detector's hundred predictions touch few lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .boxes import ImageBoxes

__all__ = ["BoxSet", "Overlaps", "find_overlaps"]

PAIRS_AT_ONCE = 2_000_000  # bounds the memory of a set with many boxes in an image


@dataclass(frozen=True)
class BoxSet:
    """A data set. ``pred_*`` have one entry per prediction (P), ``gt_*`` one per ground-truth box (G).

    Both are in the order of the images, and of the boxes in an image; ``*_images`` holds positions of images.
    Boxes are xyxy in pixels, scores float32 in [0, 1], labels class indices from 0.
    """

    num_images: int
    num_classes: int
    pred_bboxes: np.ndarray
    pred_scores: np.ndarray
    pred_labels: np.ndarray
    pred_images: np.ndarray
    gt_bboxes: np.ndarray
    gt_labels: np.ndarray
    gt_ignore: np.ndarray
    gt_areas: np.ndarray
    gt_images: np.ndarray

    @classmethod
    def from_images(cls, images: Sequence[ImageBoxes], num_classes: int) -> BoxSet:
        """Join records of single images."""
        sides = []
        for kind in ("pred", "gt"):
            counts = [len(getattr(image, f"{kind}_labels")) for image in images]
            sides.append(np.repeat(np.arange(len(images)), counts))
        empty = ImageBoxes.create([], [], [], [], [])  # so that a set without images has typed arrays
        names = ("pred_bboxes", "pred_scores", "pred_labels", "gt_bboxes", "gt_labels", "gt_ignore", "gt_areas")
        joined = {name: np.concatenate([getattr(i, name) for i in (empty, *images)]) for name in names}
        return cls(num_images=len(images), num_classes=num_classes, pred_images=sides[0], gt_images=sides[1], **joined)

    @property
    def pred_areas(self) -> np.ndarray:
        """``(P,)`` width times height, as COCO's results have it."""
        sides = np.subtract(self.pred_bboxes[:, 2:], self.pred_bboxes[:, :2], dtype=np.float64)
        return sides[:, 0] * sides[:, 1]

    def repeated(self, counts: np.ndarray) -> BoxSet:
        """The set with image i ``counts[i]`` times over, copies side by side: one bootstrap draw, spelt out."""
        source = np.repeat(np.arange(self.num_images), counts)  # (N',)
        rows = {}
        for kind in ("pred", "gt"):
            images = getattr(self, f"{kind}_images")
            starts = np.searchsorted(images, np.arange(self.num_images + 1))
            sizes = np.diff(starts)[source]
            rows[f"{kind}_images"] = np.repeat(np.arange(len(source)), sizes)
            chosen = spread(starts[:-1][source], sizes)
            rows |= {
                name: getattr(self, name)[chosen]
                for name in self.__dataclass_fields__
                if name.startswith(f"{kind}_") and name != f"{kind}_images"
            }
        return BoxSet(num_images=len(source), num_classes=self.num_classes, **rows)


@dataclass(frozen=True)
class Overlaps:
    """Pairs (n,) of a prediction and a ground-truth box that share area, by prediction, then by box.

    ``ious`` is intersection over union; for a crowd region it is the share of the prediction inside it, as in
    COCO. Computed in float64 from x, y, width and height, exactly as pycocotools does.
    """

    preds: np.ndarray
    gts: np.ndarray
    ious: np.ndarray

    def where(self, mask: np.ndarray) -> Overlaps:
        """The pairs of a mask ``(n,)``."""
        return Overlaps(self.preds[mask], self.gts[mask], self.ious[mask])


def spread(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Runs ``start, start + 1, ...`` of the given sizes, joined."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - ends + sizes, sizes)


def find_overlaps(boxes: BoxSet) -> Overlaps:
    """Every pair of one image whose boxes share area."""
    starts = np.searchsorted(boxes.gt_images, np.arange(boxes.num_images + 1))
    sizes = np.diff(starts)[boxes.pred_images]  # (P,) boxes in the image of each prediction
    ends = np.cumsum(sizes)
    found, first = [], 0
    while first < len(sizes):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        preds = np.repeat(np.arange(first, last), sizes[first:last])
        gts = spread(starts[boxes.pred_images[first:last]], sizes[first:last])
        found.append(_measured(boxes, preds, gts))
        first = last
    if not found:
        return Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Overlaps(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _measured(boxes: BoxSet, preds: np.ndarray, gts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pred_xy, pred_wh, pred_end = _corners(boxes.pred_bboxes)
    gt_xy, gt_wh, gt_end = _corners(boxes.gt_bboxes)
    sides = np.minimum(pred_end[preds], gt_end[gts]) - np.maximum(pred_xy[preds], gt_xy[gts])  # (n, 2)
    shared = (sides > 0).all(axis=1)
    preds, gts, sides = preds[shared], gts[shared], sides[shared]
    inter = sides[:, 0] * sides[:, 1]
    pred_area, gt_area = (pred_wh[:, 0] * pred_wh[:, 1])[preds], (gt_wh[:, 0] * gt_wh[:, 1])[gts]
    whole = np.where(boxes.gt_ignore[gts], pred_area, pred_area + gt_area - inter)
    return preds, gts, inter / whole


def _corners(bboxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bboxes = bboxes.astype(np.float64)  # (N, 4)
    sides = bboxes[:, 2:] - bboxes[:, :2]
    return bboxes[:, :2], sides, bboxes[:, :2] + sides  # x + width: the rounding of xywh files
