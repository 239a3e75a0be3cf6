"""tools/train.py as a user calls it: each wrong input is one line and status 2, before any training starts."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared import write_prepared

REPO = Path(__file__).resolve().parents[2]


def train(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, REPO / "tools/train.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=REPO, timeout=300)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("set"))


def test_run_folder_of_a_training(prepared: Path, tmp_path: Path) -> None:
    done = train("configs/centernet_liver.py", "--data-root", prepared, "--work-dir", tmp_path, "--quick", "--amp")
    assert done.returncode == 0, done.stderr[-2000:]
    present = {path.name for path in tmp_path.iterdir()}
    assert {"centernet_liver.py", "environment.json", "metrics.csv", "last_checkpoint", "epoch_2.pth"} <= present
    assert any(name.startswith("best_coco_mAP") for name in present) and list(tmp_path.glob("*/*.log"))
    assert "${" not in (tmp_path / "centernet_liver.py").read_text()
    assert json.loads((tmp_path / "environment.json").read_text())
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert {row["split"] for row in rows} == {"train", "val"}


WRONG = {
    "no data set": (["configs/centernet_liver.py", "--data-root", "no/where"], "data_prep"),
    "no SimSiam checkpoint": (
        ["configs/centernet_simsiam_liver.py", "--cfg-options", "pretrained=no/run"],
        "configs/simsiam_liver.py",
    ),
    "classes do not fit": (["configs/centernet_liver.py", "--cfg-options", "classes=a,b"], "names the categories"),
    "head does not fit": (
        ["configs/centernet_liver.py", "--cfg-options", "model.bbox_head.num_classes=80"],
        "num_classes=4",
    ),
    "less than one batch": (["configs/simsiam_liver.py"], "1 x 256 make one step"),
    "no such setting": (["configs/centernet_liver.py", "--cfg-options", "max_epoch=3"], "'max_epochs'"),
    "no config": (["configs/nothing.py"], "configs/"),
    "no checkpoint to resume": (["configs/centernet_liver.py", "--resume", "no.pth"], "no.pth"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line(name: str, prepared: Path, tmp_path: Path) -> None:
    arguments, cure = WRONG[name]
    root = [] if "--data-root" in arguments else ["--data-root", prepared]
    done = train(*arguments, *root, "--work-dir", tmp_path / "run")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and cure in lines[0], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()
