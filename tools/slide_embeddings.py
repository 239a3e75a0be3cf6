"""One vector per slide by a trained giga-SSL model, to a file; docs/gigassl.md.

python tools/slide_embeddings.py configs/gigassl_slides.py work_dirs/gigassl_slides OUT.npz --data-root data/slides
python tools/slide_embeddings.py RUN/gigassl_slides.py RUN OUT.parquet --groups --average AVERAGE.npz

--average also writes the mean of each slide's features, which embeddings have to beat (tools/slide_probe.py).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import KeyValues, one_line_errors


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", help="config of medkit.GigaSSL; the one in the run folder has the training's options")
    add("checkpoint", help="file or run folder")
    add("out", type=Path, help=".npz or .parquet")
    add("--data-root", help="bag folder (default: the config's)")
    add("--features", help="folder in it (default: features, or banks where there is nothing else)")
    add("--split", help="slides of this split alone (default: all)")
    add("--bags", type=int, default=50, help="random bags that are averaged (default: 50)")
    add("--groups", action="store_true", help="tiles without replacement, result of length 1 (Democratizing_WSI)")
    add("--seed", type=int, default=0, help="of the tiles (default: 0)")
    add("--other-bags", action="store_true", help="allow another number of tiles or cell than in training")
    add("--average", type=Path, metavar="FILE", help="write the mean of each slide's features too")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... to change")
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Embed and write."""
    args = parse()
    from medkit.apis.config import load_config
    from medkit.apis.slide_embeddings import write_slide_embeddings

    options = vars(args)
    cfg = load_config(options.pop("config"), cfg_options=options.pop("cfg_options"))
    for line in write_slide_embeddings(cfg, options.pop("checkpoint"), options.pop("out"), **options):
        print(line)


if __name__ == "__main__":
    main()
