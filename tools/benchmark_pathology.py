"""Score a siamese network on tiles of held-out slides: ADDR and retrieval of a tissue from other slides.

python tools/benchmark_pathology.py configs/spatial_siamese_phantom.py work_dirs/spatial_siamese_phantom \
    data/slide_phantom/test.csv
python tools/benchmark_pathology.py CONFIG CHECKPOINT test.csv --label tumour --mpp 0.243 --write descriptors

Random numbers, mean colours and the untrained network stand beside it. Without labels only ADDR is printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import common_parser, one_line_errors, parse_args
from medkit.apis.config import load_config


def _line(row) -> str:
    head = f"{row.name:28s}{row.dims:5d}{row.addr.pooled:8.3f}{row.addr.mean_of_slides:9.3f}"
    found = [retrieval for retrieval in (row.by_slide, row.by_patient) if retrieval is not None]
    return head + "".join(
        "".join(f"{retrieval.fraction[k]:7.3f}" for k in (1, 5, 10))
        + f"{retrieval.recall[5]:9.3f}{retrieval.mean_ap:7.3f}{retrieval.chance:8.3f}"
        for retrieval in found
    )


@one_line_errors
def main() -> None:
    """Parse the command line and print the table."""
    parser = common_parser(__doc__)
    parser.add_argument("checkpoint", help="checkpoint of the siamese network, its run folder, or none")
    parser.add_argument("tiles", type=Path, help="csv of the test tiles; files are relative to its folder")
    parser.add_argument("--label", default="tumour", help="tissue that is retrieved (default: tumour)")
    parser.add_argument("--mpp", type=float, help="micrometres per level-0 pixel, where the table does not say")
    parser.add_argument("--pairs", type=int, default=20_000, help="sampled pairs of large slides (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of random numbers, untrained network and sampled pairs")
    parser.add_argument("--write", type=Path, help="folder for the descriptors, one file per slide")
    parser.add_argument("--format", choices=("h5", "npz"), default="h5", help="of --write; h5 as CLAM has it")
    args = parse_args(parser)
    cfg = load_config(args.config, data_root=args.data_root, cfg_options=args.cfg_options, quick=args.quick)
    from mmengine.logging import MMLogger

    from medkit.apis.tile_descriptors import benchmark_tiles, find_pairs, write_descriptors
    from medkit.data.tile_table import read_tiles

    MMLogger.get_current_instance().setLevel("WARNING")  # else every initialised tensor is listed
    tiles = read_tiles(args.tiles, mpp=args.mpp)
    pairs = find_pairs(tiles, cfg.near_mm, cfg.far_mm, args.pairs, args.seed)
    checkpoint = None if args.checkpoint == "none" else args.checkpoint
    rows, descriptors = benchmark_tiles(
        cfg, checkpoint, tiles, pairs, root=args.tiles.parent, label=args.label, seed=args.seed
    )
    how = "all" if pairs.exact else "sampled"
    print(f"{len(tiles)} tiles; {how} pairs: {len(pairs.near)} near, {len(pairs.far)} far")
    head = f"{'':28s}{'dims':>5s}{'ADDR':>8s}{'by slide':>9s}"
    labelled = [retrieval for retrieval in (rows[0].by_slide, rows[0].by_patient) if retrieval is not None]
    print(head + f"{'top 1':>7s}{'top 5':>7s}{'top 10':>7s}{'recall@5':>9s}{'mAP':>7s}{'chance':>8s}" * len(labelled))
    if len(labelled) == 2:
        print("first six numbers: from other slides; last six: from other patients")
    for row in rows:
        print(_line(row))
    if args.write:
        written = write_descriptors(args.write, tiles, descriptors, args.format)
        print(f"wrote the descriptors of {len(written)} slides to {args.write}")


if __name__ == "__main__":
    main()
