"""Linear probe of slide embeddings, by patient, with all labels and with few; docs/gigassl.md.

python tools/slide_probe.py OUT.npz AVERAGE.npz --data-root data/slides
python tools/slide_probe.py OUT.npz AVERAGE.npz --data-root data/slides --labelled 10 25 50 --by-split
python tools/slide_probe.py OUT.npz --data-root data/tcga --splits splitdirs/brca/full     published splits: LEAKY

Prints a table, a row for each file of embeddings: AUROC, mean +- standard deviation over folds or draws.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("embeddings", nargs="+", type=Path, help=".npz of tools/slide_embeddings.py, of the same slides each")
    add("--data-root", type=Path, default=Path("data/slides"), help="bag folder with bags.csv (default: data/slides)")
    add("--folds", type=int, default=5, help="by patient (default 5); 0: none")
    add("--labelled", nargs="*", type=int, default=[], help="numbers of labelled slides")
    add("--draws", type=int, default=20, help="of labelled slides, for each number (default 20)")
    add("--by-split", action="store_true", help="draw labelled slides from split train, test on split test")
    add("--splits", type=Path, help="folder of published splits, csv with train and test; not checked for patients")
    add("--seed", type=int, default=0, help="of folds and draws (default 0)")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Probe each file in the same way."""
    args = parse()
    from medkit.apis.slide_probe import probe_table

    options = vars(args)
    print(probe_table(options.pop("embeddings"), options.pop("data_root"), **options))


if __name__ == "__main__":
    main()
