"""bbox_overlaps through mmcv.ops, against a loop over pairs."""

import pytest
import torch
from mmcv.ops import bbox_overlaps

from tests.ops.test_nms import iou, random_boxes


@pytest.mark.parametrize("offset", [0, 1])
def test_iou_and_iof(device, generator, offset):
    first, _ = random_boxes(generator, 7, device)
    second, _ = random_boxes(generator, 5, device)
    expected = torch.tensor(
        [[iou(a, b, offset) for b in second.tolist()] for a in first.tolist()], device=device
    )
    torch.testing.assert_close(bbox_overlaps(first, second, offset=offset), expected)
    area = (first[:, 2] - first[:, 0] + offset) * (first[:, 3] - first[:, 1] + offset)
    base = area[:, None] + (second[:, 2] - second[:, 0] + offset) * (second[:, 3] - second[:, 1] + offset)
    inter = expected * base / (1 + expected)
    iof = bbox_overlaps(first, second, mode="iof", offset=offset)
    torch.testing.assert_close(iof, inter / area[:, None])
    aligned = bbox_overlaps(first[:5], second, aligned=True, offset=offset)
    torch.testing.assert_close(aligned, expected[:5].diagonal())


def test_nothing_and_boxes_without_area(device):
    empty = torch.zeros(0, 4, device=device)
    point = torch.full((1, 4), 3.0, device=device)
    assert bbox_overlaps(empty, point).shape == (0, 1)
    assert bbox_overlaps(point, point).item() == 0
