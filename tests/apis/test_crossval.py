"""A cross-validation end to end on tiny volumes: trained once, taken up again, compared on the same folds; faults."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medkit.apis.crossval import CrossvalSettings, run_crossval
from medkit.apis.crossval_report import write_crossval
from medkit.errors import ConfigError, DatasetError
from tests.volume_set import write_volumes

REPO = Path(__file__).resolve().parents[2]
CONFIGS = tuple(str(REPO / f"configs/{name}.py") for name in ("cae3d_brain_phantom", "cae3d_metric_brain_phantom"))
TINY = {"target_size": (16, 32, 16), "channels": (4, 4, 4), "batch_size": 4, "max_epochs": 1, "val_interval": 1}


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("brains"), subjects=8)


def tiny(brains: Path, out: Path, configs: tuple[str, ...] = CONFIGS, **changes) -> CrossvalSettings:
    settings = {"folds": 2, "data_root": str(brains), "cfg_options": TINY}
    return CrossvalSettings(configs, str(out), **{**settings, **changes})


@pytest.fixture(scope="module")
def done(brains: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossvalSettings, list, list[str]]:
    settings, said = tiny(brains, tmp_path_factory.mktemp("out")), []
    return settings, run_crossval(settings, said.append), said


def test_every_subject_is_held_out_once_by_a_model_that_never_saw_it(done) -> None:
    settings, results, said = done
    assert [result.name for result in results] == ["cae3d_brain_phantom", "cae3d_metric_brain_phantom"]
    for result in results:
        held_out = [set(record.test.subjects.tolist()) for record in result.records]
        assert held_out[0].isdisjoint(held_out[1]) and len(held_out[0] | held_out[1]) == 8
        for record in result.records:
            assert set(record.train.subjects.tolist()).isdisjoint(record.test.subjects.tolist())
            assert len(record.train.labels) + len(record.test.labels) == 16 and record.facts["train_seconds"] > 0
            assert record.train.codes.shape[1] == 2 * 4 * 2 and record.inputs.shape[1:] == (16, 32, 16)
            assert (record.rmse > 0).all() and np.isfinite(record.rmse_brain).all()
        trained = Path(settings.out) / result.name / "fold0" / f"{result.name}.py"
        assert all(name not in trained.read_text() for name in held_out[0])
    folds = [[set(record.test.subjects.tolist()) for record in result.records] for result in results]
    assert folds[0] == folds[1]
    assert len(said) == 5 and "majority 0.500" in said[1]


def test_folds_that_are_done_are_not_trained_again(done, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, results, _ = done
    monkeypatch.setattr("medkit.apis.repeated.train", lambda *_, **__: pytest.fail("trained again"))
    again = run_crossval(settings, lambda _: None)
    for first, second in zip(results, again, strict=True):
        assert first.scores == second.scores
    with pytest.raises(ConfigError, match="other volumes or bags, folds or settings"):
        run_crossval(CrossvalSettings(**{**vars(settings), "cfg_options": {**TINY, "lr": 0.5}}), lambda _: None)
    with pytest.raises(ConfigError, match="other volumes or bags, folds or settings"):
        run_crossval(CrossvalSettings(**{**vars(settings), "seed": 7}), lambda _: None)


def test_report_of_a_run(done) -> None:
    settings, results, _ = done
    text = write_crossval(results, settings)
    rows = list(csv.DictReader((Path(settings.out) / "scores.csv").open()))
    of_plain = [float(row["value"]) for row in rows if row["config"] == results[0].name and row["metric"] == "rmse"]
    assert f"{np.mean(of_plain):.2f} ± {np.std(of_plain, ddof=1):.2f}" in text
    fold = json.loads((Path(settings.out) / "results.json").read_text())["configs"][results[0].name]["folds"][0]
    assert set(fold["scanners"]) == {"A", "B"} and len(fold["held_out"]) == 4


def test_faults_are_named(brains: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share a name"):
        run_crossval(tiny(brains, tmp_path, (CONFIGS[0], CONFIGS[0])))
    with pytest.raises(DatasetError, match="4 subjects, fewer than 5 folds"):
        run_crossval(tiny(brains, tmp_path, folds=5))
    with pytest.raises(ConfigError, match="VolumeDataset"):
        liver = str(REPO / "configs/simsiam_liver.py")
        run_crossval(CrossvalSettings((liver,), str(tmp_path)))


def test_wrong_input_of_the_tool_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "tools/crossval.py", CONFIGS[0], "--data-root", str(tmp_path / "none")]
    found = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2 and "error: " in found.stderr and "is not a folder" in found.stderr
    assert "Traceback" not in found.stderr
