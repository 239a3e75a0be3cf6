"""RoIAlign and RoIPool through mmcv.ops: torchvision, a loop from the definition, and numeric derivatives."""

import math
from itertools import product

import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, RoIPool, roi_align, roi_pool
from torch.autograd import gradcheck

FAST = dict(fast_mode=True, nondet_tol=1e-9)  # sums on a GPU come in no fixed order

# One inside, one large, one partly outside, one without extent.
ROIS = torch.tensor(
    [[0, 1, 1, 12, 13], [1, 0.3, 2, 20, 30], [1, -3, -2, 5, 5], [0, 4, 4, 4, 4]], dtype=torch.double
)


@pytest.fixture
def image(generator, device):
    return torch.randn(2, 3, 8, 9, generator=generator, dtype=torch.double).to(device).requires_grad_()


@pytest.mark.parametrize(("ratio", "aligned"), list(product([0, 2], [True, False])))
def test_average_equals_torchvision(image, device, ratio, aligned):
    rois = ROIS.to(device)
    ours = roi_align(image, rois, (3, 4), 0.5, ratio, "avg", aligned)
    theirs = torchvision.ops.roi_align(image, rois, (3, 4), 0.5, ratio, aligned)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("ratio", "aligned", "mode"), list(product([0, 2], [True, False], ["avg", "max"])))
def test_roi_align_gradient(image, device, ratio, aligned, mode):
    rois = ROIS.to(device)
    assert gradcheck(lambda x: roi_align(x, rois, (3, 4), 0.5, ratio, mode, aligned), image, **FAST)


def test_max_is_the_largest_sample_point(image, device):
    # In bins of one point, average and maximum are the same; a bin of 2 x 2 has the largest of four.
    rois = ROIS[:3].to(device)
    torch.testing.assert_close(
        roi_align(image, rois, (3, 4), 0.5, 1, "max", True),
        roi_align(image, rois, (3, 4), 0.5, 1, "avg", True),
    )
    points = roi_align(image, rois, (6, 8), 0.5, 1, "avg", True)
    largest = torch.nn.functional.max_pool2d(points, 2)
    torch.testing.assert_close(roi_align(image, rois, (3, 4), 0.5, 2, "max", True), largest)


def roi_pool_loop(image, rois, size, scale):
    output = image.new_zeros(len(rois), image.shape[1], *size)
    height, width = image.shape[2:]
    for k, (batch, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        if x2 <= x1 or y2 <= y1:
            continue
        for i, j in product(range(size[0]), range(size[1])):
            top, bottom = (
                math.floor(y1 + i * (y2 - y1) / size[0]),
                math.ceil(y1 + (i + 1) * (y2 - y1) / size[0]),
            )
            left, right = (
                math.floor(x1 + j * (x2 - x1) / size[1]),
                math.ceil(x1 + (j + 1) * (x2 - x1) / size[1]),
            )
            window = image[int(batch), :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            if window.numel():
                output[k, :, i, j] = window.amax((1, 2))
    return output


def test_roi_pool_equals_its_definition(image, device):
    outside = torch.tensor([[0, 90, 90, 99, 99], [1, 9, 9, 2, 2]], dtype=torch.double)
    rois = torch.cat([ROIS, outside]).to(device)
    torch.testing.assert_close(roi_pool(image, rois, (3, 4), 0.5), roi_pool_loop(image, rois, (3, 4), 0.5))
    assert gradcheck(lambda x: roi_pool(x, rois, (3, 4), 0.5), image, **FAST)


@pytest.mark.parametrize("layer", [RoIAlign(3, 0.5), RoIAlign(3, 0.5, pool_mode="max"), RoIPool(3, 0.5)])
def test_no_boxes_and_half_precision(layer, image, device):
    nothing = layer(image, torch.zeros(0, 5, dtype=torch.double, device=device))
    assert nothing.shape == (0, 3, 3, 3)
    nothing.sum().backward()
    assert image.grad.abs().sum() == 0
    half = image.detach().half().requires_grad_()
    pooled = layer(half, ROIS.half().to(device))
    pooled.sum().backward()
    assert pooled.dtype == half.grad.dtype == torch.half
    wanted = layer(half.detach().float(), ROIS.half().float().to(device))
    torch.testing.assert_close(pooled.float(), wanted, atol=2e-3, rtol=2e-3)


def test_chunks_do_not_change_the_result(image, device, monkeypatch):
    whole = [
        roi_align(image, ROIS.to(device), 3, 0.5, 0, "max", True),
        roi_pool(image, ROIS.to(device), 3, 0.5),
    ]
    monkeypatch.setattr("medkit.ops.roi_max._BLOCK", 1)
    parts = [
        roi_align(image, ROIS.to(device), 3, 0.5, 0, "max", True),
        roi_pool(image, ROIS.to(device), 3, 0.5),
    ]
    torch.testing.assert_close(whole, parts)
