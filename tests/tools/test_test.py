"""The command line of tools/test.py: a real detector end to end, and errors in one line."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from ..prepared import write_prepared

REPO = Path(__file__).resolve().parents[2]
CONFIG = "configs/centernet_liver.py"


def run_tool(monkeypatch, *args):
    """Run the tool in this process, which spares the imports; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["test.py", str(REPO / CONFIG), *map(str, args)])
    try:
        runpy.run_path(str(REPO / "tools" / "test.py"), run_name="__main__")
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data"), num_images=4)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """An untrained CenterNet, saved."""
    from mmdet.registry import MODELS

    from medkit.apis.config import load_config

    folder = tmp_path_factory.mktemp("run")
    model = MODELS.build(load_config(REPO / CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), folder / "epoch_1.pth")
    (folder / "last_checkpoint").write_text("epoch_1.pth")
    return folder


def test_end_to_end(data, run_folder, monkeypatch, capfd):
    assert run_tool(monkeypatch, run_folder, "--data-root", data, "--quick", "--sheet", 2) == 0
    printed = capfd.readouterr().out
    for text in ("COCO bbox  mAP", "AP50", "macro", "chosen on val.json", "malignant against benign"):
        assert text in printed
    names = {path.name for path in (run_folder / "test_quick").iterdir()}
    assert {"metrics.json", "per_class.csv", "confusion_matrix.csv", "confusion_matrix.png",
            "predictions.json", "sheet.png"} <= names  # fmt: skip
    assert not (run_folder / "thresholds.json").exists()  # quick mode chooses on two images


def test_missing_checkpoint_is_one_line(data, tmp_path, monkeypatch, capsys):
    assert run_tool(monkeypatch, tmp_path / "absent", "--data-root", data) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: checkpoint") and error.count("\n") == 1


def test_threshold_out_of_range(monkeypatch, capsys):
    assert run_tool(monkeypatch, "x.pth", "--score-thr", "1.2") == 2
    assert "1.2 is not in [0, 1]" in capsys.readouterr().err
