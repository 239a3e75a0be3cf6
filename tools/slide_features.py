"""Features of the tiles of slides, a file each: OUT/features/SLIDE.h5, as CLAM lays it out; a killed run goes on.

python -m data_prep slides slides/ OUT --mpp 0.5 --tile 224      first: where the tiles lie
python tools/slide_features.py OUT --backbone configs/simsiam_busi.py --checkpoint work_dirs/simsiam_busi
python tools/slide_features.py OUT --backbone resnet50 --checkpoint resnet50.pth --stage 3 --half
python tools/slide_features.py OUT --backbone timm:resnet18 --checkpoint resnet18.pth
python tools/slide_features.py OUT --backbone resnet18 --untrained 0      random weights
"""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors
from tools.slide_tiles import add_encoder_options, find_tiles, open_encoder, report


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_encoder_options(parser)
    add = parser.add_argument
    add("--features", default="features", help="folder in OUT to write (default: features)")
    add("--batch-size", type=int, default=64, help="tiles at a time (default: 64)")
    add("--half", action="store_true", help="float16: half the size, and faster on a GPU")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Encode the slides that are not done; status 1 where one failed."""
    args = parse()
    with redirect_stdout(sys.stderr):  # some packages speak as they are imported
        from medkit.apis.bag_features import ExtractSettings, extract_bags

        settings = ExtractSettings(args.batch_size, args.half, args.threads)
        slides = find_tiles(args.out, args.slides)
        encoder = open_encoder(args, slides)
    folder = args.out / args.features
    results = extract_bags(slides, folder, encoder, settings, args.overwrite)
    raise SystemExit(report(results, len(slides), folder, encoder))


if __name__ == "__main__":
    main()
