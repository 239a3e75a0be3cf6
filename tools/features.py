"""Features of a set's images from a pre-trained backbone, to a file; a killed run goes on. And pictures of them.

python tools/features.py configs/simsiam_busi.py work_dirs/simsiam_busi features.npy --map map.png
python tools/features.py configs/simsiam_vit-t_fundus_dr10.py work_dirs/simsiam_vit-t_fundus_dr10 features.npy \
    --data-root data/dr10 --attention attention.png
python tools/features.py configs/simsiam_busi.py none untrained.npy      as initialised
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config


@one_line_errors
def main() -> None:
    """Write OUT.npy, OUT.json and OUT.csv, and draw what was asked for."""
    parser = common_parser(__doc__)
    parser.add_argument("checkpoint", help="checkpoint of the pre-training, its run folder, or none")
    parser.add_argument("out", type=Path, help="OUT.npy (N, D) float32; OUT.csv says which row is which image")
    parser.add_argument("--splits", nargs="+", default=["train", "val", "test"], help="default: all")
    parser.add_argument("--pool", choices=("knn", "probe"), default="knn", help="see docs/embeddings.md")
    parser.add_argument("--img-size", type=int, help="side in pixels (default: the config's)")
    parser.add_argument("--num-workers", type=int, default=1, help="processes that read images (default: 1)")
    parser.add_argument("--map", type=Path, metavar="FILE", help="draw the features as points")
    parser.add_argument("--method", choices=("tsne", "pca"), default="tsne", help="of --map (default: tsne)")
    parser.add_argument("--seed", type=int, default=0, help="of the initialisation, and of t-SNE")
    parser.add_argument("--attention", type=Path, metavar="FILE", help="draw attention maps of a transformer")
    parser.add_argument("--num-images", type=int, default=6, help="rows of --attention (default: 6)")
    args = parse_args(parser)
    cfg = load_config(args.config, data_root=args.data_root, cfg_options=args.cfg_options, quick=args.quick)
    from medkit.apis.feature_files import draw_attention, draw_map, write_features

    args.checkpoint = None if args.checkpoint == "none" else args.checkpoint
    encoder, graded, rows, features = write_features(cfg, args)
    print(f"{args.out}: {features.shape[0]} images of {'+'.join(args.splits)}, {features.shape[1]} features each")
    if args.map:
        draw_map(features, graded, rows, args)
    if args.attention:
        draw_attention(encoder, graded, rows, args)


if __name__ == "__main__":
    main()
