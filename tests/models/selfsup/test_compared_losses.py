"""Losses of the compared methods against NumPy in float64, against golden numbers, and in bfloat16."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.models.heads import MoCoV3Head
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.selfsup import CrossCorrelationHead, DINOHead, InfoNCELoss, dino_loss, nt_xent
from medkit.models.selfsup.nnclr import nearest_in


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def pair(rows: int, columns: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return z1, z1 + noise * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5])
def test_nt_xent_equals_golden(golden_dir: Path, temperature: float) -> None:
    with np.load(golden_dir / "nt_xent.npz") as arrays:
        golden = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    z1, z2 = golden["z1"].requires_grad_(), golden["z2"].requires_grad_()
    loss = nt_xent(z1, z2, temperature)
    loss.backward()
    for found, name in ((loss, "loss"), (z1.grad, "grad_z1"), (z2.grad, "grad_z2")):
        torch.testing.assert_close(found, golden[f"T{temperature}/{name}"], rtol=1e-8, atol=1e-9)


def barlow_numpy(z1: np.ndarray, z2: np.ndarray, weight: float) -> float:
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z1, z2))
    correlation = a.T @ b / len(a)
    on = ((np.diag(correlation) - 1) ** 2).sum()
    return on + weight * ((correlation**2).sum() - (np.diag(correlation) ** 2).sum())


def test_barlow_twins_equals_numpy() -> None:
    z1, z2 = pair(16, 24)
    head = CrossCorrelationHead(24, dict(type="mmpretrain.CrossCorrelationLoss", lambd=0.0051), loss_weight=0.5)
    expected = 0.5 * barlow_numpy(z1.numpy(), z2.numpy(), 0.0051)
    assert head.loss(z1.float(), z2.float()).item() == pytest.approx(expected, rel=1e-5)


def test_barlow_twins_gradient_equals_differences() -> None:
    """mmpretrain's loss works in place on the correlation; its gradient is right all the same."""
    z1, z2 = pair(6, 3)
    head = CrossCorrelationHead(3, dict(type="mmpretrain.CrossCorrelationLoss", lambd=0.1))
    x = z1.float().requires_grad_()
    head.loss(x, z2.float()).backward()
    for i, j in ((0, 0), (2, 1), (5, 2)):
        step = np.zeros_like(z1.numpy())
        step[i, j] = 1e-5
        low, high = (barlow_numpy(z1.numpy() + s * step, z2.numpy(), 0.1) for s in (-1, 1))
        assert x.grad[i, j].item() == pytest.approx((high - low) / 2e-5, rel=2e-3, abs=1e-5)


def test_moco_v3_as_configured_equals_mmpretrain() -> None:
    """`LatentPredictHead` with `medkit.InfoNCELoss` is `MoCoV3Head` with cross-entropy weighted 2T."""
    z1, z2 = pair(8, 12)
    head = MoCoV3Head(
        predictor=dict(type="medkit.ProjectionNeck", in_channels=12, hid_channels=6, out_channels=12),
        loss=dict(type="mmpretrain.CrossEntropyLoss", loss_weight=0.4),
        temperature=0.2,
    )
    ours = InfoNCELoss(0.2)(head.predictor([z1.float()])[0], z2.float())
    torch.testing.assert_close(ours, head.loss(z1.float(), z2.float()))


def dino_numpy(student: list[np.ndarray], teacher: list[np.ndarray], center: np.ndarray, ts: float, tt: float) -> float:
    terms = []
    for i, t in enumerate(teacher):
        target = np.exp(log_softmax((t - center) / tt))
        terms += [-(target * log_softmax(s / ts)).sum(1).mean() for j, s in enumerate(student) if j != i]
    return float(np.mean(terms))


def test_dino_equals_numpy() -> None:
    s = [torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    t, center = s[2:][::-1], torch.linspace(-1, 1, 10, dtype=torch.float64)
    found = dino_loss(s, t, center, 0.1, 0.04).item()
    arrays = ([x.numpy() for x in s], [x.numpy() for x in t], center.numpy())
    assert found == pytest.approx(dino_numpy(*arrays, 0.1, 0.04), rel=1e-12)
    x = s[0].clone().requires_grad_()
    dino_loss([x, s[1]], t, center, 0.1, 0.04).backward()
    assert x.grad is not None and t[0].grad is None


def test_dino_centre_and_temperature_follow_the_paper() -> None:
    head = DINOHead(8, 6, warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=4)
    assert [round(head.teacher_temp(epoch), 4) for epoch in (0, 1, 3, 4, 100)] == [0.04, 0.05, 0.07, 0.07, 0.07]
    teacher = [torch.randn(5, 6), torch.randn(5, 6)]
    head.loss([torch.randn(5, 6), torch.randn(5, 6)], teacher)
    torch.testing.assert_close(head.center, 0.1 * torch.cat(teacher).mean(0))  # after the loss; momentum 0.9
    with pytest.raises(ConfigError, match=r"temperatures 0\.1, 0, 0\.04 must be above 0"):
        DINOHead(8, 6, teacher_temp=0)


def test_nearest_neighbour_in_the_queue_equals_numpy() -> None:
    queue, z = (torch.from_numpy(unit(np.random.default_rng(i).normal(size=(n, 8)))) for i, n in ((0, 30), (1, 5)))
    expected = queue.numpy()[(z.numpy() @ queue.numpy().T).argmax(1)]
    torch.testing.assert_close(nearest_in(queue.float(), 3 * z.float()), torch.from_numpy(expected).float())


@pytest.mark.parametrize("name", ["simclr", "barlow", "dino"])
def test_loss_is_float32_in_bfloat16(name: str) -> None:
    """Under autocast the loss is that of the rounded outputs, computed in float32."""
    z1, z2 = (z.bfloat16() for z in pair(16, 32, noise=0.02))
    barlow = CrossCorrelationHead(32, dict(type="mmpretrain.CrossCorrelationLoss"))
    dino = DINOHead(32, 20)
    losses = {
        "simclr": lambda a, b: nt_xent(a, b),
        "barlow": lambda a, b: barlow.loss(a, b),
        "dino": lambda a, b: dino.loss([dino.prototypes((a,))] * 2, [dino.prototypes((b,))] * 2),
    }
    exact = losses[name](z1.float(), z2.float())
    dino.center.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        found = losses[name](z1, z2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)
