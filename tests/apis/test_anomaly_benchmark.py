"""The comparison of anomaly detectors: trained once, scored alike, told honestly."""

import csv
import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.apis.anomaly_benchmark import BenchmarkSettings, find_methods, run_benchmark
from medkit.apis.anomaly_report import write_report
from medkit.apis.anomaly_table import rows_of
from medkit.errors import ConfigError
from medkit.evaluation.functional.grading import auroc
from medkit.registry import MODELS
from tests.anomaly_set import write_anomaly
from tests.apis.toy_anomaly import write_config

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark_anomaly.py"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> BenchmarkSettings:
    root = tmp_path_factory.mktemp("anomaly")
    write_anomaly(root / "set", size=32, num=12)
    for name, model in {"padim": {"noise": 0.3}, "alad": {"gain": -1.0}, "patchcore": {"fails": True}}.items():
        write_config(root / "configs", name, **model)
    paths = {"dataset": str(root / "set"), "out": str(root / "out"), "config_dir": str(root / "configs")}
    return BenchmarkSettings(**paths, methods=("padim", "alad"), seeds=(0, 1), max_iters=2, device="cpu")


def untrained(cfg, resume: bool = False) -> None:
    """In place of `train`: the checkpoints of a run; the last one is spoilt where there are two."""
    folder = Path(cfg.work_dir)
    folder.mkdir(parents=True)
    weights = MODELS.build(cfg.model).state_dict()
    last, step = cfg.train_cfg.max_iters, cfg.default_hooks.checkpoint.interval
    for number in {min(step, last), last}:
        gain = weights["gain"] * (-1 if number > step else 1)
        torch.save({"state_dict": {**weights, "gain": gain}}, folder / f"iter_{number}.pth")
    (folder / "last_checkpoint").write_text(str(folder / f"iter_{last}.pth"))


@pytest.fixture(scope="module")
def done(settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medkit.apis.repeated.train", untrained)
        torch.manual_seed(0)  # the toy's noise
        return run_benchmark(settings)


def test_methods_are_those_with_a_config(settings) -> None:
    assert find_methods(["all"], settings.config_dir) == ("alad", "padim", "patchcore")
    assert find_methods(["padim"], settings.config_dir) == ("padim",)
    with pytest.raises(ConfigError, match=r"no config .*ganomaly_phantom.py; methods with one: alad, padim"):
        find_methods(["padim", "ganomaly"], settings.config_dir)


def test_every_training_scores_the_same_images(done, settings) -> None:
    labels = done.labels("test")
    trained = {(one.method, one.seed): one for one in done.records if one.seed >= 0}
    assert set(trained) == {(method, seed) for method in ("padim", "alad") for seed in (0, 1)}
    assert auroc(labels, trained["padim", 0].test_scores) > 0.8
    assert auroc(labels, trained["alad", 0].test_scores) < 0.2, "bright blobs score low in this method"
    facts = trained["padim", 0].facts
    assert facts["pixel_auroc"] > 0.9 and facts["aupro"] > 0.8 and facts["dice"] > 0.5
    assert facts["aucp"] > 0.5 and facts["train_seconds"] > 0 and facts["ms_per_image"] > 0
    assert facts["checkpoint"].endswith("runs/padim/seed0/iter_2.pth"), "max_iters reached the config"


def test_what_is_done_is_not_trained_again(done, settings, monkeypatch) -> None:
    monkeypatch.setattr("medkit.apis.repeated.train", lambda *_, **__: pytest.fail("trained again"))
    again = run_benchmark(settings)
    for one, other in zip(done.records, again.records, strict=True):
        np.testing.assert_array_equal(one.test_scores, other.test_scores)
    found = run_benchmark(replace(settings, max_iters=3, methods=("padim",), seeds=(0,)))
    assert "other images, settings or another config" in found.failures[0][2]
    assert [one.method for one in found.records if one.seed >= 0] == []


def test_trivial_scores_stand_beside_the_methods(done) -> None:
    trivial = {one.method.split(" (")[0]: one for one in done.records if one.seed < 0}
    assert set(trivial) == {"mean intensity", "sharpness"}
    labels = done.labels("val")
    assert all(auroc(labels, one.val_scores) >= 0.5 for one in trivial.values()), "the sign is chosen on validation"


def test_rows_are_means_over_seeds_with_intervals(done) -> None:
    rows = {row.method: row for row in rows_of(done, num_draws=100)}
    values = [auroc(done.labels("test"), one.test_scores) for one in done.records if one.method == "padim"]
    row = rows["padim"]
    assert row.num_seeds == 2
    assert row.mean["auroc"] == pytest.approx(np.mean(values))
    assert row.deviation["auroc"] == pytest.approx(np.std(values, ddof=1))
    assert row.interval["auroc"][0] <= row.mean["auroc"] <= row.interval["auroc"][1]
    assert np.isnan(rows["mean intensity (high = anomalous)"].deviation["auroc"])
    assert rows_of(done, "healthy", 10)[0].cutoffs != rows_of(done, "validation", 10)[0].cutoffs


def test_report_holds_table_plots_and_galleries(done, settings, tmp_path: Path) -> None:
    text = write_report(done, tmp_path, "test", num_draws=50)
    assert "| padim | 2 |" in text and "optimistic" in text and "| alad | 2 |" in text
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<figure") == 2 + 2 * 2, "ROC, histograms, two galleries for each trained method"
    assert len(list((tmp_path / "figures").iterdir())) == 6
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["cutoff_rule"] == "test" and len(content["records"]) == 6
    with (tmp_path / "table.csv").open(newline="") as file:
        metrics = {row["metric"] for row in csv.DictReader(file) if row["method"] == "padim"}
    assert {"auroc", "precision", "recall", "specificity", "f1", "aupro", "aucp", "peak_mb"} <= metrics
    run = Path(done.records[0].facts["checkpoint"]).parent
    assert json.loads((run / "anomaly.json").read_text())["checkpoint"] == "iter_2.pth"


@pytest.mark.parametrize("select, chosen", [("aucp", "iter_2.pth"), ("last", "iter_4.pth")])
def test_the_checkpoint_may_be_chosen_by_aucp(settings, tmp_path: Path, monkeypatch, select: str, chosen: str) -> None:
    monkeypatch.setattr("medkit.apis.repeated.train", untrained)
    one = replace(settings, out=str(tmp_path), methods=("padim",), seeds=(0,), max_iters=None, select=select)
    found = run_benchmark(replace(one, cfg_options={"checkpoint_interval": 2, "unread_by_this_method": 1}))
    assert Path(found.records[0].facts["checkpoint"]).name == chosen


def test_a_failing_method_is_told_and_the_others_go_on(settings, tmp_path: Path, monkeypatch, capsys) -> None:
    command = ["benchmark_anomaly.py", settings.dataset, "--methods", "patchcore", "alad", "--seeds", "1"]
    command += ["--max-iters", "2", "--configs", settings.config_dir, "--out", str(tmp_path), "--draws", "20"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(TOOL), run_name="__main__")
    told = capsys.readouterr()
    assert "| alad | 1 |" in told.out and "FAILED: patchcore, seed 0: the loss loss is nan in iteration 1" in told.out
    assert told.err.strip().splitlines()[-1].startswith("error: 1 trainings failed, the first patchcore, seed 0")
