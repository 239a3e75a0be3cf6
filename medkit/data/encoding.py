"""From the rows of a table to vectors of numbers: filled, standardised, one-hot, as fitted on the training rows.

Used by `medkit.ImageVectors`; every checkpoint carries the encoding in ``meta['dataset_meta']['vectors']``,
so that subjects who come later are encoded as those of the training were. See docs/contig.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from medkit.data.tabular import Table
from medkit.errors import ConfigError, DatasetError

FILLS = ("mean", "mode")


@dataclass(frozen=True)
class VectorEncoding:
    """How the columns of a table become a vector; plain numbers and strings, so that it can be stored.

    Attributes:
        names: numeric columns, first in the vector.
        fill: what stands for a missing number.
        mean: subtracted from it.
        std: then divides it; 1 for a constant column, which so becomes 0.
        words: categorical column -> its values; one-hot, behind the numbers.
        constant: features that were the same in all rows it was fitted on.
    """

    names: tuple[str, ...]
    fill: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    words: dict[str, tuple[str, ...]]
    constant: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the vector's entries: ``('age', 'sex=F', 'sex=M')``."""
        hot = (f"{name}={value}" for name, values in self.words.items() for value in values)
        return (*self.names, *hot)

    def to_dict(self) -> dict:
        """Plain content, for a checkpoint or a json file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping) -> "VectorEncoding":
        """What `to_dict` gave, also after a way through json."""
        words = {name: tuple(values) for name, values in content["words"].items()}
        rest = {
            name: tuple(content[name]) for name in ("names", "fill", "mean", "std", "constant") if name in content
        }
        return cls(words=words, **rest)

    def __call__(self, table: Table) -> np.ndarray:
        """(N, len(features)) float32; a row of which nothing is known is all NaN.

        Raises:
            DatasetError: the table has other columns.
        """
        if set(table.names) != set(self.names) or set(table.words) != set(self.words):
            raise DatasetError(
                f"{table.source} has the columns {(*table.names, *table.words)[:8]}, but the encoding was fitted on "
                f"{(*self.names, *self.words)[:8]}; use the same table"
            )
        column = {name: index for index, name in enumerate(table.names)}
        numbers = table.numbers[:, [column[name] for name in self.names]]
        fill, mean, std = (np.array(part, np.float32) for part in (self.fill, self.mean, self.std))
        numbers = (np.where(np.isnan(numbers), fill, numbers) - mean) / std
        hot = [table.words[name][:, None] == np.array(values)[None] for name, values in self.words.items()]
        vectors = np.concatenate([numbers, *hot], axis=1, dtype=np.float32)
        vectors[~table.rows_with_values()] = np.nan
        return vectors


def fit_encoding(
    table: Table,
    rows: np.ndarray | Sequence[int],
    categorical: Mapping[str, Sequence[str]] | None = None,
    fill: str = "mean",
    standardise: bool = True,
) -> VectorEncoding:
    """Learn fill, mean and deviation of each numeric column, and the values of each categorical one.

    Args:
        table: with the rows of all subjects.
        rows: numbers of the training rows; only these are looked at.
        categorical: column -> its values in order; other categorical columns take those found, sorted.
        fill: ``mean``, or ``mode`` (genotypes) of the known values.
        standardise: to mean 0 and standard deviation 1; else numbers stay as they are.

    Raises:
        DatasetError: a value is not among the given ones, or all rows say the same.
    """
    if fill not in FILLS:
        raise ConfigError(f"{table.source}: missing={fill!r}; give one of {', '.join(FILLS)}")
    rows = np.asarray(rows, dtype=int)
    numbers = table.numbers[rows].astype(np.float64)
    if fill == "mode":
        fills = np.array([_mode(values) for values in numbers.T])
    else:
        fills = _mean(numbers, np.zeros(numbers.shape[1]))
    filled = np.where(np.isnan(numbers), fills, numbers)
    spread = filled.std(axis=0) if len(rows) else np.zeros(numbers.shape[1])
    spread[spread <= 1e-6 * np.maximum(1, np.abs(fills))] = 0
    words = {name: _values(table, name, rows, (categorical or {}).get(name)) for name in table.words}
    encoding = VectorEncoding(
        names=table.names,
        fill=tuple(fills.tolist()),
        mean=tuple((_mean(filled, fills) if standardise else 0 * fills).tolist()),
        std=tuple((np.where(spread == 0, 1, spread) if standardise else 0 * fills + 1).tolist()),
        words=words,
        constant=_constant(table, rows, spread, words),
    )
    if len(encoding.constant) == len(encoding.features):
        raise DatasetError(
            f"{table.source} says the same of all {len(rows)} subjects with images "
            f"({', '.join(encoding.features[:4])}): there is nothing to tell them apart by; choose other columns"
        )
    return encoding


def _mean(values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Mean of each column's known values; ``otherwise`` where nothing is known."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), otherwise)


def _mode(values: np.ndarray) -> float:
    """Most frequent known value, the lowest at a tie; 0 where nothing is known."""
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return float(found[counts.argmax()]) if len(found) else 0.0


def _values(table: Table, name: str, rows: np.ndarray, given: Sequence[str] | None) -> tuple[str, ...]:
    found = sorted(set(table.words[name][rows]) - {""})
    if not given:
        return tuple(found)
    given = tuple(map(str, given))
    if others := sorted(set(found) - set(given)):
        raise DatasetError(
            f"column {name!r} of {table.source} holds {others[0]!r}, expected one of {given}; list all values in the "
            "modality's `categorical`"
        )
    return given


def _constant(table: Table, rows: np.ndarray, spread: np.ndarray, words: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    same = [name for name, width in zip(table.names, spread, strict=True) if width == 0]
    for name, values in words.items():
        for value in values:
            hits = np.count_nonzero(table.words[name][rows] == value)
            if hits in (0, len(rows)):
                same.append(f"{name}={value}")
    return tuple(same)
