"""Where a classifier of slides looks: heat maps over thumbnails, GeoJSON for QuPath, attention as csv; docs/mil.md.

python tools/heatmap.py configs/abmil_slides.py work_dirs/abmil_slides --data-root data/slides --out heatmaps
python tools/heatmap.py configs/abmil_slides.py best.pth --data-root data/slides --slides s01 s02 --top 0.1 --out top

Thumbnails are those of `python -m data_prep slides`, DATA_ROOT/thumbnails/SLIDE.jpg; a slide without one is drawn as
the extent of its tiles. In QuPath, drag SLIDE.geojson onto the open slide. A head with one row of attention per class
shows that of the predicted class; `--cfg-options model.attended_class=1` shows another.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import KeyValues, one_line_errors


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("config", help="config of the checkpoint")
    add("checkpoint", help="checkpoint, or run folder")
    add("--data-root", help="folder with bags.csv, features and thumbnails (default: the config's)")
    add("--out", required=True, help="folder for SLIDE.png, SLIDE.geojson, SLIDE.csv and predictions.csv")
    add("--slides", nargs="+", default=[], help="names of slides (default: all)")
    add("--top", type=float, default=1.0, help="share of the tiles in the GeoJSON, the highest (default 1)")
    add("--side-px", type=float, help="side of a tile in level-0 pixels, where the files do not say")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... to change in the config")
    return made


@one_line_errors
def main() -> None:
    """Parse the command line and draw."""
    args = parser().parse_args()
    from medkit.apis.bag_heatmap import heat_maps  # imports torch: not needed for --help
    from medkit.apis.config import load_config

    cfg = load_config(args.config, data_root=args.data_root, cfg_options=args.cfg_options)
    found = heat_maps(cfg, args.checkpoint, args.out, slides=args.slides, top=args.top, side_px=args.side_px)
    print(f"{len(found)} slides written to {args.out}")


if __name__ == "__main__":
    main()
