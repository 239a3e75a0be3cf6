"""Bags made of single tiles of known kind: the label says whether a bag holds one kind among the others.

The first two commands have an encoder between them:

- ``python -m data_prep.tile_bags split TILES OUT --group source_tile_cluster`` reads ``*.csv`` of TILES (columns
  ``image,label`` and the group) and writes OUT with ``images/`` and ``labels.csv``, as self-supervised training and
  ``python tools/features.py CONFIG CHECKPOINT FEATURES.npy --data-root OUT`` read them. A group (a patient, a source
  tile of augmented copies) is on one side of the split.
- ``python -m data_prep.tile_bags bags FEATURES.npy BAGS --positive lung_aca --background lung_n`` draws bags from those
  features: all background in negative bags, and 1 to ``--most`` positive tiles in the others. With ``--decoy KIND`` all
  bags also hold as many tiles of a third kind. A bag's tiles are of its split; tiles recur in other bags of it, so the
  test set is as large as its groups, not its bags.
- ``python -m data_prep.tile_bags images OUT --positive lung_aca --background lung_n --size 8`` draws bags of the tiles
  themselves, for training end to end: ``bags.csv`` and ``images.csv`` in OUT, without an encoder.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bag_folder import DrawnBag, told, write_bag_folder
from .errors import ExportError, OptionError
from .images import write_whole
from .one_line import one_line_errors

SPLITS = {"train": 0.55, "val": 0.15, "test": 0.3}  # of each kind's groups
LABELS = ("negative", "positive")


@dataclass(frozen=True)
class TileBagOptions:
    """Kinds, bags of each split (half of them positive), tiles of a bag, and most positive tiles.

    Raises:
        OptionError: a number is out of range.
    """

    positive: str
    background: str
    decoy: str | None = None
    train: int = 100
    val: int = 30
    test: int = 60
    size: int = 20
    most: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.most < self.size / 2 or min(self.train, self.val, self.test) < 0:
            raise OptionError(f"{self}; expected 1 <= most < size / 2 and no negative number of bags")


def split_tiles(tiles: str | Path, out: str | Path, group: str = "", seed: int = 0) -> list[dict[str, str]]:
    """Copy the tiles and write ``labels.csv``; returns its rows. Labels are numbered in alphabetical order.

    Raises:
        ExportError: no table or several, columns missing, a group of two kinds, or too few groups of a kind.
        OptionError: the folder is not empty.
    """
    tiles, out = Path(tiles), Path(out)
    if out.exists() and any(out.iterdir()):
        raise OptionError(f"{out} is not empty; name a new folder")
    rows = _table(tiles, group)
    splits = _split_groups(rows, np.random.default_rng(seed))
    kinds = sorted({row["kind"] for row in rows})
    written = []
    for row in rows:
        image = f"{row['kind']}/{Path(row['image']).name}"
        (out / "images" / row["kind"]).mkdir(parents=True, exist_ok=True)
        write_whole(out / "images" / image, (tiles / row["image"]).read_bytes())
        values = image, row["group"], str(kinds.index(row["kind"])), splits[row["group"]]
        written.append(dict(zip(("image", "patient", "label", "split"), values, strict=True)))
    _write_csv(out / "labels.csv", written)
    return written


def tile_bags(features: str | Path, options: TileBagOptions, seed: int = 0) -> Iterator[DrawnBag]:
    """Bags of the features that ``python tools/features.py`` wrote, with ``FEATURES.csv`` beside them.

    Raises:
        ExportError: a file is missing, or a split has too few tiles of a kind.
    """
    values, kinds, splits = _features(Path(features))
    for name, label, split, rows in _draws(kinds, splits, options, seed, features):
        yield DrawnBag(name, label, split, values[rows], kinds[rows] == options.positive)


def image_bags(folder: str | Path, options: TileBagOptions, seed: int = 0) -> list[dict[str, str]]:
    """Write ``bags.csv`` and ``images.csv``, bags of the tiles of `split_tiles`, beside its table; rows of the bags.

    Raises:
        ExportError: as `tile_bags`.
    """
    folder = Path(folder)
    if not (folder / "labels.csv").is_file():
        raise ExportError(f"{folder}/labels.csv is missing; write it with python -m data_prep.tile_bags split")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        names, splits = zip(*((row["image"], row["split"]) for row in csv.DictReader(file)), strict=True)
    kinds = np.array([Path(name).parent.name for name in names])
    bags, images = [], []
    for bag, label, split, rows in _draws(kinds, np.array(splits), options, seed, folder):
        bags.append({"slide_id": bag, "label": label, "split": split})
        for row in rows:
            known = str(int(kinds[row] == options.positive))
            images.append({"slide_id": bag, "file": f"images/{names[row]}", "label": known})
    _write_csv(folder / "bags.csv", bags)
    _write_csv(folder / "images.csv", images)
    return bags


def _draws(
    kinds: np.ndarray, splits: np.ndarray, options: TileBagOptions, seed: int, source: str | Path
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Name, label, split and tiles of each bag."""
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng((seed, number))
        wanted = {name for name in (options.positive, options.background, options.decoy) if name}
        pools = {kind: np.flatnonzero((kinds == kind) & (splits == split)) for kind in wanted}
        for kind, pool in pools.items():
            if len(pool) < options.size and getattr(options, split):
                raise ExportError(
                    f"{source}: {len(pool)} tiles of {kind!r} in {split}; bags of {options.size} need as many; there "
                    f"are {sorted(set(kinds.tolist()))}"
                )
        for k in range(getattr(options, split)):
            yield f"{split}{k:04d}", LABELS[k % 2], split, _draw(rng, pools, k % 2, options)


