"""Score images with an anomaly detector: scores.csv, maps, heat maps over the images. Not a medical device.

python tools/score.py configs/healthygan_phantom.py work_dirs/healthygan_phantom new_images --out results
python tools/score.py configs/padim_phantom.py run/iter_100.pth scan.dcm --out results --maps png --cutoff 0.12

CONFIG is the one that trained RUN, a run folder or a checkpoint; give the --cfg-options of the training again. The
cut-off is that of anomaly.json beside the checkpoint, which tools/benchmark_anomaly.py writes, or --cutoff; without
either none is called. What cannot be read goes to errors.csv, the rest goes on; the exit status is 2 where nothing
could be read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config


@one_line_errors
def main() -> None:
    """Parse the command line and score."""
    parser = common_parser(__doc__)
    parser.add_argument("run", help="run folder, or checkpoint")
    parser.add_argument("source", help="image, DICOM file, video, or folder of them")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--cutoff", type=float, help="score from which an image is anomalous")
    parser.add_argument("--maps", choices=("npy", "png", "none"), default="npy", help="npy: float32, png: 16 bit")
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures")
    parser.add_argument("--span", nargs=2, type=float, metavar=("LOW", "HIGH"), help="map values of no and full colour")
    parser.add_argument("--batch-size", type=int, default=16, help="images that are run together (default 16)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: the GPU where there is one)")
    args = parse_args(parser)
    cfg = load_config(args.config, data_root=args.data_root, cfg_options=args.cfg_options, quick=args.quick)
    from medkit.apis.anomaly import AnomalyScorer
    from medkit.apis.anomaly_files import score_files

    scorer = AnomalyScorer(cfg, args.run, device=args.device, batch_size=args.batch_size)
    done = score_files(
        scorer,
        args.source,
        args.out,
        cutoff=args.cutoff,
        span=None if args.span is None else tuple(args.span),
        maps=args.maps,
        overlays=not args.no_overlays,
    )
    print(f"{done}; written to {args.out}")


if __name__ == "__main__":
    main()
