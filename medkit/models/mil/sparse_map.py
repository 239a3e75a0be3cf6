"""Sparse maps: the tiles of slides as sites of a grid, of which only the occupied ones are stored.

A slide of 100 000 x 80 000 pixels has a grid of millions of cells and tissue in a few per cent of them. A `SparseMap`
holds one row of features for each occupied cell, so memory and time follow the number of tiles and not the extent.
`build_map` makes one from tiles and their positions.

M. Lerousseau et al., "SparseConvMIL: sparse convolutional context-aware multiple instance learning for whole slide
image classification", COMPAY 2021, PMLR 156:129-139, section 2.
Command: ``python tools/benchmark.py sparse_conv``.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparse_keys import KeySpace


@dataclass(frozen=True)
class SparseMap:
    """Occupied cells of the maps of a batch of slides.

    Attributes:
        features: (N, C), one row for each occupied cell.
        coords: (N, 2) int64, cell indices (x, y); may be negative. A cell stands once in each slide.
        batch: (N,) int64, slide of each cell, in [0, batch_size).
        batch_size: number of slides, those without any cell included.
        size: cells along x and y, from 0 on; None: unbounded. Only strided convolution and pooling look at it, at the
            far border, where a window must lie inside.
        tables: neighbour tables found so far; they depend on the sites only and are shared by `with_features`.
    """

    features: Tensor
    coords: Tensor
    batch: Tensor
    batch_size: int
    size: tuple[int, int] | None = None
    tables: dict[tuple, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        sites = self.features.shape[0]
        if self.features.ndim != 2 or self.coords.shape != (sites, 2) or self.batch.shape != (sites,):
            raise ConfigError(
                f"a SparseMap takes features (N, C), coords (N, 2) and batch (N,), got {tuple(self.features.shape)}, "
                f"{tuple(self.coords.shape)} and {tuple(self.batch.shape)}; build_map makes them from tiles"
            )
        if self.coords.dtype != torch.int64 or self.batch.dtype != torch.int64:
            raise ConfigError(
                f"coords and batch of a SparseMap are int64, got {self.coords.dtype} and {self.batch.dtype}; positions "
                "in pixels become cells in build_map"
            )

    def with_features(self, features: Tensor) -> "SparseMap":
        """The same sites with other features (N, C'), without another search for neighbours."""
        return replace(self, features=features)

    def dense(self) -> tuple[Tensor, Tensor]:
        """Features (B, C, X, Y), zero where no cell is, and the mask (B, 1, X, Y): for small maps, to look at."""
        low, high = self.coords.amin(0), self.coords.amax(0)
        size = self.size or tuple((high + 1).tolist())
        if (low < 0).any() or (high >= torch.tensor(size, device=high.device)).any():
            raise ConfigError(f"dense() needs cells within {size}, got {low.tolist()} to {high.tolist()}")
        where = (self.batch, self.coords[:, 0], self.coords[:, 1])
        grid = self.features.new_zeros(self.batch_size, *size, self.features.shape[1])  # (B, X, Y, C)
        mask = self.features.new_zeros(self.batch_size, *size, 1)
        grid = grid.index_put(where, self.features)
        mask[where] = 1
        return grid.permute(0, 3, 1, 2), mask.permute(0, 3, 1, 2)


def build_map(
    feats: Tensor, xy: Tensor, cell: float, *, batch: Tensor | None = None, batch_size: int | None = None
) -> SparseMap:
    """The map of tiles: cell = floor(xy / cell), shifted so that each slide starts at 0; tiles of a cell are averaged.

    The released code truncates towards zero, after a random shift has made positions negative, which gives the cells
    round zero twice the width; floor does not. Averages are made in float32 whatever the type of ``feats``.

    Args:
        feats: (N, C), one row for each tile of all slides.
        xy: (N, 2) positions in any unit, pixels of level 0 as a rule; integer or floating, negative ones too.
        cell: side of a cell in the unit of ``xy``, > 0. The pitch of the tiles gives a contiguous map.
        batch: (N,) slide of each tile; None: all of one slide.
        batch_size: number of slides; None: the largest index plus one.

    Raises:
        ConfigError: ``cell`` is not positive, or the shapes do not fit.
        DatasetError: a position is not finite, or a slide index is out of range.
    """
    batch = torch.zeros(len(feats), dtype=torch.int64, device=feats.device) if batch is None else batch
    if batch_size is None:
        batch_size = int(batch.max()) + 1 if len(batch) else 1
    if not cell > 0 or feats.ndim != 2 or xy.shape != (len(feats), 2) or batch.shape != (len(feats),):
        raise ConfigError(
            f"build_map takes feats (N, C), xy (N, 2), batch (N,) and cell > 0, got {tuple(feats.shape)}, "
            f"{tuple(xy.shape)}, {tuple(batch.shape)} and cell={cell}"
        )
    coords = _cells(xy, cell, batch, batch_size)
    if not len(feats):
        return SparseMap(feats, coords, batch, batch_size, (1, 1))
    space = KeySpace.around(coords, batch_size)
    keys, cell_of = torch.unique(space.encode(coords, batch), return_inverse=True)  # sorted by slide, x, y
    sites, slides = space.decode(keys)
    return SparseMap(mean_rows(feats, cell_of, len(keys)), sites, slides, batch_size, space.size)


def mean_rows(feats: Tensor, group: Tensor, groups: int) -> Tensor:
    """Means (groups, C) of the rows (N, C) of each group, summed in float32 at least; zeros for a group of none."""
    wide = torch.promote_types(feats.dtype, torch.float32)
    sums = torch.zeros(groups, feats.shape[1], dtype=wide, device=feats.device).index_add(0, group, feats.to(wide))
    counts = torch.bincount(group, minlength=groups).clamp(min=1)
    return (sums / counts[:, None]).to(feats.dtype)


def _cells(xy: Tensor, cell: float, batch: Tensor, batch_size: int) -> Tensor:
    """Cells (N, 2) int64; the smallest x and the smallest y of each slide are 0."""
    position = xy.detach().double()  # float32 cannot tell neighbours apart beyond 2^24 pixels
    if not position.isfinite().all() or ((batch < 0) | (batch >= batch_size)).any():
        raise DatasetError(
            f"build_map: positions must be finite and slide indices in [0, {batch_size}); got positions from "
            f"{position.min().item()} to {position.max().item()}, indices {batch.min().item()} to {batch.max().item()}"
        )
    coords = torch.div(position, cell).floor().long()
    lowest = coords.new_zeros(batch_size, 2)
    lowest = lowest.scatter_reduce(0, batch[:, None].expand_as(coords), coords, "amin", include_self=False)
    return coords - lowest[batch]
