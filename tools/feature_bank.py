"""Banks of features for giga-SSL: OUT/banks/SLIDE.h5, tiles described under shared augmentations; a killed run goes on.

python -m data_prep slides slides/ OUT --mpp 1.0 --tile 224      first: where the tiles lie
python tools/feature_bank.py OUT --backbone resnet18 --stage 3 --checkpoint work_dirs/simsiam_slides
python tools/feature_bank.py OUT --backbone resnet18 --stage 3 --untrained 0 --draws 10      random weights
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import KeyValues, one_line_errors
from medkit.errors import DatasetError
from tools.slide_tiles import find_tiles


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="bag folder that `python -m data_prep slides IN OUT` wrote")
    add("--backbone", required=True, help="config, name of an mmpretrain model, or timm:NAME")
    add("--checkpoint", help="local file or run folder with its weights")
    add("--untrained", type=int, metavar="SEED", help="random weights in place of a checkpoint")
    add("--stage", type=int, help="stage of a residual network, averaged (giga-SSL: 3; default: the last)")
    add("--options", nargs="+", action=KeyValues, default={}, help="key=value ... of the config, or of a timm model")
    add("--folder", default="banks", help="folder in OUT to write (default: banks)")
    add("--slides", type=Path, help="folder where the slides are now (default: where they were tiled)")
    add("--draws", type=int, default=25, help="augmentations of a slide (default: 25)")
    add("--tiles", type=int, default=25, help="tiles of each, drawn with replacement (default: 25)")
    add("--seed", type=int, default=0, help="of tiles and augmentations (default: 0)")
    add("--threads", type=int, default=2, help="that read tiles (default: 2)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    add("--overwrite", action="store_true", help="replace files that were made otherwise")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Make the banks that are not there; status 1 where one failed."""
    args = parse()
    from medkit.apis.feature_bank import BankSettings, extract_banks
    from medkit.apis.tile_encoders import open_tile_encoder

    settings = BankSettings(args.draws, args.tiles, args.seed, args.threads)
    slides = find_tiles(args.out, args.slides)
    sizes = sorted({slide.out_px for slide in slides})
    if len(sizes) != 1:
        raise DatasetError(f"{args.out}: tiles of {sizes} px; expected slides, with tiles of one size")
    how = dict(untrained=args.untrained, stage=args.stage, out_px=sizes[0], options=args.options)
    encoder = open_tile_encoder(args.backbone, args.checkpoint, device=args.device, **how)
    folder, made, failed = args.out / args.folder, 0, 0
    for slide in extract_banks(slides, folder, encoder, settings, args.overwrite):
        made, failed = made + (not slide.fault), failed + bool(slide.fault)
        size = f"{slide.tiles} tiles, {slide.width} features each, {slide.seconds:.1f} s"
        print(f"{slide.slide_id}: {f'FAILED: {slide.fault}' if slide.fault else size}", flush=True)
    before = len(slides) - made - failed
    print(f"{folder}: {encoder.name}, {encoder.weights}: {made} banks made, {before} done before, {failed} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
