"""Compare heads for bags on one set, each trained with several seeds, in one table; docs/mil.md.

python tools/benchmark_bags.py data/digits --heads mean_max abmil abmil:model.head.gated=False dsmil --seeds 0 1 2 \
    --cfg-options in_channels=64 max_epochs=20
python tools/benchmark_bags.py data/slides --out runs/slides      every head, 3 seeds, epochs of the configs

Called again, it goes on where it stopped and trains nothing twice.
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
    add("data_root", help="folder with bags.csv and its splits train and test")
    add("--heads", nargs="+", metavar="HEAD", help="NAME of configs/NAME_slides.py, or FILE.py; NAME:key=value changes "
        "it for this row (default: all)")  # fmt: skip
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the training (default 0 1 2)")
    add("--out", help="folder of everything that is written (default: work_dirs/bags_NAME of the data folder)")
    add("--configs", default=str(Path(__file__).resolve().parents[1] / "configs"), help="folder of the configs")
    add("--amp", action="store_true", help="train in bfloat16")
    add("--quick", action="store_true", help="two iterations each, to see that it runs")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... for every config")
    return made


@one_line_errors
def main() -> None:
    """Parse the command line, train, judge, write the table."""
    args = parser().parse_args()
    args.out = args.out or f"work_dirs/bags_{Path(args.data_root).resolve().name}"
    from medkit.apis.bag_benchmark import HEADS, HeadSettings, run_bag_benchmark, write_bag_benchmark

    settings = HeadSettings(
        data_root=args.data_root,
        out=args.out,
        heads=tuple(args.heads or HEADS),
        seeds=tuple(args.seeds),
        config_dir=args.configs,
        cfg_options=args.cfg_options,
        quick=args.quick,
        amp=args.amp,
    )
    print(write_bag_benchmark(run_bag_benchmark(settings), settings))
    print(f"written to {args.out}: table.md, scores.csv")


if __name__ == "__main__":
    main()
