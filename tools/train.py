"""Train a config.

python tools/train.py configs/simsiam_liver.py
python tools/train.py configs/centernet_simsiam_liver.py
python tools/train.py configs/centernet_simsiam_liver.py --resume
python tools/train.py configs/centernet_liver.py --data-root data/mine --cfg-options img_size=384 max_epochs=50
bash tools/dist_train.sh configs/centernet_simsiam_liver.py 4
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config


@one_line_errors
def main() -> None:
    """Parse the command line and train."""
    parser = common_parser(__doc__)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        help="go on from the run folder's last checkpoint, or from the one given",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (bfloat16 where the device has it)")
    args = parse_args(parser)
    cfg = load_config(
        args.config,
        work_dir=args.work_dir,
        data_root=args.data_root,
        cfg_options=args.cfg_options,
        quick=args.quick,
        launcher=args.launcher,
        amp=args.amp,
    )
    from medkit.apis.training import train  # imports mmdet: not needed for --help or a wrong config

    train(cfg, resume=args.resume)


if __name__ == "__main__":
    main()
