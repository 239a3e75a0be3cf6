"""Write a trained CenterNet as ONNX: 8-bit pixels in, boxes out; compared with PyTorch before the file appears.

python tools/export_onnx.py work_dirs/centernet_simsiam_liver --out centernet.onnx
python tools/export_onnx.py best.pth --config configs/centernet_liver.py --out centernet.onnx --dynamic-batch
python tools/predict.py centernet.onnx new_images --out results

Needs the extra onnx: pip install 'medkit[onnx]'.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

import medkit  # noqa: F401  makes mmcv.ops importable
from medkit.apis.cli import one_line_errors


@one_line_errors
def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint file or run folder")
    parser.add_argument("--out", required=True, help="file to write, ending in .onnx")
    parser.add_argument("--config", help="config of the weights (default: the one beside the checkpoint)")
    parser.add_argument("--opset", type=int, default=18, help="ONNX operator set (default 18)")
    parser.add_argument("--dynamic-batch", action="store_true", help="batches of any size (default: one image)")
    parser.add_argument("--score-thr", type=float, help="threshold for the file (default: thresholds.json)")
    args = parser.parse_args()
    from medkit.apis.onnx_export import export_onnx

    found = export_onnx(args.checkpoint, args.out, args.config, args.opset, args.dynamic_batch, args.score_thr)
    print(
        f"written to {args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB); {found['boxes']:.0f} boxes of "
        f"{found['images']:.0f} pictures equal PyTorch's to {found['score']:.1e} in score, {found['box']:.1e} pixels"
    )


if __name__ == "__main__":
    main()
