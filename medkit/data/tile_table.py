"""Where the tiles of slides lie: tables (csv) and CLAM coordinate files (h5), in pixels of level 0 and in millimetres.

A csv has a row per tile: ``slide, x, y`` (upper left corner in pixels of level 0), ``side`` (side length in the same
pixels), ``mpp`` (micrometres per level-0 pixel; or ``mpp_x, mpp_y``), and may have ``file, label, patient, tissue``
(part of the tile that is tissue). In place of ``side``: ``downsample``, or ``level``, of the pixels that tiles were cut
from. CLAM (Lu et al., "Data-efficient and weakly supervised computational pathology on whole-slide images", 2021)
writes ``coords`` (N, 2) per slide with the attributes ``patch_size`` and ``downsample``, and no mpp.
Command: ``python tools/train.py configs/spatial_siamese_slides.py``.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medkit.errors import DatasetError

Mpp = float | Sequence[float]


@dataclass(frozen=True)
class TileTable:
    """N tiles of any number of slides.

    Attributes:
        slides: (N,) names.
        xy: (N, 2) upper left corners in pixels of level 0.
        side: (N,) side lengths in pixels of level 0.
        mpp: (N, 2) micrometres per level-0 pixel along x and y, NaN where not known.
        patients: (N,) names; the slide's where the table has none.
        files: (N,) image files, or None.
        labels: (N,) tissue labels, or None.
        tissue: (N,) parts that are tissue, or None.
        source: the file or folder, for messages.
    """

    slides: np.ndarray
    xy: np.ndarray
    side: np.ndarray
    mpp: np.ndarray
    patients: np.ndarray
    files: np.ndarray | None = None
    labels: np.ndarray | None = None
    tissue: np.ndarray | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.slides)

    def take(self, index: np.ndarray) -> "TileTable":
        """The tiles at ``index``, indices or a mask."""
        columns = ("slides", "xy", "side", "mpp", "patients", "files", "labels", "tissue")
        return replace(self, **{c: v[index] for c in columns if (v := getattr(self, c)) is not None})

    def centres_px(self) -> np.ndarray:
        """Centres (N, 2) in pixels of level 0; centres, not corners, since tiles may differ in size."""
        return self.xy + self.side[:, None] / 2

    def centres_mm(self) -> np.ndarray:
        """Centres (N, 2) in millimetres.

        Raises:
            DatasetError: mpp is not known for a slide.
        """
        return self.centres_px() * self._known_mpp() / 1000

    def sides_mm(self) -> np.ndarray:
        """Side lengths (N, 2) in millimetres."""
        return self.side[:, None] * self._known_mpp() / 1000

    def _known_mpp(self) -> np.ndarray:
        wrong = ~(np.isfinite(self.mpp) & (self.mpp > 0)).all(axis=1)
        if wrong.any():
            names = sorted(set(self.slides[wrong].tolist()))
            raise DatasetError(
                f"{self.source}: the pixel size (mpp) of {len(names)} slide(s) is missing or not positive (first: "
                f"{names[0]}); give micrometres per level-0 pixel as column mpp, or with the override "
                f"mpp=0.25 or mpp={{{names[0]!r}: 0.25}}; it is never guessed, because 2 mm mean nothing without it"
            )
        return self.mpp


def read_tiles(
    path: str | Path,
    *,
    mpp: Mpp | Mapping[str, Mpp] | None = None,
    tile_px: int | None = None,
    level_downsamples: Sequence[float] | None = None,
    file_template: str | None = None,
) -> TileTable:
    """Read a csv, a CLAM h5 file, or a folder of CLAM h5 files (one slide each).

    Args:
        path: the file or folder.
        mpp: micrometres per level-0 pixel, a number or (x, y), for all slides or by slide; goes before the table's.
        tile_px: side of a tile in its own pixels, where a csv has no ``side``.
        level_downsamples: downsample of each level, (1, 4, 16), where a csv has ``level`` only.
        file_template: image files of tables without ``file``, ``'tiles/{slide}/{x}_{y}.png'``.

    Raises:
        DatasetError: missing, unreadable or incomplete; says which column and what to give.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.h5"))
        if not files:
            raise DatasetError(f"{path} holds no .h5; expected CLAM coordinate files, or give a csv")
        table = _join([_read_clam(file) for file in files], str(path))
    elif not path.is_file():
        raise DatasetError(f"tile table {path} does not exist; expected a csv or CLAM coordinates (.h5)")
    else:
        table = _read_clam(path) if path.suffix == ".h5" else _read_csv(path, tile_px, level_downsamples)
    if file_template and table.files is None:
        values = zip(table.slides.tolist(), table.xy.astype(int).tolist(), strict=True)
        table = replace(table, files=np.array([file_template.format(slide=s, x=x, y=y) for s, (x, y) in values]))
    return _override_mpp(table, mpp)


