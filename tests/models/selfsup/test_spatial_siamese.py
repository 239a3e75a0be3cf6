"""The siamese network and its loss: golden values, the safe norm, bfloat16, what is logged, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from medkit.errors import ConfigError, DatasetError
from medkit.models.selfsup.pair_distance import PairDistanceLoss, pair_distance
from medkit.models.selfsup.spatial_siamese import SpatialSiamese


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    with np.load(golden_dir / "contrastive_loss.npz") as arrays:
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


@pytest.mark.parametrize("margin", [1.0, 2.0])
@pytest.mark.parametrize("power, form", [(1, "paper_form"), (2, "squared_form")])
def test_loss_and_gradient_equal_golden(golden, margin: float, power: int, form: str) -> None:
    close = dict(rtol=1e-10, atol=1e-12)
    loss_of = PairDistanceLoss(margin, power)
    first, second = (golden[name].requires_grad_() for name in ("f1", "f2"))
    similar = golden["dissimilar"] == 0
    per_pair = loss_of.per_pair(pair_distance(first, second), similar)
    torch.testing.assert_close(per_pair, golden[f"m{margin}/{form}_per_pair"], **close)
    loss = loss_of(first, second, similar)
    torch.testing.assert_close(loss, golden[f"m{margin}/{form}_mean"], **close)
    loss.backward()
    torch.testing.assert_close(first.grad, golden[f"m{margin}/grad_f1_{form}"], **close)
    torch.testing.assert_close(second.grad, -first.grad, **close)


def test_distance_is_float32_under_bfloat16() -> None:
    first = torch.randn(64, 128).bfloat16()
    second = first + torch.full_like(first, 2**-7)
    with torch.autocast("cpu", torch.bfloat16):
        distance = pair_distance(first, second)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, (first.double() - second.double()).norm(dim=1).float())


def test_label_must_be_bool() -> None:
    with pytest.raises(TypeError, match="similar"):
        PairDistanceLoss()(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("arguments", [dict(margin=0), dict(power=3)])
def test_loss_refuses(arguments: dict) -> None:
    with pytest.raises(ConfigError, match="PairDistanceLoss"):
        PairDistanceLoss(**arguments)


def siamese(l2norm: bool = False, margin: float = 1.0) -> SpatialSiamese:
    torch.manual_seed(0)
    cfg = dict(
        type="medkit.SpatialSiamese",
        backbone=dict(type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8),
        neck=dict(type="mmpretrain.LinearNeck", in_channels=64, out_channels=128, gap_dim=2, norm_cfg=None),
        head=dict(type="medkit.PairDistanceLoss", margin=margin),
        l2norm=l2norm,
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(cfg)


def pairs(flags: list[bool]) -> tuple[list[torch.Tensor], list[DataSample]]:
    samples = [DataSample() for _ in flags]
    for sample, flag in zip(samples, flags, strict=True):
        sample.set_field(flag, "similar")
    return [torch.randn(len(flags), 3, 32, 32) for _ in range(2)], samples


def test_both_tiles_share_the_batch_statistics() -> None:
    model = siamese()
    inputs, samples = pairs([True, False, True, False])
    calls = []
    model.backbone.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    first = model.loss(inputs, samples)["loss"]
    assert calls == [8]
    swapped = model.loss(inputs[::-1], samples)["loss"]
    torch.testing.assert_close(first, swapped)


def test_log_names_both_kinds_of_pairs() -> None:
    model = siamese(margin=100.0)
    inputs, samples = pairs([True, False])
    found = model.loss(inputs, samples)
    assert set(found) == {"loss", "near_distance", "far_distance", "violated"}
    assert float(found["violated"]) == 1
    mean = (found["near_distance"] + 100 - found["far_distance"]) / 2
    torch.testing.assert_close(found["loss"].detach(), mean)
    assert set(model.loss(*pairs([True, True]))) == {"loss", "near_distance"}
    assert set(model.loss(*pairs([False, False]))) == {"loss", "far_distance", "violated"}


def test_training_brings_near_pairs_closer_than_far_ones() -> None:
    model = siamese()
    inputs, samples = pairs([True, False] * 4)
    inputs[1][::2] = inputs[0][::2] + 0.3 * torch.randn_like(inputs[0][::2])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        found = model.loss(inputs, samples)
        found["loss"].backward()
        optimizer.step()
    assert found["far_distance"] > 2 * found["near_distance"]


def test_l2norm_descriptors_have_length_one() -> None:
    length = siamese(l2norm=True).describe(torch.randn(4, 3, 32, 32)).norm(dim=1)
    torch.testing.assert_close(length, torch.ones(4))
    with pytest.raises(ConfigError, match="below 2"):
        siamese(l2norm=True, margin=2.0)


def test_wrong_input_is_named() -> None:
    model, (inputs, samples) = siamese(), pairs([True, False])
    with pytest.raises(DatasetError, match="expected pairs"):
        model.loss(inputs[0], samples)
    with pytest.raises(DatasetError, match="similar"):
        model.loss(inputs, [DataSample(), DataSample()])
