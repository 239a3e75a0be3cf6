"""The whole job on the embedded phantom: export, cleaning, SimSiam, stepwise CenterNet, test on held-out patients.

make demo
python tools/demo.py --patients 40 --quick      # a look at the steps in a minute; its numbers mean nothing

Everything lands in work_dirs/demo: the raw export, the prepared set, the two run folders, and in
centernet_simsiam_phantom/test the metrics, the confusion matrix and a sheet of predictions.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def cpu_seconds() -> float:
    """User and system time of all finished child processes, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(title: str, *command: str) -> None:
    """Run one step of the demo with this Python; end the demo with the step's status when it fails."""
    print(f"\n=== {title}\n$ python {' '.join(command)}", flush=True)
    start, cpu = time.time(), cpu_seconds()
    done = subprocess.run([sys.executable, *command], cwd=REPO)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"--- {time.time() - start:.0f} s, {cpu_seconds() - cpu:.0f} s of CPU", flush=True)


def bf16_is_fast() -> bool:
    """Whether this CPU has bfloat16 instructions; without them bfloat16 is emulated and slow."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def main() -> None:
    """Run the steps one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="work_dirs/demo", help="folder of the demo; emptied first")
    parser.add_argument("--patients", type=int, default=800, help="phantom patients, about four frames each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="train for two iterations only")
    args = parser.parse_args()
    start, out = time.time(), Path(args.out)
    shutil.rmtree(REPO / out, ignore_errors=True)
    # One thread: at these sizes a second one spends more time waiting than it saves. Loaders use the other core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    export, data = str(out / "export"), str(out / "data")
    ssl, det = str(out / "simsiam_phantom"), str(out / "centernet_simsiam_phantom")
    seeded = ["--seed", str(args.seed), "--jobs", str(os.cpu_count())]
    train = ["--data-root", data, *(["--quick"] if args.quick else []), *(["--amp"] if bf16_is_fast() else [])]

    detector = "configs/centernet_simsiam_phantom.py"
    run("1/5 phantom export", "-m", "data_prep.phantom", export, "--patients", str(args.patients), *seeded)
    run("2/5 cleaning, conversion, split by patient", "-m", "data_prep", export, data, *seeded)
    run("3/5 SimSiam on the training images", "tools/train.py", "configs/simsiam_phantom.py", "--work-dir", ssl, *train)
    run(
        "4/5 CenterNet, unfrozen stage by stage",
        *("tools/train.py", detector, "--work-dir", det, *train),
        *("--cfg-options", f"pretrained={ssl}", f"seed={args.seed}"),
    )
    run("5/5 test on held-out patients", "tools/test.py", detector, det, "--data-root", data)
    print(f"\ndemo: {time.time() - start:.0f} s, {cpu_seconds():.0f} s of CPU; results are in {out}", flush=True)


if __name__ == "__main__":
    main()
