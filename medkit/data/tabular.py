"""Tables with one vector per subject: csv, parquet, PLINK genotypes, or columns of an annotation file.

What ContIG (CVPR 2022, arXiv 2111.13424) contrasts images with. Parquet needs ``pip install
medkit[tabular]``, PLINK's bed/bim/fam ``pip install medkit[genetics]``.
Used by ``python tools/train.py configs/contig_busi.py --amp``; docs/contig.md describes the formats.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medkit.errors import ConfigError, DatasetError

MISSING = frozenset(("", "na", "nan", "none", "null", "n/a", "."))
_AUTOSOMES = frozenset(str(number) for number in range(1, 23))


@dataclass(frozen=True)
class Table:
    """Rows of values by subject.

    Attributes:
        source: file, for messages.
        keys: (N,) one per row.
        names: of the numeric columns, in the order of ``numbers``.
        numbers: (N, len(names)) float32, NaN where nothing is known.
        words: categorical column -> (N,) strings, empty where nothing is known.
    """

    source: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    numbers: np.ndarray
    words: dict[str, np.ndarray]

    def row_of(self) -> dict[str, int]:
        """Key -> row; `DatasetError` where a key stands in several rows."""
        if nameless := self.keys.count(""):
            raise DatasetError(f"{nameless} rows of {self.source} name no subject; fill in or remove them")
        twice = [key for key, count in Counter(self.keys).items() if count > 1]
        if twice:
            raise DatasetError(
                f"{len(twice)} subjects stand in several rows of {self.source} (first: {twice[0]!r}); "
                "keep one row for each"
            )
        return {key: row for row, key in enumerate(self.keys)}

    def rows_with_values(self) -> np.ndarray:
        """(N,) whether anything at all is known of the row."""
        known = ~np.isnan(self.numbers).all(axis=1) if self.names else np.zeros(len(self.keys), dtype=bool)
        for values in self.words.values():
            known |= values != ""
        return known


def read_table(
    file: str | Path,
    key: str = "patient_id",
    columns: Sequence[str] | None = None,
    categorical: Iterable[str] = (),
    step: int = 1,
) -> Table:
    """Read a table by the suffix of its name.

    Args:
        file: ``.csv``, ``.parquet``, or ``.bed`` with its ``.bim`` and ``.fam`` beside it.
        key: column that names the subject; a PLINK file has its individual id (IID) for that.
        columns: those to take; all but the key by default. Of a PLINK file: variant ids.
        categorical: columns whose values are names even where they look like numbers.
        step: of a PLINK file, take every so-many-th variant of each autosome (ContIG: 100).

    Raises:
        DatasetError: file missing or unreadable, column missing, or no row in it.
        ConfigError: another suffix, or the package that reads it is not installed.
    """
    path = Path(file)
    if not path.is_file():
        raise DatasetError(f"table {path} does not exist; check data_root and the modality's file")
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = list(csv.reader(stream)) or [[]]
        if ragged := [number for number, row in enumerate(rows, 2) if len(row) != len(header)]:
            raise DatasetError(
                f"{path}, line {ragged[0]}: not the {len(header)} fields of the header; write the csv again"
            )
        content: Mapping[str, Sequence] = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    elif path.suffix == ".parquet":
        content = _read_parquet(path, key, columns)
    elif path.suffix == ".bed":
        return _read_plink(path, columns, step)
    else:
        raise ConfigError(f"table {path}: its name must end in .csv, .parquet or .bed")
    return make_table(content, str(path), key, columns, categorical)


def make_table(
    content: Mapping[str, Sequence],
    source: str,
    key: str,
    columns: Sequence[str] | None = None,
    categorical: Iterable[str] = (),
) -> Table:
    """A table of columns (name -> values of all rows); a column with words in it is taken as categorical."""
    wanted = [name for name in content if name != key] if columns is None else list(columns)
    absent = [name for name in (key, *wanted) if name not in content]
    if absent:
        raise DatasetError(
            f"{source} has no column {absent[0]!r}; it has {', '.join(map(str, list(content)[:12]))}; "
            "set the modality's key and columns"
        )
    keys = tuple(_word(value) for value in content[key])
    if not keys or not wanted:
        raise DatasetError(f"{source} has {len(keys)} rows and {len(wanted)} columns of values; both are needed")
    categorical = set(categorical)
    numbers: dict[str, np.ndarray] = {}
    words: dict[str, np.ndarray] = {}
    for name in wanted:
        values = None if name in categorical else _numbers(content[name])
        if values is None:
            words[name] = np.array([_word(value) for value in content[name]], dtype=object)
        else:
            numbers[name] = values
    stacked = np.stack(list(numbers.values()), axis=1) if numbers else np.zeros((len(keys), 0), np.float32)
    return Table(source, keys, tuple(numbers), stacked, words)


def _word(value: Any) -> str:
    """What a field says, empty for nothing; 7.0 says 7, for a column of whole numbers with gaps is stored as floats."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in MISSING else text


