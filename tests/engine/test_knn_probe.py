"""The k-NN probe: what it logs, when, and that a training is the same with and without it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.data.graded import read_graded
from medkit.engine.encoding import encoder_of
from medkit.engine.knn_probe import KNNProbeHook, thinned
from medkit.errors import ConfigError
from tests.graded import write_graded
from tests.prepared import write_prepared

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graded(tmp_path_factory.mktemp("graded"), size=48, num=32, classes=2)


def pretrain(config: str, root: Path, work_dir: Path, probe: dict | None, bare: bool = False, **options):
    options = dict(img_size=32, batch_size=8, num_workers=0, max_epochs=3, blur_sigma=0.5, seed=3) | options
    cfg = load_config(CONFIGS / config, data_root=root, work_dir=work_dir, cfg_options=options)
    left_out = ("medkit.KNNProbeHook", "medkit.RunFolderHook" if bare else "")
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in left_out]
    if probe is not None:
        cfg.custom_hooks.append(dict(type="medkit.KNNProbeHook", **probe))
    runner = train(cfg)
    log = next(work_dir.rglob("*.log")).read_text()
    return runner, log, [] if bare else list(csv.DictReader((work_dir / "metrics.csv").open()))


@pytest.mark.parametrize("config", ["simsiam_fundus_dr10.py", "simsiam_vit-t_fundus_dr10.py"])
def test_training_is_the_same_with_and_without(config: str, graded: Path, tmp_path: Path) -> None:
    states = []
    for name, probe in (("with", dict(interval=1, k=3)), ("without", None)):
        runner, _, _ = pretrain(config, graded, tmp_path / name, probe, bare=True, max_epochs=2)
        states.append((runner.model.state_dict(), torch.get_rng_state(), np.random.get_state()[1]))
    (ours, *generators), (theirs, *others) = states
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)  # batch-norm statistics too
    assert all(np.array_equal(a, b) for a, b in zip(generators, others, strict=True))


def test_scores_are_logged_in_the_epochs_that_are_probed(graded: Path, tmp_path: Path) -> None:
    runner, log, rows = pretrain("simsiam_fundus_dr10.py", graded, tmp_path, dict(interval=2, k=1))
    for name in ("knn_accuracy", "knn_balanced_accuracy", "knn_kappa"):
        values = [row[f"selfsup/{name}"] for row in rows]
        assert values[0] == "" and float(values[1]) <= 1 and values[2] != ""  # every second one, and the last
    assert log.count("k-NN probe after epoch") == 2
    assert all(row["selfsup/std_ratio"] for row in rows)  # the monitor of every epoch stays
    assert runner.model.training
    hook = next(hook for hook in runner.hooks if isinstance(hook, KNNProbeHook))
    scores = hook._probe(encoder_of(runner.model, runner.cfg), hook._graded, runner.cfg)
    assert float(rows[2]["selfsup/knn_accuracy"]) == pytest.approx(scores["knn_accuracy"])


def test_brightness_of_two_classes_is_found(tmp_path: Path, graded: Path) -> None:
    """With an encoder whose feature is the colour, images of two colours are told apart, shuffled labels are not."""
    cfg = Config(
        dict(model=dict(data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True)), train_dataloader={})
    )
    model = torch.nn.Module()
    model.backbone = torch.nn.Conv2d(3, 3, 1)
    torch.nn.init.dirac_(model.backbone.weight)
    files, rng = [], np.random.default_rng(0)
    from cv2 import imwrite

    for i in range(40):
        picture = rng.integers(0, 60, (20, 24, 3), dtype=np.uint8)
        picture[..., i % 2] += 100
        files.append(str(tmp_path / f"{i}.png"))
        imwrite(files[-1], picture)
    labels, splits = np.arange(40) % 2, np.array(["train"] * 30 + ["val"] * 10)
    known = read_graded(graded)
    hook = KNNProbeHook(k=5, img_size=8)
    hook._limit = 100
    for given, low, high in ((labels, 1, 1), (rng.permutation(labels), 0.1, 0.9)):
        made = type(known)(tuple(files), given, splits, splits, ("0", "1"), False)
        scores = hook._probe(encoder_of(model, cfg), made, cfg)
        assert low <= scores["knn_accuracy"] <= high and "knn_kappa" not in scores


def test_prepared_set_is_probed_by_diagnosis_and_a_plain_folder_is_not(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "set", num_images=9)
    _, log, rows = pretrain("simsiam_phantom.py", root, tmp_path / "a", dict(k=3), max_epochs=1)
    assert "k-NN probe after epoch 1: accuracy" in log
    assert rows[0]["selfsup/knn_accuracy"] and "selfsup/knn_kappa" not in rows[0]
    (root / "annotations").rename(root / "elsewhere")
    plain = {"train_dataloader.dataset.ann_file": ""}
    _, log, rows = pretrain("simsiam_phantom.py", root, tmp_path / "b", {}, max_epochs=1, **plain)
    assert log.count("no k-NN probe: ") == 1 and "selfsup/knn_accuracy" not in rows[0]


def test_other_processes_wait(monkeypatch: pytest.MonkeyPatch, graded: Path) -> None:
    waited, hook = [], KNNProbeHook(interval=2)
    monkeypatch.setattr("medkit.engine.knn_probe.is_main_process", lambda: False)
    monkeypatch.setattr("medkit.engine.knn_probe.barrier", lambda: waited.append(runner.epoch))
    runner = SimpleNamespace(
        cfg=load_config(CONFIGS / "simsiam_fundus_dr10.py", data_root=graded),
        train_dataloader=range(2),
        max_epochs=5,
        model=None,  # would fail where it is used
    )
    hook.before_train(runner)
    for runner.epoch in range(5):
        for batch_idx in range(2):
            hook.after_train_iter(runner, batch_idx)
    assert waited == [1, 3, 4]


def test_rows_are_thinned_evenly() -> None:
    assert thinned(np.arange(10), 10).tolist() == list(range(10))
    assert thinned(np.arange(100, 200), 3).tolist() == [100, 150, 199]


def test_wrong_arguments_are_errors() -> None:
    for arguments in (dict(interval=0), dict(k=0), dict(max_images=0.5), dict(temperature=0)):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            KNNProbeHook(**arguments)
