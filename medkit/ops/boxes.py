"""``bbox_overlaps`` with the signature of ``mmcv._ext``: IoU or IoF, each with each or pair by pair."""

import torch
from torch import Tensor

IOU, IOF = 0, 1


@torch.no_grad()
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fill ``ious``, (M, N) or, aligned, (M,), from xyxy boxes (M, 4) and (N, 4).

    ``mode`` 0 is intersection over union, 1 intersection over the first box. An overlap with a base of no
    area is 0.
    """
    first = bboxes1 if aligned else bboxes1[:, None]  # (M, 4) or (M, 1, 4)
    second = bboxes2 if aligned else bboxes2[None]
    wh = (
        torch.minimum(first[..., 2:], second[..., 2:])
        - torch.maximum(first[..., :2], second[..., :2])
        + offset
    )
    inter = wh.clamp(min=0).prod(-1)
    base = _area(first, offset)
    if mode == IOU:
        base = base + _area(second, offset) - inter
    ious.copy_(torch.where(base != 0, inter / base, 0))


def _area(boxes: Tensor, offset: int) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0] + offset) * (boxes[..., 3] - boxes[..., 1] + offset)
