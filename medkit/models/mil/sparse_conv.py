"""Sparse 2-D convolutions in plain PyTorch: gathers and one matrix product, no compiled extension.

`SubmanifoldConv2d` has outputs where it has inputs; `SparseConv2d` has one for each window that holds an input. Both
equal a dense convolution of the map with zeros in the empty cells, masked again after every layer. They run wherever
torch runs, in any floating type, under autocast and torch.compile; gradients of gradients exist.

B. Graham and L. van der Maaten, "Submanifold Sparse Convolutional Networks", arXiv 1706.01307; used by SparseConvMIL.
Command: ``python tools/benchmark.py sparse_conv``.
"""

import math

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.sparse_map import SparseMap
from medkit.models.mil.sparse_table import GatherTable, gather_rows, gather_sum, strided_table, submanifold_table


def sparse_conv(features: Tensor, table: GatherTable, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Outputs (M, O) of features (N, I) under a weight (O, I, kx, ky), cross-correlated as in ``conv2d``.

    Gathering first holds M * K rows of I numbers, multiplying first N * K rows of O: the smaller is taken.
    """
    out, into, taps = weight.shape[0], weight.shape[1], weight.shape[2] * weight.shape[3]
    if len(table.outputs) * out < len(table.inputs) * into:
        mixed = features @ weight.permute(1, 2, 3, 0).reshape(into, taps * out)  # (N, K * O)
        result = gather_sum(mixed.view(-1, taps, out), table)  # (M, O)
    else:
        rows = gather_rows(features, table).flatten(1)  # (M, K * I)
        result = rows @ weight.permute(2, 3, 1, 0).reshape(taps * into, out)
    return result if bias is None else result + bias.to(result.dtype)


class _SparseConv(nn.Module):
    """What both convolutions share: the weight, its start, the check of the width.

    The weight has the shape (O, I, kernel, kernel) of ``nn.Conv2d``, its first kernel axis along x (coordinate 0), so
    that a dense layer's state dict loads as it is. The layout of SparseConvNet, (kernel^2, 1, I, O), is
    ``weight.permute(2, 3, 1, 0).reshape(-1, 1, I, O)``. The start is N(0, 2 / (I kernel^2)) with bias 0, as there.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        if min(in_channels, out_channels, kernel_size) < 1:
            raise ConfigError(
                f"{type(self).__name__}: in_channels={in_channels}, out_channels={out_channels}, "
                f"kernel_size={kernel_size}; give whole numbers of at least 1"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_channels * kernel_size**2)))

    def _check(self, sparse: SparseMap) -> None:
        if sparse.features.shape[1] != self.in_channels:
            raise ConfigError(
                f"{type(self).__name__} was made for {self.in_channels} channels, the map has "
                f"{sparse.features.shape[1]}; set in_channels to the width of the features"
            )

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}"


class SubmanifoldConv2d(_SparseConv):
    """Convolution whose outputs are at the occupied cells only, so that maps stay as sparse as they are.

    out(p) = bias + sum over offsets d with p + d occupied of W_d in(p + d), d from -(k // 2) on, stride 1. An even
    kernel reaches one cell further down than up.

    Args:
        in_channels: C of the map's features.
        out_channels: C of the result.
        kernel_size: side of the kernel.
        bias: add one.

    Raises:
        ConfigError: the map has another width.
        DatasetError: a cell stands twice.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias)

    def forward(self, sparse: SparseMap) -> SparseMap:
        """Map with features (N, I) to a map of the same sites with features (N, O)."""
        self._check(sparse)
        table = submanifold_table(sparse, self.kernel_size)
        return sparse.with_features(sparse_conv(sparse.features, table, self.weight, self.bias))


class SparseConv2d(_SparseConv):
    """Strided convolution with an output for each window in which at least one cell is occupied.

    Equals ``conv2d(map, weight, bias, stride, padding)`` where the max-pooled mask is one. The paper's formula would
    keep a site only if the cell under it is occupied; SparseConvNet and giga-SSL do what is done here.

    Args:
        in_channels: C of the map's features.
        out_channels: C of the result.
        kernel_size: side of the kernel.
        stride: step of the windows.
        padding: cells added before the first. 0 as in SparseConvNet, whose maps are first enlarged so that all fits.
        bias: add one.

    Raises:
        ConfigError: the map has another width, or is smaller than a window.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 2,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias)
        if stride < 1 or padding < 0:
            raise ConfigError(f"SparseConv2d: stride={stride}, padding={padding}; give a stride >= 1, a padding >= 0")
        self.stride, self.padding = stride, padding

    def forward(self, sparse: SparseMap) -> SparseMap:
        """Map with features (N, I) to the map of the windows, with features (M, O)."""
        self._check(sparse)
        found = strided_table(sparse, self.kernel_size, self.stride, self.padding)
        return found.output(
            sparse_conv(sparse.features, found.table, self.weight, self.bias), sparse.batch_size
        )

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"{super().extra_repr()}, stride={self.stride}, padding={self.padding}"
