"""COCO box AP computed in memory by pycocotools (Lin et al., 2014, https://arxiv.org/abs/1405.0312).

All six numbers and the per-class AP use one cap of 100 predictions per image and class. They are not rounded.
A class, or a size, without ground truth has AP nan and stays out of the means. Command: tools/test.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .functional import ImageBoxes

__all__ = ["CocoResult", "coco_ap"]

MAX_DETS = 100
IOU_50, IOU_75 = 0, 5  # positions in pycocotools' IoU thresholds .50, .55, ..., .95


@dataclass(frozen=True)
class CocoResult:
    """The six COCO numbers as fractions, and AP per class ``(C,)``; nan where there is no ground truth."""

    mAP: float
    mAP_50: float
    mAP_75: float
    mAP_s: float
    mAP_m: float
    mAP_l: float
    class_ap: np.ndarray

    def headline(self) -> dict[str, float]:
        """The six numbers under their usual names, in their usual order."""
        return {name: getattr(self, name) for name in ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")}


def coco_ap(images: Sequence[ImageBoxes], num_classes: int) -> CocoResult:
    """COCO box AP of a data set.

    Args:
        images: One record per image; images without ground truth or without predictions included.
        num_classes: Number of classes C.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        evaluation = COCOeval(_ground_truth(images, num_classes), _predictions(images, num_classes), "bbox")
        evaluation.params.maxDets = [MAX_DETS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # (IoU thresholds, recalls, C, sizes)
    every, small, medium, large = range(4)
    return CocoResult(
        mAP=_mean(precision[..., every]),
        mAP_50=_mean(precision[IOU_50, ..., every]),
        mAP_75=_mean(precision[IOU_75, ..., every]),
        mAP_s=_mean(precision[..., small]),
        mAP_m=_mean(precision[..., medium]),
        mAP_l=_mean(precision[..., large]),
        class_ap=np.array([_mean(precision[:, :, c, every]) for c in range(num_classes)]),
    )


def _mean(precision: np.ndarray) -> float:
    present = precision[precision > -1]  # pycocotools marks absent classes with -1
    return float(present.mean()) if present.size else float("nan")


def _coco(images: Sequence[ImageBoxes], num_classes: int, annotations: list[dict]) -> COCO:
    """A pycocotools index; images are numbered by position, so image ids of the data set may repeat."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in range(len(images))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _ground_truth(images: Sequence[ImageBoxes], num_classes: int) -> COCO:
    annotations = [
        {"image_id": index, "category_id": label, "bbox": bbox, "area": area, "iscrowd": int(ignore)}
        for index, image in enumerate(images)
        for label, bbox, area, ignore in zip(
            image.gt_labels.tolist(),
            _xywh(image.gt_bboxes),
            image.gt_areas.tolist(),
            image.gt_ignore.tolist(),
            strict=True,
        )
    ]
    return _coco(images, num_classes, _numbered(annotations))


def _predictions(images: Sequence[ImageBoxes], num_classes: int) -> COCO:
    annotations = [
        {"image_id": index, "category_id": label, "bbox": bbox, "area": bbox[2] * bbox[3], "score": score}
        for index, image in enumerate(images)
        for label, bbox, score in zip(
            image.pred_labels.tolist(), _xywh(image.pred_bboxes), image.pred_scores.tolist(), strict=True
        )
    ]
    return _coco(images, num_classes, _numbered(annotations))


def _numbered(annotations: list[dict]) -> list[dict]:
    for number, annotation in enumerate(annotations, start=1):  # from 1: pycocotools reads id 0 as 'no match'
        annotation["id"] = number
    return annotations


def _xywh(bboxes: np.ndarray) -> list[list[float]]:
    bboxes = bboxes.astype(np.float64)  # (N, 4)
    return np.concatenate([bboxes[:, :2], bboxes[:, 2:] - bboxes[:, :2]], axis=1).tolist()
