"""Test a detector: COCO AP, precision, recall and F1 per class, confusion matrix, sheet of predictions.

Or a classifier of bags, such as slides: AUROC, balanced accuracy and F1 by patient, and a table of the bags.

python tools/test.py configs/centernet_simsiam_liver.py work_dirs/centernet_simsiam_liver
python tools/test.py configs/abmil_slides.py work_dirs/abmil_slides --best
python tools/test.py configs/centernet_liver.py best.pth --score-thr 0.35 --out results
bash tools/dist_test.sh configs/centernet_simsiam_liver.py work_dirs/centernet_simsiam_liver 4

Without --score-thr the threshold is the one in thresholds.json beside the checkpoint; where there is none it
is chosen on the validation set first, by macro F1 (--thresholds per-class: by the F1 of each class), and kept there.
Intervals come from patients drawn anew; see docs/evaluation.md.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config
from medkit.errors import ConfigError


def fraction(text: str) -> float:
    """A number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


@one_line_errors
def main() -> None:
    """Parse the command line and test."""
    parser = common_parser(__doc__)
    parser.add_argument("checkpoint", help="checkpoint file, or the run folder that holds it")
    parser.add_argument(
        "--out", help="folder for the results (default: the split's name in the run folder)"
    )
    parser.add_argument(
        "--score-thr", type=fraction, help="fixed threshold instead of the one from validation"
    )
    parser.add_argument("--split", choices=("test", "val"), default="test", help="the set to score")
    parser.add_argument(
        "--sheet", type=int, default=16, metavar="N", help="images on the sheet; 0 draws none"
    )
    parser.add_argument(
        "--thresholds", choices=("global", "per-class"), default="global", help="one for all classes, or one each"
    )
    parser.add_argument("--best", action="store_true", help="of a run folder, the best checkpoint, not the last")
    parser.add_argument("--draws", type=int, default=1000, metavar="N", help="bootstrap draws; 0: no intervals")
    args = parse_args(parser)
    cfg = load_config(
        args.config,
        work_dir=args.work_dir,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        quick=args.quick,
        launcher=args.launcher,
    )
    out = args.out or (Path(args.work_dir) / args.split if args.work_dir else None)
    from medkit.apis.testing import test  # imports mmdet: not needed for --help or a wrong config
    from medkit.apis.testing_bags import judges_bags, test_bags

    if judges_bags(cfg, args.split):
        if args.score_thr is not None or args.thresholds != "global":
            raise ConfigError("--score-thr and --thresholds are for detectors; a bag gets the class of its likeliest")
        settings = dict(out_dir=out, split=args.split, best=args.best, num_draws=args.draws, quick=args.quick)
        test_bags(cfg, args.checkpoint, **settings)
        return
    test(
        cfg,
        args.checkpoint,
        out_dir=out,
        score_thr=args.score_thr,
        split=args.split,
        keep_threshold=not args.quick,  # a threshold from two images is none
        num_tiles=args.sheet,
        thresholds=args.thresholds,
        best=args.best,
        num_draws=args.draws,
    )


if __name__ == "__main__":
    main()
