"""Which earlier cases look like this one? Build an index of scans or images, ask it, change it, score it.

python tools/retrieve.py build cases.npz configs/cae3d_metric_brain_phantom.py work_dirs/cae3d_metric_brain_phantom \
    --data-root data/brain_phantom --splits train
python tools/retrieve.py query cases.npz new_scan.nii.gz --k 5 --page similar.html
python tools/retrieve.py add cases.npz new_scan.nii.gz --subject s123 --label AD --visit m12
python tools/retrieve.py remove cases.npz --subjects s123
python tools/retrieve.py evaluate cases.npz --queries data/brain_phantom --splits test
"""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import KeyValues, one_line_errors


def parser() -> argparse.ArgumentParser:
    """The five sub-commands."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="encode a folder and write an index")
    build.add_argument("index", type=Path, help="file to write")
    build.add_argument("config", help="config of a volume autoencoder or of a pre-training")
    build.add_argument("checkpoint", help="checkpoint, run folder, or none: as initialised")
    build.add_argument("--data-root", type=Path, required=True, help="folder of volumes or images; docs/retrieval.md")
    build.add_argument("--metric", choices=("l2", "cosine"), help="default: l2 for volumes, cosine for images")
    build.add_argument("--img-size", type=int, help="side of images in pixels (default: the config's)")
    build.add_argument("--pool", choices=("knn", "probe"), default="knn", help="of images; see docs/embeddings.md")
    build.add_argument("--seed", type=int, default=0, help="of a network as initialised")
    build.add_argument("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... to change")
    build.add_argument("--lesions", type=Path, metavar="DIR", help="cut boxes of a COCO set to DIR and index these")
    for name, text in (("query", "find the nearest cases of other subjects"), ("add", "add cases")):
        command = commands.add_parser(name, help=text)
        command.add_argument("index", type=Path)
        command.add_argument("scans", nargs="+", type=Path, help="files, or folders as for build")
        for what in ("subject", "label", "visit"):
            command.add_argument(f"--{what}", default="", help="of the scans, where no table says so")
        if name == "query":
            command.add_argument("--k", type=int, default=5, help="cases to find (default: 5)")
            command.add_argument("--page", type=Path, metavar="FILE", help="html page with pictures")
    remove = commands.add_parser("remove", help="take cases out")
    remove.add_argument("index", type=Path)
    remove.add_argument("cases", nargs="*", help="names of cases")
    remove.add_argument("--subjects", nargs="+", default=[], help="all cases of these subjects")
    evaluate = commands.add_parser("evaluate", help="precision at k and mean average precision by label")
    evaluate.add_argument("indexes", nargs="+", type=Path, metavar="INDEX", help="several: compared with the first")
    evaluate.add_argument("--queries", type=Path, metavar="DIR", help="ask with these (default: each case in turn)")
    evaluate.add_argument("--k", type=int, nargs="+", default=[1, 5, 10], help="default: 1 5 10")
    evaluate.add_argument("--draws", type=int, default=1000, help="of subjects, for the intervals (default: 1000)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the draws")
    evaluate.add_argument("--max-queries", type=int, help="ask with so many, drawn by --seed (default: all)")
    for name in ("build", "query", "add", "evaluate"):
        commands.choices[name].add_argument("--splits", nargs="+", default=[], help="of a folder (default: all)")
    for name in ("query", "add", "evaluate"):
        commands.choices[name].add_argument("--config", help="where the index's config is now")
        commands.choices[name].add_argument("--checkpoint", help="where the index's checkpoint is now")
    return top


@one_line_errors
def main() -> None:
    """Run one sub-command."""
    args = parser().parse_args()
    with redirect_stdout(sys.stderr):  # some packages speak as they are imported; what `query` prints is csv
        from medkit.apis import case_command
    getattr(case_command, args.command)(args)


if __name__ == "__main__":
    main()
