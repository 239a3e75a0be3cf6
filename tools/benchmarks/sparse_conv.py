"""Sparse convolution of a map of 512 x 512 cells, 1 % of them occupied, against ``conv2d`` of the dense map.

The sparse times hold everything: finding the neighbours, the convolution and, in each second row, the gradients of
features and weights. Results are compared before they are timed. The cells lie at random ('scattered') or in a disc
('tissue', where nearly all neighbours are occupied). 'SparseConvMIL' is its two convolutions from tile features of a
ResNet-18 on: with the building of the map in the sparse time, with the mask between the layers in the dense. The last
row has no dense side: it compares the same tiles on 512 x 512 cells and on a million times a million.

Commands: ``OMP_NUM_THREADS=1 python tools/benchmark.py sparse_conv --repeats 5``; ``--device cuda`` for a GPU.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import Row, median_ms
from medkit.models.mil import SparseMap, SubmanifoldConv2d, build_map

SIDE, OCCUPIED = 512, 0.01
FEATURES, CHANNELS = 512, 32  # of a tile, and inside the network


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """One layer on both layouts of the cells, the two layers of SparseConvMIL, and those on a wide map."""
    torch.manual_seed(0)
    layer = SubmanifoldConv2d(CHANNELS, CHANNELS).to(args.device)
    for layout in ("scattered", "tissue"):
        sparse = random_map(layout, CHANNELS, args.device)
        yield from both(f"{layout}, one layer", partial(dense_conv, layer), partial(sparse_conv, layer), sparse, args)
    layers = SubmanifoldConv2d(FEATURES, CHANNELS).to(args.device), layer
    sparse = random_map("scattered", FEATURES, args.device)
    yield from both("scattered, SparseConvMIL", partial(dense_net, layers), partial(sparse_net, layers), sparse, args)
    wide = SparseMap(sparse.features, sparse.coords * (10**6 // SIDE), sparse.batch, 1)
    near, far = (median_ms(partial(step, sparse_net, layers, m), args.repeats, warm=1) for m in (sparse, wide))
    yield Row("its step on 512^2 against 10^12 cells", near, far)


def both(name: str, dense: Callable, ours: Callable, sparse: SparseMap, args: argparse.Namespace) -> Iterator[Row]:
    """Rows of ``dense(map, grid)`` and ``ours(map)``, which give the values (N, O) at the occupied cells."""
    grid = sparse.dense()[0].contiguous()  # (1, C, X, Y)
    if not torch.allclose(dense(sparse, grid), ours(sparse), rtol=1e-3, atol=1e-4):
        raise SystemExit("the results differ from conv2d's: the times would mean nothing")
    with torch.no_grad():
        base = median_ms(lambda: dense(sparse, grid), args.repeats, warm=1)
        yield Row(f"{name}, forward", base, median_ms(lambda: ours(sparse), args.repeats, warm=1))
    grid.requires_grad_()
    leaf = sparse.with_features(sparse.features.clone().requires_grad_())
    base = median_ms(lambda: dense(leaf, grid).square().sum().backward(), args.repeats, warm=1)
    both_ways = median_ms(lambda: ours(leaf).square().sum().backward(), args.repeats, warm=1)
    yield Row(f"{name}, forward and backward", base, both_ways)


def random_map(layout: str, channels: int, device: str) -> SparseMap:
    """A map of one slide: its cells drawn at random, or the ones nearest the middle."""
    count = int(OCCUPIED * SIDE**2)
    axis = (torch.arange(SIDE) - SIDE / 2) ** 2
    order = torch.randperm(SIDE**2) if layout == "scattered" else (axis[:, None] + axis).flatten().argsort()
    key = order[:count].sort().values  # sorted, as `build_map` sorts
    coords = torch.stack([key // SIDE, key % SIDE], dim=1).to(device)
    feats = torch.randn(count, channels).to(device)
    return SparseMap(feats, coords, torch.zeros_like(coords[:, 0]), 1, (SIDE, SIDE))


def step(call: Callable, layers: tuple, sparse: SparseMap) -> None:
    """Forward and backward."""
    call(layers, sparse).square().sum().backward()


def sparse_conv(conv: SubmanifoldConv2d, sparse: SparseMap) -> Tensor:
    """The layer on a map whose neighbours are not yet known."""
    return conv(SparseMap(sparse.features, sparse.coords, sparse.batch, 1)).features


def dense_conv(conv: SubmanifoldConv2d, sparse: SparseMap, grid: Tensor) -> Tensor:
    """``conv2d`` of the map (1, C, X, Y), read at the occupied cells."""
    return F.conv2d(grid, conv.weight, conv.bias, padding=1)[0, :, sparse.coords[:, 0], sparse.coords[:, 1]].T


def sparse_net(layers: tuple[SubmanifoldConv2d, SubmanifoldConv2d], sparse: SparseMap) -> Tensor:
    """Map building, layer, ReLU, layer."""
    built = layers[0](build_map(sparse.features, sparse.coords, 1))
    return layers[1](built.with_features(built.features.relu())).features


def dense_net(layers: tuple[SubmanifoldConv2d, SubmanifoldConv2d], sparse: SparseMap, grid: Tensor) -> Tensor:
    """Layer, ReLU, mask, layer; the bias makes the mask needed."""
    mask = grid.new_zeros(1, 1, SIDE, SIDE)
    mask[0, 0, sparse.coords[:, 0], sparse.coords[:, 1]] = 1
    hidden = F.conv2d(grid, layers[0].weight, layers[0].bias, padding=1).relu() * mask
    return dense_conv(layers[1], sparse, hidden)
