"""The distance-softmax loss against golden values and gradients, and where half precision would break it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.common import DistanceSoftmaxLoss

GOLDEN = Path(__file__).parents[2] / "golden" / "metric_embedding_loss"
TOLERANCE = json.loads(GOLDEN.with_suffix(".json").read_text())["tolerance"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN.with_suffix(".npz")) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def near(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize("classes", ["c2", "c3"])
@pytest.mark.parametrize("power, name", [(2, "squared"), (1, "unsquared")])
def test_values_and_gradients(golden, classes: str, power: int, name: str) -> None:
    loss = DistanceSoftmaxLoss(power=power)
    codes, anchors = (golden[f"{classes}/{key}"].clone().requires_grad_() for key in ("Fx", "Fz"))
    labels = golden[f"{classes}/y"]
    log_prob = loss.log_prob(codes, anchors)
    near(log_prob.exp(), golden[f"{classes}/{name}/P"])
    near(-log_prob[range(5), labels], golden[f"{classes}/{name}/loss_per_sample"])
    value = loss(codes, labels, anchors)
    near(value, golden[f"{classes}/{name}/loss_mean"])
    value.backward()
    near(codes.grad, golden[f"{classes}/{name}/grad_Fx"])
    near(anchors.grad, golden[f"{classes}/{name}/grad_Fz"])


@pytest.mark.parametrize("classes", ["c2", "c3"])
def test_each_code_may_have_its_own_anchors(golden, classes: str) -> None:
    codes, labels = golden[f"{classes}/Fx"], golden[f"{classes}/y"]
    anchors = golden[f"{classes}/Fz_per_sample"][:, :, None]  # (B, C, 1, K)
    near(DistanceSoftmaxLoss().log_prob(codes, anchors).exp(), golden[f"{classes}/per_sample/P"])
    near(DistanceSoftmaxLoss()(codes, labels, anchors), golden[f"{classes}/per_sample/loss_mean"])


@pytest.mark.parametrize("label", [0, 1])
def test_large_distances_stay_finite(golden, label: int) -> None:
    found = DistanceSoftmaxLoss()(golden["large/Fx"], torch.tensor([label]), golden["large/Fz"])
    near(found, golden[f"large/loss_if_y{label}"])


def test_bf16_autocast_computes_in_float32() -> None:
    torch.manual_seed(0)
    codes, anchors, labels = 1e3 + torch.rand(6, 150), 1e3 + torch.rand(2, 150), torch.tensor([0, 1, 0, 1, 0, 1])
    plain = DistanceSoftmaxLoss()(codes, labels, anchors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = DistanceSoftmaxLoss()(codes, labels, anchors)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)
    exact = DistanceSoftmaxLoss()(codes.double(), labels, anchors.double())
    torch.testing.assert_close(plain.double(), exact, rtol=1e-5, atol=0)  # (f - z)^2 expanded is off by far more
    half = DistanceSoftmaxLoss()(300 * torch.ones(1, 150).half(), torch.tensor([1]), torch.zeros(2, 150).half())
    assert half == pytest.approx(np.log(2))  # 1.35e7 twice: infinite in float16


def test_several_anchors_average_the_probabilities() -> None:
    torch.manual_seed(0)
    loss, codes, anchors = DistanceSoftmaxLoss(), torch.rand(5, 4), torch.rand(3, 2, 4)
    one, two = (loss.log_prob(codes, anchors[:, index]).exp() for index in (0, 1))
    torch.testing.assert_close(loss.log_prob(codes, anchors).exp(), (one + two) / 2)


def test_unlabelled_codes_take_no_part() -> None:
    torch.manual_seed(0)
    loss, codes, anchors = DistanceSoftmaxLoss(), torch.rand(4, 3, requires_grad=True), torch.rand(2, 3)
    part = loss(codes, torch.tensor([0, -1, 1, -1]), anchors)
    assert torch.equal(part, loss(codes[[0, 2]], torch.tensor([0, 1]), anchors))
    part.backward()
    assert not codes.grad[[1, 3]].any() and codes.grad[[0, 2]].any()
    nothing = loss(codes, torch.full((4,), -1), anchors)
    nothing.backward()
    assert nothing == 0


def test_entropy_and_temperature() -> None:
    anchors = torch.tensor([[1.0, 0], [-1, 0]])
    undecided, decided = torch.tensor([[0.0, 5]]), torch.tensor([[9.0, 0]])
    assert DistanceSoftmaxLoss().entropy(undecided, anchors) == pytest.approx(np.log(2))
    assert DistanceSoftmaxLoss().entropy(decided, anchors) < 1e-9
    cool, warm = (DistanceSoftmaxLoss(temperature=t).log_prob(torch.tensor([[0.5, 0]]), anchors) for t in (1.0, 4.0))
    assert warm[0, 0] - warm[0, 1] == pytest.approx((cool[0, 0] - cool[0, 1]).item() / 4)


def test_equal_code_and_anchor_have_finite_gradients() -> None:
    codes = torch.ones(1, 3, requires_grad=True)
    DistanceSoftmaxLoss(power=1)(codes, torch.tensor([0]), torch.stack([torch.ones(3), torch.zeros(3)])).backward()
    assert codes.grad.isfinite().all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="power=3, temperature=1"):
        DistanceSoftmaxLoss(power=3)
    with pytest.raises(ConfigError, match="temperature=0"):
        DistanceSoftmaxLoss(temperature=0)
    with pytest.raises(ValueError, match=r"labels \[2\] .* below 2"):
        DistanceSoftmaxLoss()(torch.rand(1, 3), torch.tensor([2]), torch.rand(2, 3))
    with pytest.raises(ValueError, match="expected"):
        DistanceSoftmaxLoss()(torch.rand(1, 3), torch.tensor([1]), torch.rand(2, 4))
