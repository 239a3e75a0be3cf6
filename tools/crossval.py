"""Cross-validate models of volumes or of bags on unseen patients, compared in one table; docs/volumes.md, docs/mil.md.

python tools/crossval.py configs/cae3d_brain_phantom.py configs/cae3d_metric_brain_phantom.py --data-root data/brains
python tools/crossval.py configs/abmil_slides.py configs/sparseconvmil_slides.py --data-root data/slides --folds 5

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
    add("configs", nargs="+", help="configs of one kind; the first is what others are compared with")
    add("--folds", type=int, default=5, help="folds by patient (default 5)")
    add("--seed", type=int, default=0, help="of folds, k-means and bootstrap (default 0)")
    add("--data-root", help="folder with volumes.csv or bags.csv (default: the configs')")
    add("--out", default="work_dirs/crossval", help="folder of everything that is written")
    add("--amp", action="store_true", help="train in bfloat16")
    add("--quick", action="store_true", help="two iterations a fold, to see that it runs")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... for every config")
    return made


@one_line_errors
def main() -> None:
    """Parse the command line, train and evaluate, write tables and pictures."""
    args = parser().parse_args()
    from medkit.apis.crossval_command import cross_validate  # imports torch: not needed for --help
    from medkit.apis.crossval_run import CrossvalSettings

    text, files = cross_validate(CrossvalSettings(**{**vars(args), "configs": tuple(args.configs)}))
    print(text)
    print(f"written to {args.out}: {files}")


if __name__ == "__main__":
    main()
