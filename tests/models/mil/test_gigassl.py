"""Giga-SSL: projector and schedule equal the released ones, the loss sees two views, faults are named."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medkit.engine import WarmupCosineLR
from medkit.errors import ConfigError
from medkit.models.mil import GigaSSL, GigaSSLProjector
from tests.models.mil.golden import Golden

GOLDEN = Path(__file__).parents[2] / "golden"


def model(aggregator: str = "SparseStageAggregator", **options) -> GigaSSL:
    torch.manual_seed(0)
    return GigaSSL(
        dict(type=f"medkit.{aggregator}", in_channels=4, out_channels=8),
        dict(type="medkit.GigaSSLProjector", in_channels=8, out_channels=6),
        **options,
    )


def views(slides: int = 4) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [
        dict(feats=torch.randn(slides, 5, 4, generator=draw), coords=torch.rand(slides, 5, 2, generator=draw) * 6)
        for _ in range(2)
    ]


def test_projector_equals_the_released_one() -> None:
    data = Golden(GOLDEN, "gigassl_projector")
    net = GigaSSLProjector(6, 4).double()
    data.load(net, {"": ""})
    data.close(net.train()(data["x"]), "out_train")
    data.close(net.eval()(data["x"]), "out_eval_after_one_train_step")


def test_learning_rate_equals_the_released_one() -> None:
    data = Golden(GOLDEN, "gigassl_lr_schedule")
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.03)
    options = dict(warmup=2, end=6, by_epoch=True, closed=True)
    schedule = WarmupCosineLR.build_iter_from_epoch(optimizer, epoch_length=4, **options)
    rates = []
    for _ in range(24):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    data.close(torch.tensor(rates, dtype=torch.float64), "lr")


@pytest.mark.parametrize("aggregator", ["SparseStageAggregator", "MLPMeanAggregator", "AttentionAggregator"])
def test_loss_falls_when_the_views_agree(aggregator: str) -> None:
    net = model(aggregator)
    first, second = views()
    apart, alike = net.loss([first, second])["loss"], net.loss([first, first])["loss"]
    assert alike < apart and apart.isfinite()
    alike.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_coordinates_are_augmented_in_the_loss_only() -> None:
    first, _ = views()
    net = model(augmentation={})
    torch.manual_seed(1)
    one = net.loss([first, first])["loss"]
    torch.manual_seed(1)
    assert torch.equal(net.loss([first, first])["loss"], one), "a seed gives the same views again"
    assert not torch.equal(net.loss([first, first])["loss"], one)
    assert torch.equal(net.eval()(first), net.eval()(first))


def test_two_equal_slides_give_no_nan() -> None:
    for view in (pair := views(2)):
        view["feats"][1], view["coords"][1] = view["feats"][0], view["coords"][0]
    net = model(augmentation={})
    losses = net.loss(pair)
    losses["loss"].backward()
    assert losses["loss"].isfinite() and losses["neighbours"] >= 0
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_refusals_name_the_cure() -> None:
    with pytest.raises(ConfigError, match="temperature=0; give a number above 0"):
        model(temperature=0)
    with pytest.raises(ConfigError, match=r"2 view\(s\) of 1 slide\(s\).*raise batch_size"):
        model().loss(views(1))
    with pytest.raises(ConfigError, match="no mode 'predict'"):
        model()(views()[0], mode="predict")
