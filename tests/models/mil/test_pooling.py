"""Masked pooling against the formulas' golden numbers, and PoolingMIL's options."""

from pathlib import Path

import pytest
import torch

from medkit.errors import ConfigError
from medkit.models.mil import PoolingMIL, pad_bags, unpack_bags
from medkit.models.mil.masking import masked_logsumexp, masked_max, masked_mean, masked_softmax
from tests.models.mil.golden import Golden


@pytest.fixture
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir, "mil_pooling_formula")


def test_pooling_equals_golden(golden: Golden) -> None:
    x, mask = golden["X"], golden["mask"]
    golden.close(masked_mean(x, mask), "mean")
    golden.close(masked_max(x, mask), "max")
    for sharpness in (1, 5):
        golden.close(masked_logsumexp(x, mask, sharpness, mean=False), f"lse_M{sharpness}")
        golden.close(masked_logsumexp(x, mask, sharpness), f"lse_mean_M{sharpness}")
    head = PoolingMIL(5, 2).double()
    golden.close(head(x, mask).embedding, "mean_max_concat")


def test_instance_level_pools_logits() -> None:
    feats, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    head = PoolingMIL(3, 2, pooling="max", level="instance")
    expected = torch.stack([head.classifier(feats[0]).amax(0), head.classifier(feats[1, :2]).amax(0)])
    torch.testing.assert_close(head(feats, mask).logits, expected)


def test_logsumexp_goes_from_mean_to_maximum_and_never_overflows() -> None:
    x, mask = 100 * torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
    torch.testing.assert_close(masked_logsumexp(x, mask, 1e-5), x.mean(1), rtol=0, atol=0.3)
    torch.testing.assert_close(masked_logsumexp(x, mask, 100.0), x.amax(1), rtol=0, atol=0.03)


def test_softmax_of_half_precision_and_of_nothing() -> None:
    scores = torch.tensor([[60000.0, 0.0, 0.0], [1.0, 2.0, 3.0]], dtype=torch.float16)
    found = masked_softmax(scores, torch.tensor([[True, True, False], [False, False, False]]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_packed_bags_are_unpacked() -> None:
    bags = [torch.randn(k, 3) for k in (2, 4, 1)]
    for feats, mask in (pad_bags(bags), unpack_bags(torch.cat(bags), [2, 4, 1])):
        assert mask.sum(1).tolist() == [2, 4, 1]
        for row, keep, bag in zip(feats, mask, bags, strict=True):
            assert torch.equal(row[keep], bag) and not row[~keep].any()


@pytest.mark.parametrize(
    "options, said",
    [
        (dict(pooling="median"), "median"),
        (dict(level="pixel"), "pixel"),
        (dict(level="instance"), "mean_max"),
        (dict(pooling="lse", sharpness=0.0), "sharpness=0.0"),
        (dict(num_classes=0), "num_classes=0"),
    ],
)
def test_impossible_options_are_named(options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PoolingMIL(**dict(in_channels=3, num_classes=2) | options)
