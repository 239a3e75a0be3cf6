"""Compare a pre-trained backbone with an untrained one by k-NN on held-out images of a prepared or graded set.

python tools/knn.py configs/simsiam_busi.py work_dirs/simsiam_busi
python tools/knn.py configs/simsiam_busi.py work_dirs/simsiam_busi --splits val test
python tools/knn.py configs/ssit_vit-t_fundus_dr10.py work_dirs/ssit_vit-t_fundus_dr10 --data-root data/dr10
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config


@one_line_errors
def main() -> None:
    """Parse the command line and print one line per backbone."""
    parser = common_parser(__doc__)
    parser.add_argument("checkpoint", help="checkpoint of the pre-training, or its run folder")
    parser.add_argument("--splits", nargs="+", default=["val"], help="held-out splits, joined (default: val)")
    parser.add_argument("--k", type=int, default=20, help="neighbours (default: 20)")
    args = parse_args(parser)
    cfg = load_config(args.config, data_root=args.data_root, cfg_options=args.cfg_options, quick=args.quick)
    from medkit.apis.knn import knn_accuracy

    for name, checkpoint in (("untrained", None), (str(args.checkpoint), args.checkpoint)):
        result = knn_accuracy(cfg, checkpoint, tuple(args.splits), args.k)
        kappa = f", kappa {result['kappa']:.3f}" if "kappa" in result else ""
        print(
            f"{name}: accuracy {result['accuracy']:.3f}, balanced {result['balanced_accuracy']:.3f}{kappa} "
            f"({result['num_held_out']} images of {'+'.join(args.splits)}, {result['num_train']} neighbours; "
            f"always the largest class: {result['largest_class']:.3f})"
        )


if __name__ == "__main__":
    main()
