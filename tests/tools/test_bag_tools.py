"""tools/train.py and tools/test.py on bags: from a folder to numbers by patient, and faults named before training."""

import csv
import json
import runpy
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.bag_set import WIDTH, write_bags

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_bags(tmp_path / "set", cases=8)


def run_tool(monkeypatch, tool: str, config: str, *args, **options) -> int:
    """Run the tool in this process, which spares the imports; returns its exit status."""
    settings = {"in_channels": WIDTH, "num_workers": 0} | options
    words = [tool, str(REPO / f"configs/{config}_slides.py"), *map(str, args), "--cfg-options"]
    monkeypatch.setattr(sys, "argv", [*words, *(f"{key}={value}" for key, value in settings.items())])
    try:
        runpy.run_path(str(REPO / "tools" / tool), run_name="__main__")
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_from_a_folder_to_numbers(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, gone on with after a stop to the same weights as without one, and tested."""
    run, whole, common = tmp_path / "run", tmp_path / "whole", dict(batch_size=3, max_instances=5)
    where = ("--data-root", data, "--work-dir")
    assert run_tool(monkeypatch, "train.py", "abmil", *where, whole, max_epochs=2, **common) == 0
    assert run_tool(monkeypatch, "train.py", "abmil", *where, run, max_epochs=1, **common) == 0
    assert run_tool(monkeypatch, "train.py", "abmil", *where, run, "--resume", max_epochs=2, **common) == 0
    first, second = (
        torch.load(folder / "epoch_2.pth", weights_only=False)["state_dict"] for folder in (whole, run)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert run_tool(monkeypatch, "test.py", "abmil", run, "--best", "--draws", 20, "--data-root", data) == 0
    assert run_tool(monkeypatch, "test.py", "abmil", run, "--score-thr", 0.5, "--data-root", data) == 2
    found = json.loads((run / "test/metrics.json").read_text())
    assert (found["bags"], found["patients"], found["split"]) == (4, 2, "test")
    assert 0 <= found["metrics"]["bags/auroc"] <= 1 and len(found["intervals"]["accuracy"]) == 2
    with (run / "test/bags.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["slide_id"] for row in rows} == {f"slide-00{case}-{slide}" for case in (6, 7) for slide in (0, 1)}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def empty(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((0, WIDTH))


def without_coords(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["coords"]


def twice(path: Path) -> None:
    path.with_suffix(".npz").touch()


def wider(path: Path) -> None:
    for file in path.parent.iterdir():
        with h5py.File(file, "w") as content:
            content["features"] = np.ones((2, 24))


FAULTS = {
    truncate: ("abmil", "slide-007-1.h5 cannot be read: is it truncated?"),
    empty: ("abmil", "slide-007-1.h5 holds no instance, an empty slide"),
    without_coords: ("sparseconvmil", "there are no coords for the features 'slide-007-1.h5'"),
    twice: ("abmil", "two files of the slide 'slide-007-1"),
    wider: ("abmil", "24 wide, the model expects 16; set `--cfg-options in_channels=24`"),
    Path.unlink: ("abmil", "has no features of the slide 'slide-007-1'"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_are_named_before_training(fault, data: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    """In a slide of the test split, which training alone would never open."""
    config, said = FAULTS[fault]
    fault(data / "features/slide-007-1.h5")
    assert run_tool(monkeypatch, "train.py", config, "--data-root", data, "--work-dir", tmp_path / "run") == 2
    printed = capfd.readouterr()
    error = printed.err[printed.err.index("error: ") :]
    assert said in error and error.count("\n") == 1
    assert "Epoch(train)" not in printed.out and not list((tmp_path / "run").glob("*.pth"))
