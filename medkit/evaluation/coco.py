"""COCO box AP (Lin et al., 2014, https://arxiv.org/abs/1405.0312): six numbers, AP per class, per class and size.

All use one cap of 100 predictions per image and class. They are not rounded. A class, or a size, without ground truth
has AP nan and stays out of the means. Two back-ends give the same numbers to 1e-9: medkit's own on arrays, the default,
and pycocotools, the reference. Command: tools/test.py; time of both: tools/benchmark.py evaluation.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkit.errors import ConfigError

from .functional import AREAS, BoxSet, ImageBoxes, Matches, average_precision, coco_hits, match

__all__ = ["BACKENDS", "CocoResult", "coco_ap", "coco_result"]

MAX_DETS = 100
IOU_50, IOU_75 = 0, 5  # positions in the IoU thresholds .50, .55, ..., .95
BACKENDS = ("medkit", "pycocotools")


@dataclass(frozen=True)
class CocoResult:
    """The six COCO numbers as fractions; nan where there is no ground truth.

    ``class_ap`` is ``(C,)``; ``class_size_ap`` ``(C, 4)`` has the sizes all, small, medium, large; ``pr_50``
    ``(C, 101)`` is the interpolated precision at IoU .5 over the recalls 0, .01, ..., 1; ``backend`` is what
    computed it.
    """

    mAP: float
    mAP_50: float
    mAP_75: float
    mAP_s: float
    mAP_m: float
    mAP_l: float
    class_ap: np.ndarray
    class_size_ap: np.ndarray
    pr_50: np.ndarray
    backend: str

    def headline(self) -> dict[str, float]:
        """The six numbers under their usual names, in their usual order."""
        return {name: getattr(self, name) for name in ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")}


def coco_ap(images: Sequence[ImageBoxes] | Matches, num_classes: int, backend: str = "medkit") -> CocoResult:
    """COCO box AP of a data set.

    Args:
        images: One record per image, images without ground truth or without predictions included; or what
            `match` made of them.
        num_classes: Number of classes C.
        backend: 'medkit' or 'pycocotools'.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"COCO back-end {backend!r}; expected one of {', '.join(BACKENDS)}")
    matches = images if isinstance(images, Matches) else match(images, num_classes)
    if backend == "pycocotools":
        return coco_result(_pycocotools_precision(matches.boxes), backend)
    return coco_result(average_precision(coco_hits(matches)), backend)


def coco_result(precision: np.ndarray, backend: str) -> CocoResult:
    """Read the numbers off an array ``(IoU thresholds, recalls, C, sizes)`` that has -1 for absent classes."""
    every, small, medium, large = range(len(AREAS))
    num_classes = precision.shape[2]
    sizes = [[_mean(precision[:, :, c, size]) for size in range(len(AREAS))] for c in range(num_classes)]
    return CocoResult(
        mAP=_mean(precision[..., every]),
        mAP_50=_mean(precision[IOU_50, ..., every]),
        mAP_75=_mean(precision[IOU_75, ..., every]),
        mAP_s=_mean(precision[..., small]),
        mAP_m=_mean(precision[..., medium]),
        mAP_l=_mean(precision[..., large]),
        class_ap=np.array(sizes)[:, every],
        class_size_ap=np.array(sizes),
        pr_50=np.where(precision[IOU_50, ..., every] > -1, precision[IOU_50, ..., every], np.nan).T,
        backend=backend,
    )


def _mean(precision: np.ndarray) -> float:
    present = precision[precision > -1]  # -1 marks absent classes
    return float(present.mean()) if present.size else float("nan")


def _pycocotools_precision(boxes: BoxSet) -> np.ndarray:
    from pycocotools.cocoeval import COCOeval

    ground_truth = _annotations(boxes.gt_images, boxes.gt_labels, boxes.gt_bboxes)
    for entry, area, ignore in zip(ground_truth, boxes.gt_areas.tolist(), boxes.gt_ignore.tolist(), strict=True):
        entry |= {"area": area, "iscrowd": int(ignore)}
    found = _annotations(boxes.pred_images, boxes.pred_labels, boxes.pred_bboxes)
    for entry, score in zip(found, boxes.pred_scores.tolist(), strict=True):
        entry["score"] = score
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        evaluation = COCOeval(_coco(boxes, ground_truth), _coco(boxes, found), "bbox")
        evaluation.params.maxDets = [MAX_DETS]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., 0]


def _coco(boxes: BoxSet, annotations: list[dict]):
    """A pycocotools index; images are numbered by position, so image ids of the data set may repeat."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in range(boxes.num_images)],
        "categories": [{"id": label} for label in range(boxes.num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _annotations(images: np.ndarray, labels: np.ndarray, bboxes: np.ndarray) -> list[dict]:
    bboxes = bboxes.astype(np.float64)  # (N, 4)
    xywh = np.concatenate([bboxes[:, :2], bboxes[:, 2:] - bboxes[:, :2]], axis=1).tolist()
    return [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3]}
        for number, (image, label, box) in enumerate(  # from 1: pycocotools reads id 0 as 'no match'
            zip(images.tolist(), labels.tolist(), xywh, strict=True), start=1
        )
    ]
