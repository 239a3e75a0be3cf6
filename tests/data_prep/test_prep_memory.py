"""Memory of the process that leads a run, with made-up answers of the workers.

Command: ``python -m tests.data_prep.test_prep_memory 80000``.

Rows, listing, logs, hashes, thumbnails, split and json are real; no picture is decoded or written.
"""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from data_prep import pipeline, results, stages
from data_prep.options import Options
from data_prep.probe import Probe
from data_prep.progress import Usage
from data_prep.readers.table import COLUMNS
from data_prep.tasks import Outcome
from data_prep.writing import Written

CLASSES = ("cyst", "HCC", "hemangioma", "metastasis", "normal")


def made_up_look(files, min_size):
    probes, thumbs = [], []
    for path, _ in files:
        rng = np.random.default_rng(zlib.crc32(path.encode()))
        digest, code = rng.bytes(16), int.from_bytes(rng.bytes(8), "little")
        probes.append(Probe(None, 640, 480, digest, digest, code, scan_box=(50, 50, 600, 450)))
        thumbs.append(rng.bytes(4096))
    return probes, b"".join(thumbs)


def made_up_write(jobs):
    return [Outcome(Written(640, 480), "", ((job.target, 1, 1),)) for job, _ in jobs]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def export_of(count: int, folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    with (folder / "table.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS)
        for number in range(count):
            file, name = f"patient{number // 4:06}_{number % 4}.png", CLASSES[number // 4 % 5]
            boxes = "" if name == "normal" else f"{100 + number % 50},110,180,170.25,{name}"
            writer.writerow([file, f"P{number // 4}", 20 + number % 70, "MF"[number % 2], name, boxes])
            if number % 20_000 == 0:
                source = folder / f"source{number}"
                source.write_bytes(b"x")
            os.link(source, folder / "images" / file)
    return folder


def measured(function, name: str, marks: list[str]):
    def call(*arguments):
        found = function(*arguments)
        marks.append(f"after {name} {peak():.0f}")
        return found

    return call


def main(count: int) -> None:
    stages.Look.function = staticmethod(made_up_look)
    stages.Write.function = staticmethod(made_up_write)
    results.write_report = lambda folder, export: None
    usage, marks = Usage(), [f"{count} images: at the start {peak():.0f} MiB"]
    for name in ("read_export", "look", "clean", "write_images", "write_results"):
        setattr(pipeline, name, measured(getattr(pipeline, name), name, marks))
    with tempfile.TemporaryDirectory() as folder:
        pipeline.prepare(export_of(count, Path(folder) / "export"), Path(folder) / "out", Options(), usage=usage)
    print(", ".join(marks))
    print(usage.text())


@pytest.mark.slow
def test_memory_grows_by_a_few_kb_per_image():
    found = []
    for count in (2_000, 12_000):
        command = [sys.executable, "-m", "tests.data_prep.test_prep_memory", str(count)]
        text = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
        found.append({k: float(v) for k, v in (part.split()[1:3] for part in text.splitlines()[0].split(", ")[1:])})
    growth = {stage: (found[1][stage] - found[0][stage]) * 1024 / 10_000 for stage in found[0]}  # KiB per image
    assert growth["look"] < 5 and growth["write_results"] < 12, growth


if __name__ == "__main__":
    main(int(sys.argv[1]))
