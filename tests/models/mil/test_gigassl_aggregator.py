"""Giga-SSL's aggregators: parity with the released pooling in both modes, and what an embedding must not depend on."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medkit.engine import load_backbone
from medkit.errors import ConfigError, DatasetError
from medkit.models.mil import AttentionAggregator, MLPMeanAggregator, SparseStageAggregator, build_map
from medkit.models.mil.gigassl_aggregator import released_size
from tests.models.mil.sparse_cases import golden

PREFIX = "w.sparse_pooling."
NAMES = {"norm1": "bn1", "norm2": "bn2", "convd": "downsample.0", "normd": "downsample.1"}
AGGREGATORS = (SparseStageAggregator, MLPMeanAggregator, AttentionAggregator)


def ours(name: str, prefix: str = PREFIX) -> str:
    block, part, tensor = name.removeprefix(prefix).split(".")
    return f"layer4.{block}.{NAMES.get(part, part)}.{tensor}"


def as_conv2d(weight: Tensor) -> Tensor:
    """The library's (k * k, 1, I, O) as (O, I, k, k)."""
    side = int(weight.shape[0] ** 0.5)
    return weight.view(side, side, *weight.shape[2:]).permute(3, 2, 0, 1)


def test_equals_the_released_pooling() -> None:
    data = golden("gigassl_sparse_pooling")
    net = SparseStageAggregator(6, 8, cell=1, released_border=True)
    given = {ours(k): as_conv2d(v) if v.ndim == 4 else v for k, v in data.items() if k.startswith(PREFIX)}
    lacking = net.load_state_dict(given, strict=False)
    assert not lacking.unexpected_keys and all(name.endswith("batches_tracked") for name in lacking.missing_keys)
    near = dict(rtol=1e-5, atol=1e-5)
    bag = data["tile_embeddings"], data["grid_locations"]
    torch.testing.assert_close(net.eval()(*bag)[0], data["wsi_embedding_eval"], **near)
    torch.testing.assert_close(net.train()(*bag)[0], data["wsi_embedding_train"], **near)
    after = "after_train_step.sparse_pooling."
    for name in (k for k in data if k.startswith(after)):
        torch.testing.assert_close(net.state_dict()[ours(name, after)], data[name], **near)


def test_sides_of_maps_are_the_released_ones() -> None:
    table = golden("gigassl_sparse_pooling")["size_table"].tolist()
    assert [released_size((side, 1)) for side, _ in table] == [(larger, 7) for _, larger in table]


def test_a_dense_resnet_starts_the_stage() -> None:
    from torchvision.models import resnet18

    dense = resnet18().state_dict()
    net = SparseStageAggregator()
    report = load_backbone(net, {f"backbone.{name}": tensor for name, tensor in dense.items()})
    assert not report.missing and report.prefix == "backbone."
    for name in ("layer4.0.conv1.weight", "layer4.0.downsample.0.weight", "layer4.1.bn2.weight"):
        assert torch.equal(net.state_dict()[name], dense[name])


def bag(slides: int = 3, tiles: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(slides, tiles, 4, generator=draw), torch.rand(slides, tiles, 2, generator=draw) * 8


def test_embedding_is_that_of_the_slide_alone_wherever_it_lies() -> None:
    """Shifted by whole cells, beside larger slides, among other slides: the same."""
    feats, coords = bag()
    net = SparseStageAggregator(4, 8, cell=1.0).eval()
    together = net(feats, coords)[0]
    torch.testing.assert_close(net(feats, coords + torch.tensor([[7.0, -3.0]]))[0], together)
    torch.testing.assert_close(net(feats[:1], coords[:1])[0], together[:1])
    assert not torch.allclose(net(feats, coords.flip(1))[0], together), "but it matters which tile lies where"


@pytest.mark.parametrize("kind", AGGREGATORS)
def test_padding_and_order_do_not_matter(kind: type) -> None:
    feats, coords = bag()
    net = kind(4, 8).train()
    whole = net(feats[:, :4], coords[:, :4])[0]
    feats[:, 4:], coords[:, 4:] = torch.nan, torch.nan
    mask = (torch.arange(6) < 4).expand(3, 6)
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    kind_again = kind(4, 8).train()
    kind_again.load_state_dict(net.state_dict())
    torch.testing.assert_close(kind_again(feats[:, order], coords[:, order], mask[:, order])[0], whole)


@pytest.mark.parametrize("kind", AGGREGATORS)
def test_one_tile_and_one_cell(kind: type) -> None:
    feats, coords = bag(slides=2)
    net = kind(4, 8).train()
    for some in (net(feats[:, :1], coords[:, :1])[0], net(feats, coords * 0)[0]):
        assert some.shape == (2, 8) and some.isfinite().all()


def test_gradient_reaches_every_weight() -> None:
    for kind in AGGREGATORS:
        net = kind(4, 8)
        net(*bag())[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters()), kind


def test_refusals_name_the_cure() -> None:
    feats, coords = bag()
    with pytest.raises(ConfigError, match=r"cell=0; give the side of a cell"):
        SparseStageAggregator(4, 8, cell=0)
    with pytest.raises(ConfigError, match=r"store coords .* or take medkit.MLPMeanAggregator"):
        SparseStageAggregator(4, 8)(feats, None)
    coords[0, 0, 0] = torch.nan
    with pytest.raises(DatasetError, match="not finite"):
        SparseStageAggregator(4, 8)(feats, coords)


def test_neighbours_are_counted() -> None:
    """A row of three cells has 1, 2 and 1 occupied neighbours."""
    sparse = build_map(torch.zeros(3, 4), torch.tensor([[0, 0], [1, 0], [2, 0]]), 1)
    extra = SparseStageAggregator(4, 8).embed_map(replace(sparse))[1]
    assert extra["cells"].tolist() == [3] and extra["neighbours"].tolist() == pytest.approx([4 / 3])
