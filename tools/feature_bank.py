"""Banks of features for giga-SSL: OUT/banks/SLIDE.h5, tiles described under shared augmentations; a killed run goes on.

python -m data_prep slides slides/ OUT --mpp 1.0 --tile 224      first: where the tiles lie
python tools/feature_bank.py OUT --backbone resnet18 --stage 3 --checkpoint work_dirs/simsiam_slides
python tools/feature_bank.py OUT --backbone resnet18 --stage 3 --untrained 0 --draws 10      random weights
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors
from tools.slide_tiles import add_encoder_options, find_tiles, open_encoder, report


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_encoder_options(parser)
    add = parser.add_argument
    add("--folder", default="banks", help="folder in OUT to write (default: banks)")
    add("--draws", type=int, default=25, help="augmentations of a slide (default: 25)")
    add("--tiles", type=int, default=25, help="tiles of each, drawn with replacement (default: 25)")
    add("--seed", type=int, default=0, help="of tiles and augmentations (default: 0)")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Make the banks that are not there; status 1 where one failed."""
    args = parse()
    from medkit.apis.feature_bank import BankSettings, extract_banks

    settings = BankSettings(args.draws, args.tiles, args.seed, args.threads)
    slides = find_tiles(args.out, args.slides)
    encoder = open_encoder(args, slides)
    folder = args.out / args.folder
    results = extract_banks(slides, folder, encoder, settings, args.overwrite)
    raise SystemExit(report(results, len(slides), folder, encoder))


if __name__ == "__main__":
    main()
