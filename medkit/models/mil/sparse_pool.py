"""Pooling of sparse maps: over windows, and over all cells of a slide.

Windows as in SparseConvNet (arXiv 1706.01307); the mean of a slide as in SparseConvMIL (PMLR 156:129-139): each
occupied cell counts once, however many tiles it holds, and empty cells do not count.
Command: ``python tools/benchmark.py sparse_conv``.
"""

import torch
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.mil.sparse_map import SparseMap, mean_rows
from medkit.models.mil.sparse_table import gather_rows, strided_table

MODES = ("max", "average", "average_occupied")


class SparsePool2d(nn.Module):
    """Pooling over windows; an output for each window in which at least one cell is occupied.

    Args:
        kernel_size: side of a window.
        stride: step of the windows; None: ``kernel_size``.
        padding: cells added before the first.
        mode: 'max' over the occupied cells; 'average' divides the sum by kernel_size^2, as ``avg_pool2d`` and
            SparseConvNet do; 'average_occupied' by the number of occupied cells.

    Raises:
        ConfigError: an unknown mode, or a map smaller than a window.
    """

    def __init__(
        self, kernel_size: int = 3, stride: int | None = None, padding: int = 0, mode: str = "average"
    ) -> None:
        super().__init__()
        stride = kernel_size if stride is None else stride
        if mode not in MODES or min(kernel_size, stride) < 1 or padding < 0:
            raise ConfigError(
                f"SparsePool2d: mode={mode!r}, kernel_size={kernel_size}, stride={stride}, padding={padding}; give one "
                f"of {', '.join(MODES)}, sizes >= 1 and a padding >= 0"
            )
        self.kernel_size, self.stride, self.padding, self.mode = kernel_size, stride, padding, mode

    def forward(self, sparse: SparseMap) -> SparseMap:
        """Map with features (N, C) to the map of the windows, with features (M, C)."""
        found = strided_table(sparse, self.kernel_size, self.stride, self.padding)
        rows = gather_rows(sparse.features, found.table)  # (M, K, C)
        missing = (found.table.inputs == len(sparse.coords))[..., None]  # (M, K, 1)
        if self.mode == "max":
            pooled = rows.masked_fill(missing, -torch.inf).amax(1)
        elif self.mode == "average":
            pooled = rows.mean(1)
        else:
            pooled = rows.sum(1) / (~missing).sum(1)
        return found.output(pooled, sparse.batch_size)


def mean_of_cells(sparse: SparseMap) -> Tensor:
    """Means (B, C) over the occupied cells of each slide; zeros for a slide of none."""
    return mean_rows(sparse.features, sparse.batch, sparse.batch_size)
