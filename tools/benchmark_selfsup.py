"""Evaluate pre-trained encoders on a graded set: k-NN, linear probe, fine-tuning; see docs/selfsup_benchmark.md.

python tools/benchmark_selfsup.py CONFIG CHECKPOINT DATASET --random --out work_dirs/benchmark
python tools/benchmark_selfsup.py DATASET --run ssit CONFIG RUN0 --run ssit CONFIG RUN1 --run simsiam CONFIG RUN
python tools/benchmark_selfsup.py --merge work_dirs/a work_dirs/b --out work_dirs/both

DATASET is a folder with labels.csv (`python -m data_prep fundus`) or a set of `python -m data_prep EXPORT OUT`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors


def parser() -> argparse.ArgumentParser:
    """All options; their defaults are those of `Protocol`."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("paths", nargs="*", help="CONFIG CHECKPOINT DATASET, or DATASET alone with --run, or nothing with --merge")
    add("--run", nargs=3, action="append", default=[], metavar=("NAME", "CONFIG", "CHECKPOINT"),
        help="a pre-training; those of one NAME are averaged")  # fmt: skip
    add("--random", action="store_true", help="also the untrained network of each kind, one initialisation per seed")
    add("--merge", nargs="+", default=[], metavar="OUT", help="join the results of earlier calls")
    add("--protocols", nargs="+", default=["knn", "linear"], help="of knn linear finetune (default: knn linear)")
    add("--head", nargs="+", help="of regression classification (default: regression; without order, the other)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of probe and fine-tuning (default: 0 1 2)")
    add("--img-size", type=int, help="side of the images (default: the config's; published: 384)")
    add("--augment", action="store_true", help="linear probe on augmented images, as published (slow)")
    add("--raw-features", action="store_true", help="linear probe on features that are not standardised")
    add("--epochs", type=int, help="of probe and fine-tuning (default: 25; a probe of features takes 2500 steps)")
    add("--finetune-lr", type=float, help="default: 2e-5, as published")
    add("--linear-lr", type=float, help="default: 2e-3, as published")
    add("--amp", action="store_true", help="bfloat16 where images are trained on")
    add("--num-workers", type=int, default=1, help="processes that read images (default: 1)")
    add("--out", default="work_dirs/benchmark_selfsup", help="folder of the table, results and features")
    add("--figures", action="store_true", help="also t-SNE of the features and attention of Vision Transformers")
    return made


@one_line_errors
def main() -> None:
    """Parse, evaluate, write, print."""
    args = parser().parse_args()
    from medkit.apis.selfsup_command import benchmark

    print(benchmark(args))


if __name__ == "__main__":
    main()
