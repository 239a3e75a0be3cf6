"""Maps and dense counterparts that the tests of sparse operations share."""

from pathlib import Path

import torch
from torch import Tensor

from medkit.models.mil.sparse_map import SparseMap
from tests.models.mil.golden import Golden

GOLDEN = Path(__file__).parents[2] / "golden"


def golden(name: str) -> dict[str, Tensor]:
    return Golden(GOLDEN, name).arrays


def random_map(
    seed: int, *, sites: int = 40, size: tuple[int, int] = (9, 7), channels: int = 3, dtype: torch.dtype = torch.float64
) -> SparseMap:
    """Two slides in which ``sites`` cells at most are occupied, in random order."""
    draw = torch.Generator().manual_seed(seed)
    key = torch.randperm(2 * size[0] * size[1], generator=draw)[:sites]
    batch, cell = key // (size[0] * size[1]), key % (size[0] * size[1])
    coords = torch.stack([cell // size[1], cell % size[1]], dim=1)
    feats = torch.randn(len(key), channels, generator=draw, dtype=torch.float64).to(dtype)
    return SparseMap(feats, coords, batch, 2, size)


def at_sites(dense: Tensor, sparse: SparseMap) -> Tensor:
    """Values (N, C) of a dense map (B, C, X, Y) at the sites of a sparse one."""
    return dense[sparse.batch, :, sparse.coords[:, 0], sparse.coords[:, 1]]
