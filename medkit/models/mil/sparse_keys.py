"""Cells of sparse maps as single integers: the key of a cell is (slide * X + x) * Y + y within the extent of the batch.

Sorted keys replace the hash table of the compiled libraries: a neighbour is found by bisection, on any device.
Command: ``python tools/benchmark.py sparse_conv``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medkit.errors import DatasetError


@dataclass(frozen=True)
class KeySpace:
    """The box of cells that keys can name.

    Attributes:
        low: smallest x and y.
        size: cells along x and y.
    """

    low: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def around(cls, coords: Tensor, batch_size: int) -> "KeySpace":
        """The box round the cells (N, 2), N > 0.

        Raises:
            DatasetError: the cells lie so far apart that a key would not fit into 64 bits.
        """
        (low_x, low_y), (high_x, high_y) = torch.stack([coords.amin(0), coords.amax(0)]).tolist()
        size = (high_x - low_x + 1, high_y - low_y + 1)
        if batch_size * size[0] * size[1] >= 2**63:
            raise DatasetError(
                f"{batch_size} maps of {size[0]} x {size[1]} cells cannot be numbered with 64 bits; check the tile "
                "positions, or take larger cells"
            )
        return cls((low_x, low_y), size)

    def encode(self, coords: Tensor, batch: Tensor) -> Tensor:
        """Keys of the cells (..., 2) of slides (...); only of cells `inside`."""
        x, y = coords[..., 0] - self.low[0], coords[..., 1] - self.low[1]
        return (batch * self.size[0] + x) * self.size[1] + y

    def inside(self, coords: Tensor) -> Tensor:
        """Which cells (..., 2) have a key; without this test a row would run on into the next."""
        x, y = coords[..., 0] - self.low[0], coords[..., 1] - self.low[1]
        return (x >= 0) & (x < self.size[0]) & (y >= 0) & (y < self.size[1])

    def decode(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Cells (N, 2) and slides (N,) of keys (N,)."""
        row = torch.div(keys, self.size[1], rounding_mode="floor")  # slide * X + x
        slide = torch.div(row, self.size[0], rounding_mode="floor")
        x, y = row - slide * self.size[0] + self.low[0], keys - row * self.size[1] + self.low[1]
        return torch.stack([x, y], dim=1), slide
