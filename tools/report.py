"""Report of tested runs: one html page with the csv and json behind it; for several runs a comparison as well.

python tools/report.py work_dirs/centernet_liver
python tools/report.py work_dirs/centernet_liver work_dirs/centernet_simsiam_liver --out comparison
python tools/report.py work_dirs/centernet_liver --split val --audit

The runs were tested with tools/test.py; nothing is predicted again. Of several runs the first is the reference.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors


@one_line_errors
def main() -> None:
    """Parse the command line and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder with test results, or a folder of results")
    parser.add_argument("--out", help="folder to write to (default: report/ in the results; several runs: comparison/)")
    parser.add_argument("--split", default="test", help="name of the folder of results in a run folder")
    parser.add_argument("--data-root", help="where the prepared data set is now, if not where the configs say")
    parser.add_argument("--audit", action="store_true", help="list suspected label errors, as COCO files to review")
    parser.add_argument("--tiles", type=int, default=12, metavar="N", help="images in each gallery; 0 shows none")
    parser.add_argument("--draws", type=int, default=1000, metavar="N", help="bootstrap draws; 0 gives no intervals")
    args = parser.parse_args()
    from medkit.apis.reporting import report  # imports mmdet: not needed for --help

    pages = report(
        args.runs,
        args.out,
        split=args.split,
        data_root=args.data_root,
        audit=args.audit,
        num_tiles=args.tiles,
        num_draws=args.draws,
    )
    print("\n".join(f"written: {page}" for page in pages))


if __name__ == "__main__":
    main()
