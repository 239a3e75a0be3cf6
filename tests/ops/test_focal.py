"""Focal losses through mmcv.ops: torchvision's and PyTorch's own, labels outside the classes, derivatives."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from torch.autograd import gradcheck
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

TARGET = torch.tensor([0, 1, 2, 3, 4, 0, -1])  # 4 and -1 are background


@pytest.fixture
def logits(generator, device):
    return (3 * torch.randn(7, 4, generator=generator, dtype=torch.double)).to(device).requires_grad_()


def test_sigmoid_equals_torchvision(logits, device):
    target = TARGET.to(device)
    one_hot = (target[:, None] == torch.arange(4, device=device)).double()
    theirs = torchvision_focal_loss(logits, one_hot, alpha=0.25, gamma=2)
    ours = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "mean"), theirs.sum() / 7)
    weight = torch.tensor([1.0, 2, 3, 4], dtype=torch.double, device=device)
    rows = torch.tensor([1.0, 2, 3, 4, 1, 1, 1], dtype=torch.double, device=device)
    weighted = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    torch.testing.assert_close(weighted, theirs * rows[:, None])


def test_softmax_is_cross_entropy_when_gamma_is_0(logits, device):
    target = torch.tensor([0, 1, 2, 3, -1, 0, -1], device=device)
    loss = softmax_focal_loss(logits, target, 0.0, 1.0, None, "sum")
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, ignore_index=-1, reduction="sum"))
    weight = torch.rand(4, dtype=torch.double, device=device)
    each = softmax_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    p = logits.softmax(1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    wanted = -0.25 * (1 - p) ** 2 * p.log() * weight[target.clamp(min=0)] * (target >= 0)
    torch.testing.assert_close(each, wanted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients(logits, device, gamma, reduction):
    weight = torch.rand(4, dtype=torch.double, device=device)
    target = TARGET.to(device)
    assert gradcheck(lambda x: sigmoid_focal_loss(x, target, gamma, 0.25, weight, reduction), logits)
    target = target.where(target < 4, 0)
    assert gradcheck(lambda x: softmax_focal_loss(x, target, gamma, 0.25, weight, reduction), logits)


@pytest.mark.parametrize("dtype", [torch.float, torch.half, torch.bfloat16])
@pytest.mark.parametrize("loss", [sigmoid_focal_loss, softmax_focal_loss])
def test_extreme_logits_stay_finite(loss, dtype, device):
    x = torch.tensor([[-90.0, 90.0], [90.0, -90.0]], dtype=dtype, device=device).requires_grad_()
    value = loss(x, torch.tensor([0, 0], device=device), 2.0, 0.25, None, "sum")
    value.backward()
    assert value.dtype == dtype and torch.isfinite(value) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("loss", [sigmoid_focal_loss, softmax_focal_loss])
def test_no_samples(loss, device):
    x = torch.zeros(0, 4, device=device, requires_grad=True)
    loss(x, torch.zeros(0, dtype=torch.long, device=device), 2.0, 0.25, None, "sum").backward()
    assert x.grad.shape == (0, 4)
