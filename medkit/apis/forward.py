"""One pass of any mmdet detector over a batch: half precision and flip test-time augmentation.

A mirrored copy of each image is run too. CenterNet (medkit's head): heat map (as probability), size and offset are
averaged with the mirrored ones before boxes are read off, as in the official code (Zhou et al., arXiv 1904.07850),
which leaves out the offset. Any other detector: `merge_views`. ``tools/predict.py --tta``
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.models.detectors.single_stage import SingleStageDetector
from mmdet.structures import DetDataSample
from torch import Tensor

from medkit.apis.prediction import Boxes
from medkit.models.detection import CenterNetHead

__all__ = ["Detect", "merge_views"]


class Detect:
    """Call with a prepared batch, get boxes in pixels of the original images.

    Args:
        model: A detector (mmdet's `BaseDetector`) in evaluation mode.
        half: Compute in bfloat16 on a CPU, in float16 on a GPU. Boxes are decoded in float32, except where the
            detector is not single-stage and decodes inside its own ``predict``.
        flip_tta: Also look at the mirrored image.
    """

    def __init__(self, model: Any, half: bool = False, flip_tta: bool = False) -> None:
        self.model, self.half, self.flip_tta = model, half, flip_tta
        self.single_stage = isinstance(model, SingleStageDetector)

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, samples: list[DetDataSample]) -> list[Boxes]:
        """Boxes of each image of ``inputs`` (B, 3, H, W), normalised and padded."""
        if not self.flip_tta:
            return self._boxes(inputs, samples)
        if self.single_stage and isinstance(self.model.bbox_head, CenterNetHead):
            maps = mean_maps(self._maps(inputs), self._maps(inputs.flip(-1)))
            return self._decoded(maps, samples)
        first, second = self._boxes(inputs, samples), self._boxes(_mirrored(inputs, samples), samples)
        widths = [sample.ori_shape[1] for sample in samples]
        return [merge_views(a, _mirror_boxes(b, w)) for a, b, w in zip(first, second, widths, strict=True)]

    def _boxes(self, inputs: Tensor, samples: list[DetDataSample]) -> list[Boxes]:
        if self.single_stage:
            return self._decoded(self._maps(inputs), samples)
        with self._autocast(inputs):
            found = self.model.predict(inputs, [sample.clone() for sample in samples], rescale=True)
        return [_arrays(sample.pred_instances) for sample in found]

    def _maps(self, inputs: Tensor) -> Any:
        """Output of the head in float32: lists over levels of (B, C, H, W)."""
        with self._autocast(inputs):
            return _float(self.model.bbox_head(self.model.extract_feat(inputs)))

    def _decoded(self, maps: Any, samples: list[DetDataSample]) -> list[Boxes]:
        metas = [sample.metainfo for sample in samples]
        found = self.model.bbox_head.predict_by_feat(*maps, batch_img_metas=metas, rescale=True)
        return [_arrays(one) for one in found]

    def _autocast(self, inputs: Tensor) -> torch.autocast:
        kind = inputs.device.type
        return torch.autocast(kind, torch.float16 if kind == "cuda" else torch.bfloat16, enabled=self.half)


def mean_maps(straight: Any, mirrored: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Mean of CenterNet's logits (B, C, H, W), sizes and offsets (B, 2, H, W each) over both views.

    A centre at x, in cells, stands at W - x in the mirrored map: cell W - 1 - floor(x), offset 1 - offset.
    """
    (logits,), (wh,), (offset,) = straight
    logits_m, wh_m, offset_m = (maps[0].flip(-1) for maps in mirrored)
    heat = (logits.double().sigmoid() + logits_m.double().sigmoid()) / 2  # double: the logit of 1 - 1e-8 is finite
    offset_m = torch.stack([1 - offset_m[:, 0], offset_m[:, 1]], dim=1)
    return [heat.logit()], [(wh + wh_m) / 2], [(offset + offset_m) / 2]


def merge_views(first: Boxes, second: Boxes, iou_thr: float = 0.5) -> Boxes:
    """Join the boxes of two views of one image, the second already mirrored back.

    In each class the surest box takes those that overlap it by ``iou_thr`` or more; they become their mean weighted
    by score. The score is the mean over the views of the best score in each, 0 where a view saw nothing, so that a box
    of one view alone counts half, as it does in a mean of heat maps.
    """
    bboxes, scores, labels = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    view = np.repeat([0, 1], [len(first[1]), len(second[1])])  # (N,)
    left = np.ones(len(scores), bool)
    merged = []
    for index in np.argsort(-scores, kind="stable"):
        if not left[index]:
            continue
        taken = left & (labels == labels[index]) & (_iou(bboxes[index], bboxes) >= iou_thr)
        taken[index] = True  # also a box without area
        left &= ~taken
        best = [scores[taken & (view == v)].max(initial=0) for v in (0, 1)]
        weights = np.maximum(scores[taken], 1e-12)
        merged.append((np.average(bboxes[taken], axis=0, weights=weights), sum(best) / 2, labels[index]))
    if not merged:
        return first
    columns = zip(*merged, strict=True)
    return np.array(next(columns), np.float32), np.array(next(columns), np.float32), np.array(next(columns), np.int64)


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box (4,) with boxes (N, 4)."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inter = size.clip(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).clip(min=0).prod(1)
    return inter / np.maximum((box[2:] - box[:2]).clip(min=0).prod() + areas - inter, 1e-9)


def _mirrored(inputs: Tensor, samples: list[DetDataSample]) -> Tensor:
    """Each image mirrored in its place, the padding to its right left there, so that clipping stays right."""
    inputs = inputs.clone()
    for image, sample in zip(inputs, samples, strict=True):
        width = sample.img_shape[1]
        image[..., :width] = image[..., :width].flip(-1)
    return inputs


def _mirror_boxes(boxes: Boxes, width: int) -> Boxes:
    bboxes, scores, labels = boxes
    return np.stack([width - bboxes[:, 2], bboxes[:, 1], width - bboxes[:, 0], bboxes[:, 3]], axis=1), scores, labels


def _float(maps: Any) -> Any:
    if isinstance(maps, Tensor):
        return maps.float()
    return type(maps)(_float(each) for each in maps) if isinstance(maps, (list, tuple)) else maps


def _arrays(found: Any) -> Boxes:
    return found.bboxes.float().cpu().numpy(), found.scores.float().cpu().numpy(), found.labels.cpu().numpy()
