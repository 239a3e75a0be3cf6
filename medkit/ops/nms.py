"""Non-maximum suppression with the signatures of ``mmcv._ext``: hard (torchvision), soft, matching.

Soft-NMS: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017. mmcv runs it
and nms_match on the CPU, also for detections on a GPU, so both are NumPy loops over rounds with all boxes at
once. Boxes are xyxy in pixels, (N, 4); ``offset`` 1 counts pixels inclusively (width = x2 - x1 + 1).
"""

import numpy as np
import torch
from torch import Tensor

from medkit.ops.common import as_float32, compute_dtype, torchvision_op

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes, (K,), by falling score.

    A box goes when its IoU with a kept one is above the threshold.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    boxes = boxes.to(compute_dtype(boxes))
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision_op("nms")(boxes, scores.to(boxes.dtype), as_float32(iou_threshold))


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS: scores of overlapping boxes fall instead of the boxes going.

    Fills the first K rows of ``dets`` (N, 5: xyxy and lowered score) and returns the K indices. ``method`` is
    0 naive, 1 linear, 2 gaussian. Order and ties follow the compiled kernel: in each round the first of the
    best boxes is swapped to the front, and a box under ``min_score`` is replaced by the last one. Two boxes
    without area overlap by 0.
    """
    state = _pack(boxes, scores)  # (N, 5)
    index = np.arange(len(state))
    length = len(state)
    front = 0
    while front < length:
        best = front + int(np.argmax(state[front:length, 4]))
        state[[front, best]] = state[[best, front]]
        index[[front, best]] = index[[best, front]]
        iou = _iou_with_rest(state[:length], front, offset)
        state[front + 1 : length, 4] *= _decay(iou, np.float32(iou_threshold), np.float32(sigma), method)
        low = state[:length, 4] < np.float32(min_score)
        low[: front + 1] = False
        order = _order_without(low)
        length = len(order)
        state[:length], index[:length] = state[order], index[order]
        front += 1
    dets[:length].copy_(torch.from_numpy(state[:length]))
    return torch.from_numpy(index[:length].copy())


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of detections (N, 5), each a kept index and then those it suppresses, by falling score.

    A box goes when its IoU with a kept one reaches the threshold.
    """
    state = _pack(dets[:, :4], dets[:, 4])
    order = torch.sort(dets[:, 4].detach().cpu(), descending=True).indices.numpy()
    state = state[order]
    free = np.ones(len(state), dtype=bool)
    groups = []
    for i in range(len(state)):
        if not free[i]:
            continue
        iou = _iou_with_rest(state, i, offset=0)
        taken = i + 1 + np.flatnonzero(free[i + 1 :] & (iou >= np.float32(iou_threshold)))
        free[taken] = False
        groups.append([int(k) for k in order[[i, *taken]]])
    return groups


def _pack(boxes: Tensor, scores: Tensor) -> np.ndarray:
    packed = torch.cat([boxes.detach().float(), scores.detach().float()[:, None]], dim=1)
    return packed.cpu().numpy().copy()  # (N, 5) float32


def _iou_with_rest(state: np.ndarray, i: int, offset: int) -> np.ndarray:
    """IoU of box i with those behind it, (N - i - 1,) float32; 0 where both have no area."""
    box, rest = state[i], state[i + 1 :]
    off = np.float32(offset)
    wh = np.minimum(box[2:4], rest[:, 2:4]) - np.maximum(box[:2], rest[:, :2]) + off
    inter = np.prod(np.maximum(wh, np.float32(0)), axis=1)
    area = (box[2] - box[0] + off) * (box[3] - box[1] + off)
    areas = (rest[:, 2] - rest[:, 0] + off) * (rest[:, 3] - rest[:, 1] + off)
    union = area + areas - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union != 0)


def _decay(iou: np.ndarray, threshold: np.float32, sigma: np.float32, method: int) -> np.ndarray:
    if method == NAIVE:
        return np.where(iou >= threshold, np.float32(0), np.float32(1))
    if method == LINEAR:
        return np.where(iou >= threshold, np.float32(1) - iou, np.float32(1))
    assert method == GAUSSIAN, f"soft-nms method {method}"
    return np.exp(-(iou * iou) / sigma)


def _order_without(drop: np.ndarray) -> np.ndarray:
    """Positions left when every dropped one, from the front, is refilled from the end."""
    kept = np.flatnonzero(~drop)
    length = len(kept)
    order = np.arange(length)
    holes = np.flatnonzero(drop[:length])
    order[holes] = kept[::-1][: len(holes)]
    return order
