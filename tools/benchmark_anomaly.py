"""Compare anomaly detectors on one set: each trained several times, one table, curves, galleries; docs/anomaly.md.

python tools/benchmark_anomaly.py data/phantom_anomaly --methods all --seeds 3 --amp
python tools/benchmark_anomaly.py data/cxr --methods healthygan padim --img-size 128 --max-iters 5000 --out runs/cxr

Called again, it goes on where it stopped and trains nothing twice; another --cutoff only writes the tables anew.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout without installation

from medkit.apis.cli import KeyValues, one_line_errors
from medkit.errors import TrainingError


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("dataset", help="folder of `python -m data_prep anomaly`, or of images in mixed/ healthy/ val/ test/")
    add("--methods", nargs="+", default=["all"], help="all (default), or names: configs/NAME_phantom.py is trained")
    add("--seeds", type=int, default=3, metavar="N", help="trainings of each method, seeds 0 to N - 1 (default 3)")
    add("--img-size", type=int, help="side of the images (default: each config's own, 64)")
    add("--max-iters", type=int, help="iterations (default: each config's own); not of methods fitted in one pass")
    add("--cutoff", choices=("validation", "youden", "healthy", "test"), default="validation",
        help="rule of the cut-off; test is the authors' own, and optimistic (default validation)")  # fmt: skip
    add("--select", choices=("last", "aucp"), default="last", help="checkpoint: the last, or that of the highest AUCp")
    add("--out", default="work_dirs/benchmark_anomaly", help="folder of everything that is written")
    add("--draws", type=int, default=1000, help="bootstrap draws of patients (default 1000)")
    add("--amp", action="store_true", help="train in bfloat16")
    add("--device", help="of the scoring: cpu, cuda (default: the GPU where there is one)")
    add("--configs", default=str(Path(__file__).resolve().parents[1] / "configs"), help="folder of the configs")
    add("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... for configs that read them")
    return made


@one_line_errors
def main() -> None:
    """Parse the command line, train, score, and write the report."""
    args = parser().parse_args()
    from medkit.apis.anomaly_benchmark import BenchmarkSettings, find_methods, run_benchmark
    from medkit.apis.anomaly_report import write_report

    settings = BenchmarkSettings(
        dataset=args.dataset,
        out=args.out,
        methods=find_methods(args.methods, args.configs),
        seeds=tuple(range(args.seeds)),
        config_dir=args.configs,
        img_size=args.img_size,
        max_iters=args.max_iters,
        amp=args.amp,
        device=args.device,
        select=args.select,
        cfg_options=args.cfg_options,
    )
    found = run_benchmark(settings)
    print(write_report(found, args.out, args.cutoff, args.draws))
    print(f"written to {args.out}: report.html, table.md, table.csv, results.json, figures/")
    if found.failures:
        method, seed, why = found.failures[0]
        raise TrainingError(f"{len(found.failures)} trainings failed, the first {method}, seed {seed}: {why}")


if __name__ == "__main__":
    main()
