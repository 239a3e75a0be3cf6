"""Find lesions, or score anomalies, in images, DICOM files and videos: tables and overlays. Not a medical device.

python tools/predict.py work_dirs/centernet_simsiam_liver new_images --out results
python tools/predict.py best.pth clip.mp4 --config configs/centernet_liver.py --score-thr 0.3 --out results
python tools/predict.py centernet.onnx study.dcm --out results
python tools/predict.py work_dirs/healthygan_phantom new_images --out results

WEIGHTS is a run folder, a checkpoint, or a file of tools/export_onnx.py. Without --score-thr the thresholds are those
of thresholds.json beside the checkpoint, which tools/test.py writes. What cannot be read goes to errors.csv, the rest
goes on; the exit status is 2 where nothing could be read. Of an anomaly detector scores, maps and heat maps are
written, as by tools/score.py, which has more options for them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

import medkit  # noqa: F401  makes mmcv.ops importable
from medkit.apis.cli import one_line_errors
from medkit.apis.predicting import load_predictor, load_scorer, predict


@one_line_errors
def main() -> None:
    """Parse the command line and predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="run folder, checkpoint or .onnx file")
    parser.add_argument("source", help="image, DICOM file, video, or folder of them")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--config", help="config of the weights (default: the one beside the checkpoint)")
    parser.add_argument("--score-thr", type=float, help="threshold for all classes (default: that of thresholds.json)")
    parser.add_argument("--per-class", action="store_true", help="the thresholds per class of thresholds.json")
    parser.add_argument("--half", action="store_true", help="bfloat16 on a CPU, float16 on a GPU")
    parser.add_argument("--tta", action="store_true", help="look at the mirrored image too; twice the time")
    parser.add_argument("--batch-size", type=int, default=8, help="images that are run together (default 8)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: the GPU where there is one)")
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures")
    args = parser.parse_args()
    if args.per_class and args.score_thr is not None:
        parser.error("--per-class and --score-thr exclude each other")
    scorer = load_scorer(args.weights, args.config, args.device, args.batch_size)
    if scorer is not None:
        if args.per_class or args.score_thr is not None or args.half or args.tta:
            parser.error("--score-thr, --per-class, --half and --tta are options of lesion detectors")
        from medkit.apis.anomaly_files import score_files

        print(f"{score_files(scorer, args.source, args.out, overlays=not args.no_overlays)}; written to {args.out}")
        return
    predictor = load_predictor(
        args.weights,
        config=args.config,
        device=args.device,
        score_thr="per-class" if args.per_class else args.score_thr,
        half=args.half,
        flip_tta=args.tta,
        batch_size=args.batch_size,
    )
    about = {"weights": Path(args.weights).name, "half": args.half, "flip_tta": args.tta}
    counts = predict(predictor, args.source, args.out, about, overlays=not args.no_overlays)
    print(f"{counts}; written to {args.out}")


if __name__ == "__main__":
    main()
