"""nms, soft-nms and nms_match through mmcv.ops, against loops written from their definitions."""

import numpy as np
import pytest
import torch
import torchvision
from mmcv.ops import batched_nms, nms, nms_match, soft_nms


def random_boxes(generator, number, device="cpu"):
    corner = torch.rand(number, 2, generator=generator) * 60
    size = torch.rand(number, 2, generator=generator) * 30 + 1
    scores = (torch.randperm(number, generator=generator) + 1) / number  # no ties
    return torch.cat([corner, corner + size], 1).to(device), scores.to(device)


def iou(a, b, offset=0):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area = sum((c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b))
    return width * height / (area - width * height)


def greedy(boxes, scores, threshold, offset):
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while left:
        first = left.pop(0)
        kept.append(first)
        left = [i for i in left if iou(boxes[first], boxes[i], offset) <= threshold]
    return kept


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_the_greedy_definition(device, generator, offset):
    boxes, scores = random_boxes(generator, 60, device)
    dets, kept = nms(boxes, scores, 0.4, offset=offset)
    assert kept.tolist() == greedy(boxes.tolist(), scores.tolist(), 0.4, offset)
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], 1))


def test_nms_threshold_is_a_float32(device):
    # IoU is exactly 3/5; float32(0.6) is not above float32(0.6), though it is above the float64 0.6.
    boxes = torch.tensor([[0.0, 0, 4, 1], [1, 0, 5, 1]], device=device)
    assert nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.6)[1].tolist() == [0, 1]


def test_nms_of_nothing_and_of_half_precision(device, generator):
    assert nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)[1].shape == (0,)
    boxes, scores = random_boxes(generator, 30, device)
    boxes = boxes.round()  # exact in half precision
    kept = nms(boxes.half(), scores.half(), 0.5)[1]
    assert kept.tolist() == nms(boxes.half().float(), scores.half().float(), 0.5)[1].tolist()


def test_nms_options_of_mmcv(generator):
    boxes, scores = random_boxes(generator, 40)
    everything = nms(boxes, scores, 0.4)[1].tolist()
    assert nms(boxes, scores, 0.4, max_num=3)[1].tolist() == everything[:3]
    above = nms(boxes, scores, 0.4, score_threshold=0.5)[1].tolist()
    assert above == [i for i in everything if scores[i] > 0.5]
    assert isinstance(nms(boxes.numpy(), scores.numpy(), 0.4)[1], np.ndarray)


def test_batched_nms_keeps_classes_apart(device, generator):
    boxes, scores = random_boxes(generator, 60, device)
    labels = torch.randint(0, 3, (60,), generator=generator).to(device)
    _, kept = batched_nms(boxes, scores, labels, dict(type="nms", iou_threshold=0.4))
    assert kept.tolist() == torchvision.ops.batched_nms(boxes, scores, labels, 0.4).tolist()
    dets, kept = batched_nms(boxes, scores, labels, dict(type="soft_nms", iou_threshold=0.4, min_score=0.1))
    assert (dets[:, 4] >= 0.1).all() and len(kept) == len(set(kept.tolist()))


def soft_loop(boxes, scores, method, threshold, sigma, min_score):
    left, scores, kept = list(range(len(boxes))), list(scores), []
    while left:
        best = max(left, key=lambda i: scores[i])
        left.remove(best)
        kept.append((best, scores[best]))
        for i in left:
            overlap = iou(boxes[best], boxes[i])
            if method == "gaussian":
                scores[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == "linear" else 0
        left = [i for i in left if scores[i] >= min_score]
    return kept


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_its_definition(device, generator, method):
    boxes, scores = random_boxes(generator, 50, device)
    dets, kept = soft_nms(boxes, scores, 0.3, sigma=0.5, min_score=0.05, method=method)
    expected = soft_loop(boxes.tolist(), scores.tolist(), method, 0.3, 0.5, 0.05)
    assert kept.tolist() == [index for index, _ in expected]
    np.testing.assert_allclose(dets[:, 4].cpu(), [score for _, score in expected], rtol=1e-5)
    assert torch.equal(dets[:, :4], boxes[kept])
    assert dets.device.type == device.type


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_of_boxes_without_area_stays_finite(method):
    point = torch.tensor([[3.0, 1, 3, 1]]).repeat(3, 1)
    dets, kept = soft_nms(point, torch.tensor([0.5, 0.6, 0.7]), 0.3, method=method)
    assert kept.tolist()[0] == 2 and torch.isfinite(dets).all()
    assert soft_nms(torch.zeros(0, 4), torch.zeros(0), 0.3)[1].shape == (0,)


def test_nms_match_groups_what_a_box_suppresses(generator):
    boxes, scores = random_boxes(generator, 50)
    groups = [group.tolist() for group in nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)]
    assert sorted(i for group in groups for i in group) == list(range(50))
    taken = set()
    for first, *rest in groups:
        assert first == max(set(range(50)) - taken, key=lambda i: scores[i])
        free = set(range(50)) - taken - {first}
        assert set(rest) == {i for i in free if iou(boxes[first].tolist(), boxes[i].tolist()) >= 0.4}
        assert rest == sorted(rest, key=lambda i: -scores[i])
        taken |= {first, *rest}
    assert nms_match(torch.zeros(0, 5), 0.4) == []
