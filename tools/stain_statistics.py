"""Stain statistics of each slide, and of all together, for medkit.ReinhardNormalize.

python tools/stain_statistics.py data/slides/train.csv data/slides/test.csv --out data/slides/stains.json

Mean and spread of L*, a*, b* over the tissue of each slide's tiles. The means over all slides are printed: a target.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors


@one_line_errors
def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, help="csv of tiles; files are relative to its folder")
    parser.add_argument("--out", type=Path, required=True, help="json to write")
    parser.add_argument("--tiles", type=int, default=200, help="tiles of a slide that are looked at (default: 200)")
    args = parser.parse_args()
    import numpy as np

    from medkit.data.tile_table import read_tiles
    from medkit.data.transforms.loading import read_image
    from medkit.data.transforms.stain import slide_statistics
    from medkit.errors import DatasetError

    found = {}
    for path in args.tables:
        tiles = read_tiles(path)
        if tiles.files is None:
            raise DatasetError(f"{path} names no image files; add a column file")
        for slide in np.unique(tiles.slides).tolist():
            files = tiles.files[tiles.slides == slide]
            files = files[np.linspace(0, len(files) - 1, min(len(files), args.tiles)).astype(int)]  # all over the slide
            mean, std = slide_statistics(read_image(path.parent / file) for file in files.tolist())
            found[slide] = dict(mean=mean.round(3).tolist(), std=std.round(3).tolist())
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    means = {part: np.mean([values[part] for values in found.values()], axis=0) for part in ("mean", "std")}
    middle = {part: mean.round(1).tolist() for part, mean in means.items()}
    print(f"wrote the statistics of {len(found)} slides to {args.out}; a target in their middle: {middle}")


if __name__ == "__main__":
    main()
