"""Strided convolution, average pooling and batch norm of active cells: the released giga-SSL pooling, both modes."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from medkit.models.mil.sparse_conv import SparseConv2d, SubmanifoldConv2d
from medkit.models.mil.sparse_map import SparseMap, build_map
from medkit.models.mil.sparse_pool import SparsePool2d, mean_of_cells
from tests.models.mil.sparse_cases import golden

PREFIX = "w.sparse_pooling."


class Block(nn.Module):
    """Two convolutions and a shortcut, which is strided together with the first."""

    def __init__(self, into: int, out: int, strided: bool) -> None:
        super().__init__()
        self.strided = strided
        first = SparseConv2d if strided else SubmanifoldConv2d
        self.conv1, self.conv2 = first(into, out, bias=False), SubmanifoldConv2d(out, out, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm1d(out), nn.BatchNorm1d(out)
        if strided:
            self.pool, self.convd = SparsePool2d(3, 2), SubmanifoldConv2d(into, out, 1, bias=False)
            self.normd = nn.BatchNorm1d(out)

    def forward(self, sparse: SparseMap) -> SparseMap:
        out = self.conv1(sparse)
        out = self.conv2(out.with_features(self.norm1(out.features).relu()))
        short = self.normd(self.convd(self.pool(sparse)).features) if self.strided else sparse.features
        return out.with_features((self.norm2(out.features) + short).relu())


def as_conv2d(weight: Tensor) -> Tensor:
    """The library's (k * k, 1, I, O) as (O, I, k, k)."""
    side = int(weight.shape[0] ** 0.5)
    return weight.view(side, side, *weight.shape[2:]).permute(3, 2, 0, 1)


def test_equals_the_released_pooling() -> None:
    data = golden("gigassl_sparse_pooling")
    net = nn.Sequential(Block(6, 8, True), Block(8, 8, False))
    given = {k.removeprefix(PREFIX): v for k, v in data.items() if k.startswith(PREFIX)}
    given = {k: as_conv2d(v) if v.ndim == 4 else v for k, v in given.items()}
    assert not net.load_state_dict(given, strict=False).unexpected_keys
    feats, cells = data["tile_embeddings"].flatten(0, 1), data["grid_locations"].flatten(0, 1)
    sparse = build_map(feats, cells, 1, batch=torch.arange(2).repeat_interleave(11), batch_size=2)
    larger = dict(data["size_table"].tolist())  # sides are enlarged so that windows fit
    sparse = replace(sparse, size=tuple(larger[side] for side in sparse.size))
    near = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean_of_cells(net.eval()(sparse)), data["wsi_embedding_eval"], **near)
    torch.testing.assert_close(mean_of_cells(net.train()(sparse)), data["wsi_embedding_train"], **near)
    after = "after_train_step.sparse_pooling."
    for name in (k for k in data if k.startswith(after)):
        torch.testing.assert_close(net.state_dict()[name.removeprefix(after)], data[name], **near)
