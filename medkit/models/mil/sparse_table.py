"""Neighbour tables of sparse maps, and the two gathers that every sparse operation is made of.

A table says, for each output site and each offset of the kernel, which input site lies there. Read the other way round
it says to which output each input contributes. The gradient of a gather is thereby a gather again: features are
scattered in neither direction, sums have one order, and results repeat to the last bit on every device.

Submanifold tables after B. Graham and L. van der Maaten, "Submanifold Sparse Convolutional Networks", arXiv 1706.01307.
Command: ``python tools/benchmark.py sparse_conv``.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparse_keys import KeySpace
from medkit.models.mil.sparse_map import SparseMap


class GatherTable(NamedTuple):
    """Which sites lie under a kernel of K offsets; N inputs, M outputs.

    ``inputs`` (M, K): input site under each offset of each output, N where there is none.
    ``outputs`` (N, K): output site to which each input contributes through each offset, M where there is none.
    """

    inputs: Tensor
    outputs: Tensor


class Strided(NamedTuple):
    """The table of a strided operation and the sites of its outputs."""

    table: GatherTable
    coords: Tensor
    batch: Tensor
    size: tuple[int, int] | None
    tables: dict[tuple, Any]

    def output(self, features: Tensor, batch_size: int) -> SparseMap:
        """The map that the operation returns."""
        return SparseMap(features, self.coords, self.batch, batch_size, self.size, self.tables)


def submanifold_table(sparse: SparseMap, kernel: int) -> GatherTable:
    """Neighbours of each site within a square kernel; output sites = input sites. Searched once for each map.

    Raises:
        DatasetError: a cell stands twice in a slide.
    """
    if ("submanifold", kernel) not in sparse.tables:
        offsets = _offsets(kernel, sparse.coords.device) - kernel // 2  # even kernels reach further down than up
        wanted = sparse.coords[:, None] + offsets  # (N, K, 2)
        inputs = _find(sparse, wanted, sparse.batch[:, None].expand(wanted.shape[:2]))
        sites = len(sparse.coords)
        sparse.tables["submanifold", kernel] = GatherTable(inputs, _inverted(inputs, sites))
    return sparse.tables["submanifold", kernel]


def strided_table(sparse: SparseMap, kernel: int, stride: int, padding: int) -> Strided:
    """Table of a strided operation: an output site for each window that holds an occupied cell.

    Window q covers the cells from q * stride - padding, ``kernel`` of them along each axis. Where the map has a size,
    windows must lie inside the padded map.
    """
    name = ("strided", kernel, stride, padding)
    if name not in sparse.tables:
        size = None if sparse.size is None else _output_size(sparse.size, kernel, stride, padding)
        start = sparse.coords[:, None] + padding - _offsets(kernel, sparse.coords.device)  # (N, K, 2) = q * stride
        window = torch.div(start, stride, rounding_mode="floor")
        fits = (window * stride == start).all(-1)  # (N, K)
        if size is not None:
            fits &= ((window >= 0) & (window < torch.tensor(size, device=window.device))).all(-1)
        sparse.tables[name] = _strided(sparse, window, fits, size)
    return sparse.tables[name]


def _strided(sparse: SparseMap, window: Tensor, fits: Tensor, size: tuple[int, int] | None) -> Strided:
    slide = sparse.batch[:, None].expand_as(fits)
    if not fits.any():
        nothing = torch.zeros_like(fits, dtype=torch.int64)  # M = 0, so 0 means "none"
        table = GatherTable(nothing[:0], nothing)
        return Strided(table, sparse.coords[:0], sparse.batch[:0], size, {})
    space = KeySpace.around(window[fits], sparse.batch_size)
    keys, found = torch.unique(space.encode(window[fits], slide[fits]), return_inverse=True)
    outputs = torch.full_like(slide, len(keys), memory_format=torch.contiguous_format)
    outputs[fits] = found
    coords, batch = space.decode(keys)
    return Strided(GatherTable(_inverted(outputs, len(keys)), outputs), coords, batch, size, {})


def gather_rows(features: Tensor, table: GatherTable) -> Tensor:
    """The rows (M, K, C) that lie under the kernel of each output, zero where nothing lies, of features (N, C)."""
    return _GatherRows.apply(features, table.inputs, table.outputs)


def gather_sum(rows: Tensor, table: GatherTable) -> Tensor:
    """Sums (M, C) of the rows (N, K, C): of each input under an output, the row that belongs to that offset."""
    return _GatherSum.apply(rows, table.inputs, table.outputs)


class _GatherRows(torch.autograd.Function):
    """Gather of rows; its gradient is `_GatherSum` of the inverted table."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        padded = torch.cat([features, features.new_zeros(1, features.shape[1])])  # row N stands for "nothing there"
        return padded.index_select(0, there.reshape(-1)).view(*there.shape, features.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _GatherSum.apply(grad, back, there), None, None


class _GatherSum(torch.autograd.Function):
    """Gather of one row for each offset, summed; its gradient is `_GatherRows` of the inverted table."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        sites, taps, channels = rows.shape
        padded = torch.cat([rows.reshape(sites * taps, channels), rows.new_zeros(1, channels)])
        index = there * taps + torch.arange(taps, device=there.device)  # (M, K)
        index = index.clamp(max=sites * taps)
        return padded.index_select(0, index.view(-1)).view(*there.shape, channels).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _GatherRows.apply(grad, back, there), None, None


def _offsets(kernel: int, device: torch.device) -> Tensor:
    """Offsets (K, 2) of a square kernel from its first cell, x slowest: the order of a weight (.., .., kx, ky)."""
    steps = torch.arange(kernel, device=device)
    return torch.cartesian_prod(steps, steps).view(-1, 2)


def _find(sparse: SparseMap, wanted: Tensor, slide: Tensor) -> Tensor:
    """Sites (...) at the cells (..., 2) of slides (...), N where no site is."""
    sites = len(sparse.coords)
    if not sites:
        return slide.new_zeros(slide.shape)
    space = KeySpace.around(sparse.coords, sparse.batch_size)
    keys, order = space.encode(sparse.coords, sparse.batch).sort()
    if (keys[1:] == keys[:-1]).any():
        raise DatasetError("a cell stands twice in one slide of a SparseMap; build_map averages tiles that share one")
    sought = space.encode(wanted, slide)
    place = torch.searchsorted(keys, sought).clamp(max=sites - 1)
    found = space.inside(wanted) & (keys[place] == sought)
    return torch.where(found, order[place], sites)


def _inverted(table: Tensor, others: int) -> Tensor:
    """The table (N, K) of outputs for a table (M, K) of inputs among ``others`` = N sites, or the reverse."""
    sites, taps = table.shape
    inverse = table.new_full((others + 1, taps), sites)  # the last row takes what points nowhere
    inverse.scatter_(0, table, torch.arange(sites, device=table.device)[:, None].expand(sites, taps))
    return inverse[:others]


def _output_size(size: tuple[int, int], kernel: int, stride: int, padding: int) -> tuple[int, int]:
    out_x, out_y = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    if min(out_x, out_y) < 1:
        raise ConfigError(
            f"a map of {size[0]} x {size[1]} cells is smaller than a window of {kernel} with padding {padding}; take "
            "smaller cells, more padding, or set a larger size"
        )
    return out_x, out_y