def _draw(rng: np.random.Generator, pools: dict, positive: int, options: TileBagOptions) -> np.ndarray:
    counts = {options.positive: int(rng.integers(1, options.most + 1)) * positive}
    if options.decoy:
        counts[options.decoy] = int(rng.integers(1, options.most + 1))
    counts[options.background] = options.size - sum(counts.values())
    return np.concatenate([rng.choice(pools[kind], count, replace=False) for kind, count in counts.items()])


def _table(tiles: Path, group: str) -> list[dict[str, str]]:
    tables = sorted(tiles.glob("*.csv"))
    if len(tables) != 1:
        raise ExportError(f"{tiles} has {len(tables)} csv files; expected one with the columns image and label")
    with tables[0].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = {"image", "label", group or "image"} - set(rows[0] if rows else ())
    if lacking:
        raise ExportError(f"{tables[0]} lacks the columns {sorted(lacking)}; name the group's with --group")
    made = [{"image": row["image"], "kind": row["label"], "group": row[group or "image"]} for row in rows]
    if len({row["group"] for row in made}) != len({(row["group"], row["kind"]) for row in made}):
        raise ExportError(f"{tables[0]}: a group of {group!r} has tiles of two kinds; expected one kind in each")
    return made


def _split_groups(rows: list[dict[str, str]], rng: np.random.Generator) -> dict[str, str]:
    """Every kind's groups by `SPLITS`."""
    splits: dict[str, str] = {}
    for kind in sorted({row["kind"] for row in rows}):
        groups = rng.permutation(sorted({row["group"] for row in rows if row["kind"] == kind})).tolist()
        if len(groups) < 2 * len(SPLITS):
            raise ExportError(f"{len(groups)} groups of {kind!r}; a split of three needs {2 * len(SPLITS)} or more")
        ends = np.round(np.cumsum(list(SPLITS.values())) * len(groups)).astype(int)[:-1]
        for split, part in zip(SPLITS, np.split(np.array(groups), ends), strict=True):
            splits |= dict.fromkeys(part.tolist(), split)
    return splits


def _features(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), kinds (N,) and splits (N,); the kind is the folder that an image lies in."""
    table = path.with_suffix(".csv")
    if not path.is_file() or not table.is_file():
        raise ExportError(f"{path} or {table.name} is missing; write both with python tools/features.py")
    values = np.load(path)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != len(values):
        raise ExportError(f"{path} has {len(values)} rows and {table.name} {len(rows)}; write both again")
    return values, np.array([Path(row["image"]).parent.name for row in rows]), np.array([row["split"] for row in rows])


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep.tile_bags", description="Bags of single tiles.")
    commands = parser.add_subparsers(dest="command", required=True)
    split = commands.add_parser("split", help="tiles to a folder with a split by group")
    split.add_argument("tiles", help="folder of images with one csv")
    split.add_argument("out", help="new folder")
    split.add_argument("--group", default="", help="column of what must not be on two sides (default: every image)")
    bags = commands.add_parser("bags", help="features to bags")
    bags.add_argument("features", type=Path, help=".npy of python tools/features.py, its .csv beside it")
    bags.add_argument("out", help="new folder")
    images = commands.add_parser("images", help="tiles to bags, without features")
    images.add_argument("out", help="folder that split wrote; bags.csv and images.csv come beside its labels.csv")
    for command in (bags, images):
        command.add_argument("--positive", required=True, help="kind (folder of the images) that makes a bag positive")
        command.add_argument("--background", required=True, help="kind that fills all bags")
        command.add_argument("--decoy", help="kind of which all bags have some")
        for name, default in (("train", 100), ("val", 30), ("test", 60)):
            command.add_argument(f"--{name}", type=int, default=default, help=f"bags (default {default})")
        command.add_argument("--size", type=int, default=20, help="tiles of a bag (default 20)")
        command.add_argument("--most", type=int, default=3, help="most positive tiles, and most decoys (default 3)")
    for command in (split, bags, images):
        command.add_argument("--seed", type=int, default=0)
    return parser


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = vars(_parser().parse_args(argv))
    command, out, seed = args.pop("command"), args.pop("out"), args.pop("seed")
    if command == "split":
        rows = split_tiles(args["tiles"], out, args["group"], seed)
        counts = [f"{sum(row['split'] == split for row in rows)} {split}" for split in SPLITS]
        print(f"{out}/labels.csv: {len(rows)} tiles of {len({row['patient'] for row in rows})} groups: "
              f"{', '.join(counts)}")  # fmt: skip
    elif command == "images":
        print(told(out, image_bags(out, TileBagOptions(**args), seed)))
    else:
        features = args.pop("features")
        print(told(out, write_bag_folder(out, tile_bags(features, TileBagOptions(**args), seed))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
