"""Near-duplicate pairs: one as a `Pair`, millions as the table `Pairs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates by their position in the list of records, ``first`` before ``second``.

    ``turn`` says which version (`verify.turn`) of the second looks like the first; 0 is as it stands.
    """

    first: int
    second: int
    distance: int
    correlation: float
    turn: int = 0


class Pairs(Sequence[Pair]):
    """Near-duplicate pairs, sorted, as a table of 20 bytes a pair: a still clip alone has millions.

    Attributes:
        table: (M,) with the fields of `Pair`.
    """

    TYPE = np.dtype([("first", "i4"), ("second", "i4"), ("distance", "i4"), ("correlation", "f4"), ("turn", "i4")])

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index):
        return Pairs(self.table[index]) if isinstance(index, slice) else Pair(*self.table[index].item())

    def __iter__(self) -> Iterator[Pair]:
        for start in range(0, len(self.table), 4096):
            for row in self.table[start : start + 4096].tolist():
                yield Pair(*row)

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Pairs:
        """The table of single pairs."""
        if isinstance(pairs, Pairs):
            return pairs
        rows = [(pair.first, pair.second, pair.distance, pair.correlation, pair.turn) for pair in pairs]
        return cls(np.array(rows, cls.TYPE))
