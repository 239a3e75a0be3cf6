"""Sparse convolutions: the compiled library's numbers, a masked dense convolution, gradients, types, cost."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparse_conv import SparseConv2d, SubmanifoldConv2d, sparse_conv
from medkit.models.mil.sparse_map import SparseMap, build_map
from medkit.models.mil.sparse_pool import SparsePool2d, mean_of_cells
from medkit.models.mil.sparse_table import strided_table, submanifold_table
from tests.models.mil.sparse_cases import at_sites, golden, random_map


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equals_the_compiled_library(kernel: int) -> None:
    data, near = golden("submanifold_conv2d"), dict(rtol=1e-4, atol=1e-5)
    where = data["coords_x_y_batch"]
    feats = data["features"].float().requires_grad_()
    sparse = build_map(feats, where[:, :2], 1, batch=where[:, 2], batch_size=2)
    torch.testing.assert_close(sparse.features, data["merged_features_sorted"], **near)
    assert torch.equal(torch.cat([sparse.coords, sparse.batch[:, None]], 1), data["sites_sorted_x_y_batch"])
    conv = SubmanifoldConv2d(5, 4, kernel)
    conv.load_state_dict({"weight": data[f"k{kernel}/weight_dense_OIHW"], "bias": data[f"k{kernel}/bias"]})
    torch.testing.assert_close(conv.weight.permute(2, 3, 1, 0).reshape(-1, 1, 5, 4), data[f"k{kernel}/weight_scn"])
    out = conv(sparse)
    out.features.square().sum().backward()
    torch.testing.assert_close(out.features, data[f"k{kernel}/out"], **near)
    torch.testing.assert_close(feats.grad, data[f"k{kernel}/grad_features"], **near)
    got = conv.weight.grad.permute(2, 3, 1, 0).reshape(-1, 1, 5, 4)
    torch.testing.assert_close(got, data[f"k{kernel}/grad_weight"], **near)
    torch.testing.assert_close(conv.bias.grad, data[f"k{kernel}/grad_bias"], **near)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kernel, out", [(1, 5), (3, 2), (3, 5), (5, 3)])
def test_submanifold_equals_a_masked_dense_convolution(seed: int, kernel: int, out: int) -> None:
    sites = (1, 3, 17, 40, 90, 126)[seed]  # from one tile to every cell
    sparse = random_map(seed, sites=sites)
    first, second = SubmanifoldConv2d(3, out, kernel).double(), SubmanifoldConv2d(out, 4, kernel).double()
    torch.nn.init.normal_(first.bias), torch.nn.init.normal_(second.bias)
    got = first(sparse)
    got = second(got.with_features(got.features.relu()))
    grid, mask = sparse.dense()
    grid = F.conv2d(grid, first.weight, first.bias, padding=kernel // 2).relu() * mask
    grid = F.conv2d(grid, second.weight, second.bias, padding=kernel // 2) * mask
    torch.testing.assert_close(got.features, at_sites(grid, sparse))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kernel, stride, padding", [(3, 2, 0), (3, 2, 1), (2, 2, 0), (1, 2, 0), (5, 3, 2), (3, 1, 1)])
def test_strided_equals_a_masked_dense_convolution(seed: int, kernel: int, stride: int, padding: int) -> None:
    sparse = random_map(seed, sites=(2, 11, 40, 126)[seed])
    conv = SparseConv2d(3, (2, 5)[seed % 2], kernel, stride, padding).double()
    torch.nn.init.normal_(conv.bias)
    got = conv(sparse)
    grid, mask = sparse.dense()
    dense = F.conv2d(grid, conv.weight, conv.bias, stride=stride, padding=padding)
    reached = F.max_pool2d(F.pad(mask, [padding] * 4), kernel, stride)  # where an occupied cell is in the window
    assert got.size == tuple(dense.shape[2:])
    torch.testing.assert_close(got.features, at_sites(dense, got))
    assert len(got.coords) == reached.sum()
    assert at_sites(reached, got).all()


@pytest.mark.parametrize("mode", ["average", "max", "average_occupied"])
def test_pooling_equals_dense_pooling(mode: str) -> None:
    sparse = random_map(3)
    got = SparsePool2d(3, 2, mode=mode)(sparse)
    grid, mask = sparse.dense()
    dense = F.avg_pool2d(grid, 3, 2)
    if mode == "average_occupied":
        dense = dense / F.avg_pool2d(mask, 3, 2).clamp(min=1e-9)
    elif mode == "max":
        dense = F.max_pool2d(grid.masked_fill(mask == 0, -torch.inf), 3, 2)
    torch.testing.assert_close(got.features, at_sites(dense, got))


def test_mean_of_cells_counts_cells_and_gives_zeros_for_an_empty_slide() -> None:
    feats = torch.tensor([[2.0], [4.0], [9.0]])
    sparse = build_map(feats, torch.tensor([[0, 0], [1, 1], [8, 8]]), 4, batch=torch.tensor([0, 0, 0]), batch_size=2)
    assert mean_of_cells(sparse).tolist() == [[6.0], [0.0]]  # (mean(2, 4) + 9) / 2


@pytest.mark.parametrize("out", [2, 4])  # fewer and more channels than the input: both orders of the computation
def test_gradients_and_their_gradients(out: int) -> None:
    sparse = random_map(5, sites=12, size=(4, 4))
    weight, bias = torch.randn(out, 3, 3, 3, dtype=torch.float64), torch.randn(out, dtype=torch.float64)
    tables = submanifold_table(sparse, 3), strided_table(sparse, 3, 2, 1).table
    for table in tables:
        leaves = [t.clone().requires_grad_() for t in (sparse.features, weight, bias)]
        assert torch.autograd.gradcheck(lambda f, w, b, t=table: sparse_conv(f, t, w, b), leaves)
        assert torch.autograd.gradgradcheck(lambda f, w, b, t=table: sparse_conv(f, t, w, b), leaves)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
def test_half_precision(dtype: torch.dtype, tolerance: float) -> None:
    sparse, conv = random_map(1, channels=8, dtype=torch.float32), SubmanifoldConv2d(8, 8)
    exact = conv(sparse).features
    half = conv.to(dtype)(sparse.with_features(sparse.features.to(dtype)))
    assert half.features.dtype == dtype
    torch.testing.assert_close(half.features.float(), exact, rtol=tolerance, atol=tolerance)
    half.features.float().square().sum().backward()
    assert conv.weight.grad.isfinite().all()


def test_autocast() -> None:
    sparse, conv = random_map(1, channels=8, dtype=torch.float32), SubmanifoldConv2d(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(sparse).features
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), conv(sparse).features, rtol=4e-2, atol=4e-2)


def test_compiles_to_the_same() -> None:
    """One graph, without a break, once the neighbours are known."""
    sparse, conv = random_map(2), SubmanifoldConv2d(3, 5).double()
    table = submanifold_table(sparse, 3)
    compiled = torch.compile(sparse_conv, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(sparse.features, table, conv.weight, conv.bias), conv(sparse).features)
    compiled(sparse.features, table, conv.weight, conv.bias).square().sum().backward()
    got, conv.weight.grad = conv.weight.grad, None
    conv(sparse).features.square().sum().backward()
    torch.testing.assert_close(got, conv.weight.grad)


def test_slides_of_a_batch_do_not_touch() -> None:
    """Same cells in both slides; rows of one do not run on into the next row or slide."""
    cells = torch.tensor([[0, 0], [0, 4], [1, 0], [4, 4], [4, 0]])
    feats = torch.randn(10, 3, dtype=torch.float64)
    conv = SubmanifoldConv2d(3, 4).double()
    both = conv(SparseMap(feats, cells.repeat(2, 1), torch.arange(2).repeat_interleave(5), 2)).features
    for part in (slice(0, 5), slice(5, 10)):
        alone = conv(SparseMap(feats[part], cells, torch.zeros(5, dtype=torch.int64), 1)).features
        torch.testing.assert_close(both[part], alone)


def test_negative_cells_and_order_of_sites_do_not_matter() -> None:
    sparse, conv = random_map(4), SubmanifoldConv2d(3, 4).double()
    expected = conv(sparse).features
    moved = SparseMap(sparse.features, sparse.coords - 1000, sparse.batch, 2)
    torch.testing.assert_close(conv(moved).features, expected)
    mixed = torch.randperm(len(expected))
    mixed_map = SparseMap(sparse.features[mixed], sparse.coords[mixed], sparse.batch[mixed], 2)
    torch.testing.assert_close(conv(mixed_map).features, expected[mixed])
    strided = SparseConv2d(3, 4).double()
    whole, shifted = strided(SparseMap(sparse.features, sparse.coords, sparse.batch, 2)), strided(moved)
    torch.testing.assert_close(whole.features, shifted.features)
    assert torch.equal(whole.coords - 500, shifted.coords)


def test_a_single_tile_sees_the_centre_of_the_kernel() -> None:
    conv = SubmanifoldConv2d(3, 4)
    one = SparseMap(torch.randn(1, 3), torch.tensor([[7, -7]]), torch.zeros(1, dtype=torch.int64), 1)
    torch.testing.assert_close(conv(one).features, one.features @ conv.weight[:, :, 1, 1].T + conv.bias)


def test_empty_maps_pass() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = SparseMap(torch.zeros(0, 3, requires_grad=True), nothing.view(0, 2), nothing, 2, (5, 5))
    for layer in (SubmanifoldConv2d(3, 4), SubmanifoldConv2d(3, 2), SparseConv2d(3, 4), SparseConv2d(3, 2)):
        out = layer(empty)
        assert out.features.shape == (0, layer.out_channels)
        out.features.sum().backward()
        assert not layer.weight.grad.any()
    assert SparsePool2d(2, mode="max")(empty).features.shape == (0, 3)
    assert not mean_of_cells(empty).any()
    lone = SparseMap(torch.ones(1, 3), torch.tensor([[2, 2]]), nothing.new_zeros(1), 1, (3, 3))
    assert SparseConv2d(3, 4, kernel_size=2)(lone).features.shape == (0, 4)  # the only cell is in no whole window


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that is made, and of all together."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.largest, self.total = max(self.largest, *sizes, 0), self.total + sum(sizes)
        return out


def cost(tiles: int, extent: int) -> tuple[int, int]:
    """Largest and summed size of the tensors of map building, two layers and their gradient."""
    draw = torch.Generator().manual_seed(0)
    xy = torch.stack([torch.randperm(extent if extent < 10**6 else 10**6, generator=draw)[:tiles] for _ in "xy"], 1)
    feats = torch.randn(tiles, 8, requires_grad=True)
    layers = SubmanifoldConv2d(8, 8), SubmanifoldConv2d(8, 4)
    with Largest() as seen:
        sparse = build_map(feats, xy * max(1, extent // 10**6), 1)
        mean_of_cells(layers[1](layers[0](sparse))).sum().backward()
    return seen.largest, seen.total


def test_cost_follows_the_tiles_and_not_the_extent() -> None:
    assert cost(200, 1000) == cost(200, 1_000_000_000)
    few, many = cost(200, 100_000), cost(800, 100_000)
    assert many[0] <= 4.1 * few[0]
    assert many[1] <= 4.1 * few[1]


def test_neighbours_are_searched_once_for_both_layers() -> None:
    sparse = random_map(0)
    out = SubmanifoldConv2d(4, 4).double()(SubmanifoldConv2d(3, 4).double()(sparse))
    assert out.tables is sparse.tables
    assert list(out.tables) == [("submanifold", 3)]


def test_what_is_refused() -> None:
    sparse = random_map(0)
    with pytest.raises(ConfigError, match="made for 5 channels, the map has 3"):
        SubmanifoldConv2d(5, 4)(sparse)
    twice = SparseMap(torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), 1)
    with pytest.raises(DatasetError, match="stands twice"):
        SubmanifoldConv2d(3, 4)(twice)
    with pytest.raises(ConfigError, match="smaller than a window of 11"):
        SparseConv2d(3, 4, kernel_size=11).double()(sparse)
    with pytest.raises(ConfigError, match="stride=0"):
        SparseConv2d(3, 4, stride=0)
    with pytest.raises(ConfigError, match="kernel_size=0"):
        SubmanifoldConv2d(3, 4, kernel_size=0)
    with pytest.raises(ConfigError, match="mode='mean'"):
        SparsePool2d(mode="mean")
