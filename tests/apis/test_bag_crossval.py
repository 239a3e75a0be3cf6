"""Cross-validation of bags end to end: no patient on both sides, files, taken up again, compared, faults."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from medkit.apis.bag_crossval import run_bag_crossval
from medkit.apis.bag_crossval_report import pooled, write_bag_crossval
from medkit.apis.crossval_command import cross_validate
from medkit.apis.crossval_run import CrossvalSettings
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional import compare
from tests.bag_set import WIDTH, write_bags

REPO = Path(__file__).resolve().parents[2]
ABMIL = REPO / "configs/abmil_slides.py"
TINY = {"in_channels": WIDTH, "num_workers": 0, "max_epochs": 1}


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bags(tmp_path_factory.mktemp("slides"), cases=8)


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a head that has no attention."""
    path = tmp_path_factory.mktemp("configs") / "mean_slides.py"
    head = "dict(_delete_=True, type='medkit.PoolingMIL', in_channels='${in_channels}', num_classes='${num_classes}')"
    path.write_text(f"_base_ = ['{ABMIL}']\nmodel = dict(head={head})\n")
    return path


@pytest.fixture(scope="module")
def done(slides: Path, pooling: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    out, said = tmp_path_factory.mktemp("out"), []
    settings = CrossvalSettings((str(ABMIL), str(pooling)), str(out), 2, data_root=str(slides), cfg_options=TINY)
    results = run_bag_crossval(settings, said.append)
    return settings, results, said, write_bag_crossval(results, settings)


def test_every_patient_is_held_out_once_by_a_model_that_never_saw_them(done) -> None:
    settings, results, said, _ = done
    assert [result.name for result in results] == ["abmil_slides", "mean_slides"]
    for result in results:
        held_out = [{one.case_id for one in record.predictions} for record in result.records]
        assert held_out[0].isdisjoint(held_out[1]) and len(held_out[0] | held_out[1]) == 8
        assert len({one.slide_id for one in result.held_out()}) == 16
        for number, cases in enumerate(held_out):
            trained = (Path(settings.out) / result.name / f"fold{number}" / f"{result.name}.py").read_text()
            assert all(case not in trained for case in cases)
            assert all(case in trained for case in held_out[1 - number])
    assert "auroc" in results[1].scores[0] and "instance_auc" not in results[1].scores[0]  # pooling has no attention
    first = results[0].records[0].predictions[0]
    assert first.attention.sum() == pytest.approx(1, abs=1e-5) and len(first.attention) == len(first.instance_labels)
    assert len(said) == 5 and "16 bags of 8 cases" in said[0] and "instance AUC" in said[1]


def test_files_hold_the_numbers_of_the_predictions(done) -> None:
    settings, results, _, text = done
    rows = list(csv.DictReader((Path(settings.out) / "predictions.csv").open()))
    assert len(rows) == 32 and {row["fold"] for row in rows} == {"0", "1"}
    of_first = [row for row in rows if row["config"] == "abmil_slides"]
    cases = sorted({row["case_id"] for row in of_first})
    means = [np.mean([float(r["probability_class1"]) for r in of_first if r["case_id"] == case]) for case in cases]
    truth = [next(r["label"] for r in of_first if r["case_id"] == case) == "class1" for case in cases]
    content = json.loads((Path(settings.out) / "results.json").read_text())["configs"]
    value, low, high = content["abmil_slides"]["all_held_out"]["auroc"]
    assert value == pytest.approx(sk.roc_auc_score(truth, means), abs=1e-4) and low <= value <= high
    of_folds = [fold["scores"]["auroc"] for fold in content["abmil_slides"]["folds"]]
    assert f"{np.mean(of_folds):.3f} ± {np.std(of_folds, ddof=1):.3f}" in text
    gap = compare(pooled(results[1]), pooled(results[0]))["auroc"]
    assert content["mean_slides"]["less_first"]["auroc"] == pytest.approx([gap.estimate, gap.low, gap.high, gap.p])
    assert f"{gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], p {gap.p:.3f}" in text


def test_folds_that_are_done_are_kept_and_others_are_made(done, tmp_path: Path, monkeypatch) -> None:
    settings, results, _, _ = done
    monkeypatch.setattr("medkit.apis.repeated.train", lambda *_, **__: pytest.fail("trained again"))
    again = run_bag_crossval(settings, lambda _: None)
    for first, second in zip(results, again, strict=True):
        assert first.scores == second.scores
        for one, other in zip(first.held_out(), second.held_out(), strict=True):
            assert one.slide_id == other.slide_id and one.label == other.label
            assert (one.attention is None) == (other.attention is None)
            assert np.array_equal(one.instance_labels, other.instance_labels)
    with pytest.raises(ConfigError, match="other volumes or bags, folds or settings"):
        run_bag_crossval(replace(settings, seed=7), lambda _: None)
    copied = replace(settings, configs=settings.configs[:1], out=str(tmp_path))
    shutil.copytree(Path(settings.out) / "abmil_slides", tmp_path / "abmil_slides")
    (tmp_path / "abmil_slides" / "fold1" / "fold.npz").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"fold.npz cannot be read .* evaluated again"):
        run_bag_crossval(copied, lambda _: None)
    (tmp_path / "abmil_slides" / "fold1" / "fold.npz").unlink()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run_bag_crossval(copied, lambda _: None)


def test_faults_are_named(slides: Path, pooling: Path, tmp_path: Path) -> None:
    settings = CrossvalSettings((str(ABMIL),), str(tmp_path), 5, data_root=str(slides), cfg_options=TINY)
    with pytest.raises(DatasetError, match="4 subjects, fewer than 5 folds"):
        run_bag_crossval(settings)
    with pytest.raises(ConfigError, match=r"VolumeDataset, medkit\.BagDataset and medkit\.ImageBagDataset"):
        cross_validate(CrossvalSettings((str(REPO / "configs/simsiam_liver.py"),), str(tmp_path)))
    torn = shutil.copytree(slides, tmp_path / "torn")
    table = (torn / "bags.csv").read_text().replace("slide-001-1,case-001,class1", "slide-001-1,case-001,class0")
    (torn / "bags.csv").write_text(table)
    with pytest.raises(DatasetError, match=r"patient case-001 have different labels .* judge bag by bag"):
        run_bag_crossval(replace(settings, data_root=str(torn), folds=2))
    other = tmp_path / "max_slides.py"
    other.write_text(f"_base_ = ['{pooling}']\nval_evaluator = dict(aggregation='max')\n"
                     "test_evaluator = dict(aggregation='max')\n")  # fmt: skip
    with pytest.raises(ConfigError, match="judges patients by 'max'"):
        run_bag_crossval(replace(settings, configs=(str(ABMIL), str(other)), folds=2))