def _numbers(values: Sequence) -> np.ndarray | None:
    """float32 with NaN for what is missing, None where something is neither a number nor missing."""
    if isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.number):
        found = values.astype(np.float32)
    else:
        try:
            found = np.array([_word(value) or "nan" for value in values], dtype=np.float32)
        except ValueError:
            return None
    return np.where(np.isfinite(found), found, np.float32("nan"))


def _read_parquet(path: Path, key: str, columns: Sequence[str] | None) -> dict[str, Sequence]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(f"reading {path} needs pyarrow: pip install 'medkit[tabular]'") from error
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} is no parquet file ({error}); write it again") from error
    with file:
        there = file.schema_arrow.names
        content = file.read(columns=None if columns is None else [n for n in (key, *columns) if n in there])
    arrow = {name: content.column(name) for name in content.column_names}
    return {
        name: column.to_numpy() if _is_number(pa, column.type) else column.to_pylist()
        for name, column in arrow.items()
    }


def _is_number(pa: Any, kind: Any) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _read_plink(path: Path, variants: Sequence[str] | None, step: int) -> Table:
    """Counts 0, 1, 2 of the first allele, NaN where the genotype was not called."""
    try:
        from bed_reader import open_bed
    except ImportError as error:
        raise ConfigError(f"reading {path} needs bed-reader: pip install 'medkit[genetics]'") from error
    absent = [path.with_suffix(suffix) for suffix in (".bim", ".fam") if not path.with_suffix(suffix).is_file()]
    if absent:
        raise DatasetError(f"{absent[0]} does not exist; a PLINK .bed is read with its .bim and .fam beside it")
    try:
        with open_bed(path, num_threads=1) as bed:
            chosen = _choose_variants(path, bed.sid, bed.chromosome, variants, step)
            values = bed.read(index=np.s_[:, chosen], dtype="float32")
            return Table(str(path), tuple(map(str, bed.iid)), tuple(map(str, bed.sid[chosen])), values, {})
    except ValueError as error:
        raise DatasetError(f"{path} is no PLINK .bed that fits its .bim and .fam ({error}); export it again") from error


def _choose_variants(
    path: Path, ids: np.ndarray, chromosomes: np.ndarray, variants: Sequence[str] | None, step: int
) -> np.ndarray:
    """Column numbers: the named variants, or every ``step``-th of each autosome."""
    if step < 1:
        raise ConfigError(f"{path}: step={step}; give 1 (all variants) or more")
    if variants is not None:
        column = {name: index for index, name in enumerate(ids)}
        if absent := [name for name in variants if name not in column]:
            raise DatasetError(f"{len(absent)} variants are not in {path} (first: {absent[0]}); correct `columns`")
        return np.array([column[name] for name in variants], dtype=int)
    autosomes = [str(name) for name in dict.fromkeys(chromosomes) if str(name) in _AUTOSOMES]
    chosen = [np.flatnonzero(chromosomes == name)[::step] for name in autosomes]
    if not chosen:
        raise DatasetError(f"{path} has no variant on chromosomes 1 to 22; name variants with `columns`")
    return np.concatenate(chosen)