def _override_mpp(table: TileTable, mpp: Mpp | Mapping[str, Mpp] | None) -> TileTable:
    if mpp is None:
        return table
    values = mpp if isinstance(mpp, Mapping) else dict.fromkeys(np.unique(table.slides).tolist(), mpp)
    unknown = sorted(set(values) - set(table.slides.tolist()))
    if unknown:
        raise DatasetError(f"mpp names slides that {table.source} does not have (first: {unknown[0]}); correct it")
    filled = table.mpp.copy()
    for slide, value in values.items():
        filled[table.slides == slide] = np.broadcast_to(np.asarray(value, float), 2)
    return replace(table, mpp=filled)


def _read_csv(path: Path, tile_px: int | None, level_downsamples: Sequence[float] | None) -> TileTable:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = set(reader.fieldnames or ())
        rows = list(reader)
    if missing := {"slide", "x", "y"} - names:
        raise DatasetError(f"{path} has no column {sorted(missing)}; it has {sorted(names)}; see docs/pathology.md")
    if not rows:
        raise DatasetError(f"{path} lists no tile; write it again")

    def numbers(column: str) -> np.ndarray:
        return np.array([_number(row[column], column, path, line) for line, row in enumerate(rows, 2)])

    def words(column: str) -> np.ndarray | None:
        return np.array([(row[column] or "").strip() for row in rows]) if column in names else None

    mpp = [numbers(c) if c in names else np.full(len(rows), math.nan) for c in _mpp_columns(names)]
    slides, patients = words("slide"), words("patient")
    assert slides is not None
    return TileTable(
        slides=slides,
        xy=np.stack([numbers("x"), numbers("y")], axis=1),
        side=_sides(names, numbers, path, tile_px, level_downsamples),
        mpp=np.stack(mpp, axis=1),
        patients=slides if patients is None else np.where(patients == "", slides, patients),
        files=words("file"),
        labels=words("label"),
        tissue=numbers("tissue") if "tissue" in names else None,
        source=str(path),
    )


def _mpp_columns(names: set[str]) -> tuple[str, str]:
    return ("mpp_x", "mpp_y") if {"mpp_x", "mpp_y"} <= names else ("mpp", "mpp")


def _number(text: str | None, column: str, path: Path, line: int) -> float:
    """A number; NaN where an mpp is left empty, which is refused once millimetres are asked for."""
    if column.startswith("mpp") and not (text or "").strip():
        return math.nan
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{path}, line {line}: {column} is {text!r}; expected a number; correct the table")
    return value


def _sides(
    names: set[str],
    numbers: Callable[[str], np.ndarray],
    path: Path,
    tile_px: int | None,
    downsamples: Sequence[float] | None,
) -> np.ndarray:
    if "side" in names:
        side = numbers("side")
    elif tile_px and "downsample" in names:
        side = tile_px * numbers("downsample")
    elif tile_px and downsamples and "level" in names:
        levels = numbers("level").astype(int)
        if levels.min() < 0 or levels.max() >= len(downsamples):
            raise DatasetError(
                f"{path} has levels {levels.min()} to {levels.max()}; level_downsamples {tuple(downsamples)} names "
                f"{len(downsamples)}, from 0; give one downsample for each level"
            )
        side = tile_px * np.asarray(downsamples, float)[levels]
    else:
        raise DatasetError(
            f"{path} does not say how large a tile is; add the column side (level-0 pixels), or give tile_px with a "
            "column downsample, or tile_px and level_downsamples with a column level"
        )
    if side.min() <= 0:
        raise DatasetError(f"{path}: the smallest tile has side {side.min()}; expected level-0 pixels above 0")
    return side


def _read_clam(path: Path) -> TileTable:
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(f"reading {path} needs h5py; run `pip install 'medkit[slides]'`") from error
    try:
        with h5py.File(path) as file:
            coords, attributes = np.asarray(file["coords"][:], float), dict(file["coords"].attrs)
    except (OSError, KeyError) as error:
        raise DatasetError(f"{path} is no CLAM coordinate file ({error}); expected a data set `coords`") from error
    if "patch_size_level0" in attributes:
        side = float(attributes["patch_size_level0"])
    elif {"patch_size", "downsample"} <= set(attributes):
        side = float(attributes["patch_size"]) * float(np.max(attributes["downsample"]))
    else:
        raise DatasetError(
            f"{path}: `coords` has the attributes {sorted(attributes)}; expected patch_size and downsample, whose "
            "product is the side in level-0 pixels; write it again with CLAM's create_patches"
        )
    if coords.ndim != 2 or coords.shape[1] != 2 or not len(coords):
        raise DatasetError(f"{path}: `coords` has the shape {coords.shape}; expected (N, 2) with N > 0")
    slides = np.full(len(coords), path.stem)
    nothing = np.full((len(coords), 2), math.nan)
    return TileTable(slides, coords, np.full(len(coords), side), nothing, patients=slides, source=str(path))


def _join(tables: list[TileTable], source: str) -> TileTable:
    columns = ("slides", "xy", "side", "mpp", "patients")
    return TileTable(**{c: np.concatenate([getattr(t, c) for t in tables]) for c in columns}, source=source)
