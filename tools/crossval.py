"""Cross-validate autoencoders of volumes on unseen subjects, and compare them in one table; docs/volumes.md.

python tools/crossval.py configs/cae3d_brain_phantom.py configs/cae3d_metric_brain_phantom.py --data-root data/brains
python tools/crossval.py configs/cae3d_metric_brain.py --data-root data/adni --folds 5 --amp --out runs/adni

Called again, it goes on where it stopped and trains no fold twice.
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
    add("configs", nargs="+", help="configs of medkit.ConvAutoencoder3D; the first is what others are compared with")
    add("--folds", type=int, default=5, help="folds by subject (default 5)")
    add("--seed", type=int, default=0, help="of the folds and of k-means (default 0)")
    add("--data-root", help="folder of the volumes, with volumes.csv (default: the configs')")
    add("--out", default="work_dirs/crossval", help="folder of everything that is written")
    add("--amp", action="store_true", help="train in bfloat16")
    add("--quick", action="store_true", help="two iterations a fold, to see that it runs")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... for every config")
    return made


@one_line_errors
def main() -> None:
    """Parse the command line, train and evaluate, write tables and pictures."""
    args = parser().parse_args()
    from medkit.apis.crossval import CrossvalSettings, run_crossval  # imports torch: not needed for --help
    from medkit.apis.crossval_report import write_crossval

    settings = CrossvalSettings(**{**vars(args), "configs": tuple(args.configs)})
    print(write_crossval(run_crossval(settings), settings))
    print(f"written to {args.out}: table.md, scores.csv, results.json, codes.png, slices_*.png")


if __name__ == "__main__":
    main()
