"""The focal loss from logits: the official values, mmdet's values, and no infinities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.losses import GaussianFocalLoss

from medkit.models.detection.centernet_losses import gaussian_focal_loss_with_logits

GOLDEN = Path(__file__).parents[2] / "golden"


def test_official_golden():
    """The official code clamps p to [1e-4, 1 - 1e-4]; feeding that clamped p as a logit gives its value."""
    golden = np.load(GOLDEN / "centernet_losses.npz")
    logits, target = torch.from_numpy(golden["hm_logits"]), torch.from_numpy(golden["hm_target"])
    clamped = torch.from_numpy(golden["hm_prob_clamped"]).double().logit()
    num_positive = target.eq(1).sum()
    for z in (logits, clamped):
        loss = gaussian_focal_loss_with_logits(z, target).sum() / num_positive
        np.testing.assert_allclose(loss, golden["focal"], rtol=1e-4)


def test_official_golden_without_positives():
    """Without a positive the official code sums and mmdet divides by 1: the same number."""
    golden = np.load(GOLDEN / "centernet_losses.npz")
    target = torch.from_numpy(golden["hm_target"]) * 0.9
    loss = gaussian_focal_loss_with_logits(torch.from_numpy(golden["hm_logits"]), target).sum()
    np.testing.assert_allclose(loss, golden["focal_no_positive"], rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"alpha": 1.5, "gamma": 2.0, "pos_weight": 3.0, "neg_weight": 0.5}])
def test_equals_mmdet_where_float32_is_healthy(settings):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, generator=generator) * 2
    target = torch.rand(2, 3, 16, 16, generator=generator)
    target[:, :, ::5, ::5] = 1
    expected = GaussianFocalLoss(reduction="none", **settings)(logits.sigmoid(), target)
    loss = gaussian_focal_loss_with_logits(logits, target, **settings)
    torch.testing.assert_close(loss.sum(), expected.sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("extreme", [-50.0, 50.0, 1e4, -1e4])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_extreme_logits_stay_finite(dtype, extreme, value):
    logits = torch.full((4,), extreme, dtype=dtype, requires_grad=True)
    loss = gaussian_focal_loss_with_logits(logits, torch.full((4,), value))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_a_wrong_sure_answer_costs_its_logit():
    """mmdet's clamp by 1e-12 flattens here (27.6) and its gradient dies; the log-sigmoid keeps growing."""
    logit = torch.tensor([-50.0], requires_grad=True)
    loss = gaussian_focal_loss_with_logits(logit, torch.ones(1))
    loss.backward()
    assert loss.item() == pytest.approx(50)
    assert logit.grad.item() == pytest.approx(-1)


def test_gradient_matches_numeric():
    logits = torch.tensor([-3.0, -0.5, 0.4, 2.5], requires_grad=True)
    target = torch.tensor([1.0, 0.3, 0.0, 1.0])
    gaussian_focal_loss_with_logits(logits, target).sum().backward()
    step = 1e-2
    for i in range(4):
        bump = torch.zeros(4)
        bump[i] = step
        up, down = (
            gaussian_focal_loss_with_logits((logits + s * bump).detach(), target).sum() for s in (1, -1)
        )
        assert logits.grad[i].item() == pytest.approx((up - down).item() / (2 * step), rel=1e-2, abs=1e-3)
