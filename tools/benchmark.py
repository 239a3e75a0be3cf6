"""Time medkit's pieces against what they replace, both in one run, with the ratio.

python tools/benchmark.py targets      CenterNet targets of a batch
python tools/benchmark.py pipeline     loading and augmentation of one image
python tools/benchmark.py evaluation   evaluation of 8 391 images against pycocotools alone (one call each)
python tools/benchmark.py onnx         CenterNet under onnxruntime against PyTorch
python tools/benchmark.py neighbours   exact neighbours of 1 000 queries among 1 000 000 descriptors against torch
python tools/benchmark.py volumes      memory and time of the 3-D autoencoder at 128^3 with checkpointing and bfloat16
python tools/benchmark.py sparse_conv  sparse against dense convolution of a 512 x 512 map, 1 % of it occupied
python tools/benchmark.py mil          memory and time of the bag heads, 2 500 instances against 10 000
python tools/benchmark.py image_bags   memory and time of a step on studies of images, with and without checkpointing

A further subject is a module in tools/benchmarks/ with ``rows(args)``.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

import medkit  # noqa: F401  makes mmcv.ops importable

SUBJECTS = ("targets", "pipeline", "evaluation", "onnx", "neighbours", "volumes", "sparse_conv", "mil", "image_bags")


def main() -> None:
    """Print the table of one subject."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--repeats", type=int, default=20, help="timed calls per row; the median is shown")
    parser.add_argument("--device", default="cpu", help="device of the tensors, where the subject has any")
    parser.add_argument("--images", type=int, default=8391, help="images of the evaluation")
    parser.add_argument("--rows", type=int, default=1_000_000, help="descriptors of the bank")
    parser.add_argument("--queries", type=int, default=1000, help="queries of a batch")
    parser.add_argument("--side", type=int, default=128, help="voxels along each side of the volume")
    args = parser.parse_args()
    print(f"{'':50s}{'baseline':>12s}{'medkit':>12s}{'ratio':>8s}")
    for row in importlib.import_module(f"benchmarks.{args.subject}").rows(args):
        ratio = row.base / row.ours
        print(f"{row.name:50s}{row.base:9.2f} {row.unit}{row.ours:9.2f} {row.unit}{ratio:7.1f}x", flush=True)


if __name__ == "__main__":
    main()
