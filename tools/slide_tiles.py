"""What the tools on tiled slides share: the bag folder that data_prep wrote, and the encoder. No tool itself.

Used by tools/slide_features.py and tools/feature_bank.py.
"""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import DataPrepError, SlideError
from data_prep.slides import Patches, open_slide, read_patches
from data_prep.slides.folder import find_slides, read_slides
from medkit.apis.cli import KeyValues
from medkit.errors import DatasetError

if TYPE_CHECKING:
    from medkit.apis.bag_features import Extracted, SlideTiles
    from medkit.apis.tile_encoders import TileEncoder


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """The bag folder, where its slides are, and what turns tiles into features."""
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="bag folder that `python -m data_prep slides IN OUT` wrote")
    add("--backbone", required=True, help="config, name of an mmpretrain model, or timm:NAME")
    add("--checkpoint", help="local file or run folder with its weights")
    add("--untrained", type=int, metavar="SEED", help="random weights in place of a checkpoint")
    add("--stage", type=int, help="stage of a residual network, averaged (CLAM and giga-SSL: 3; default: the last)")
    add("--options", nargs="+", action=KeyValues, default={}, help="key=value ... of the config, or of a timm model")
    add("--slides", type=Path, help="folder where the slides are now (default: where they were tiled)")
    add("--threads", type=int, default=2, help="that read tiles (default: 2)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    add("--overwrite", action="store_true", help="replace files that were made otherwise")


def open_encoder(args: argparse.Namespace, slides: "list[SlideTiles]") -> "TileEncoder":
    """The encoder that the options name, for the size of the tiles."""
    from medkit.apis.tile_encoders import open_tile_encoder

    sizes = sorted({slide.out_px for slide in slides})
    if len(sizes) != 1:
        raise DatasetError(f"{args.out}: tiles of {sizes} px; expected slides, with tiles of one size: tile them again")
    how = dict(untrained=args.untrained, stage=args.stage, options=args.options, device=args.device)
    return open_tile_encoder(args.backbone, args.checkpoint, out_px=sizes[0], **how)


def find_tiles(out: Path, moved: Path | None) -> "list[SlideTiles]":
    """The slides of a bag folder that were tiled; ``moved``: the folder where their files are now."""
    from medkit.apis.bag_features import SlideTiles

    found = []
    with faults():
        files = find_slides(moved) if moved else {}
        for row in read_slides(out):
            name = row["slide_id"]
            tiles = read_patches(out / "patches" / f"{name}.h5")
            opener = partial(open_reader, files.get(name, Path(row["path"])), row, tiles)
            places = (tiles.coords, tiles.side_px, tiles.mpp, tiles.out_px)
            found.append(SlideTiles(name, *places, opener, tiles.instance_labels))
    return found


@contextmanager
def open_reader(path: Path, row: dict[str, str], tiles: Patches) -> Iterator:
    """A function that reads the tile at (x, y)."""
    with faults(), open_slide(path, tiles.mpp) as slide:
        if slide.size != (int(row["width"]), int(row["height"])):
            raise SlideError(f"{path} has {slide.size} pixels and not those of slides.csv; tile it again")
        yield lambda x, y: slide.read(x, y, tiles.side_px, tiles.out_px)


@contextmanager
def faults() -> Iterator[None]:
    """What data_prep finds wrong, as an error of medkit."""
    try:
        yield
    except DataPrepError as error:
        raise DatasetError(str(error)) from error


def report(results: "Iterable[Extracted]", slides: int, folder: Path, encoder: "TileEncoder") -> int:
    """Print a line for each slide and one for all; 1 where one failed."""
    made = failed = 0
    for slide in results:
        made, failed = made + (not slide.fault), failed + bool(slide.fault)
        size = f"{slide.tiles} tiles, {slide.width} features each, {slide.seconds:.1f} s"
        print(f"{slide.slide_id}: {f'FAILED: {slide.fault}' if slide.fault else size}", flush=True)
    before = slides - made - failed
    print(f"{folder}: {encoder.name}, {encoder.weights}: {made} slides made, {before} done before, {failed} failed")
    return 1 if failed else 0
