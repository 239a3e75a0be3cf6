"""The benchmark from its command line: votes, all protocols on a small set, and what it refuses before any work."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from medkit.apis.config import load_config
from medkit.apis.knn import knn_vote
from medkit.apis.selfsup_command import benchmark
from medkit.apis.selfsup_eval import evaluate, knn_scores
from medkit.apis.selfsup_protocol import Protocol, Run
from medkit.data.graded import read_graded
from medkit.errors import ConfigError, DatasetError, WeightsError
from tests.graded import write_graded
from tests.prepared import write_prepared

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "simsiam_phantom.py")
LARGER = str(ROOT / "configs" / "simsiam_busi.py")
sys.path.insert(0, str(ROOT / "tools"))
from benchmark_selfsup import main, parser  # noqa: E402

SMALL = ["--img-size", "32", "--epochs", "2", "--seeds", "0", "1", "--num-workers", "0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graded(tmp_path_factory.mktemp("graded"), size=32, saliency=False)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        cfg = load_config(CONFIG)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            model = MODELS.build(cfg.model)
        files.append(str(tmp_path_factory.mktemp("run") / f"{seed}.pth"))
        torch.save({"state_dict": model.state_dict()}, files[-1])
    return files


def call(*words: object) -> str:
    return benchmark(parser().parse_args([*SMALL, *map(str, words)]))


def test_votes_are_shares_and_agree_with_the_probe_of_pretraining() -> None:
    rng = np.random.default_rng(0)
    bank, labels, queries = rng.normal(size=(30, 8)), rng.integers(0, 3, 30), rng.normal(size=(9, 8))
    scores = knn_scores(bank, labels, queries, num_classes=4, ks=(5, 99))
    for k, votes in scores.items():
        assert votes.shape == (9, 4) and np.allclose(votes.sum(1), 1) and not votes[:, 3].any()
        assert votes.argmax(1).tolist() == knn_vote(bank, labels, queries, k, 0.07).tolist()
    one = knn_scores(bank, labels, bank, 3, ks=(1,))[1]
    np.testing.assert_array_equal(one, np.eye(3)[labels])


def test_one_call_gives_the_papers_table(root: Path, checkpoints: list[str], tmp_path: Path) -> None:
    runs = [word for file in checkpoints for word in ("--run", "simsiam", CONFIG, file)]
    words = (root, *runs, "--random", "--protocols", "knn", "linear", "finetune", "--out", tmp_path, "--epochs", 1)
    text = call(*words)
    head = next(line for line in text.splitlines() if line.startswith("| method"))
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == ["method", "fine-tune, regression", "linear, regression", "k-NN"]
    assert "| random ResNet-18" in text and "less untrained" in text
    records = json.loads((tmp_path / "results.json").read_text())["records"]
    per_run = 4 + 2 * 2 * 2  # k-NN; protocols, seeds, best and final
    assert len(records) == 4 * per_run
    knn = {r["selected"]: r for r in records if r["run"] == checkpoints[0] and r["protocol"] == "knn"}
    assert set(knn) == {"best", "k=5", "k=10", "k=20"}
    best = max(knn[f"k={k}"]["val_kappa"] for k in (5, 10, 20))
    assert knn["best"]["val_kappa"] == best and knn["best"]["grades"] == knn[f"k={knn['best']['chosen']}"]["grades"]
    assert len({json.dumps(r["grades"]) for r in records if r["run"] == "initialised with seed 1"}) > 1
    merged = call("--merge", tmp_path, "--out", tmp_path / "merged")
    assert merged.splitlines()[:8] == text.splitlines()[:8]


def test_a_set_without_order_is_classified(checkpoints: list[str], tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "set", num_images=8)
    words = (CONFIG, checkpoints[0], prepared, "--out", tmp_path / "out")
    text = call(*words, "--figures")
    assert [file.name for file in (tmp_path / "out").glob("*.png")] == ["tsne_simsiam_phantom.png"]
    assert "Kappa (unweighted" in text and "linear, classification" in text
    with pytest.raises(ConfigError, match="use --head classification"):
        call(*words, "--head", "regression")


def test_the_probe_on_augmented_images_is_as_published(root: Path) -> None:
    settings = Protocol(("linear",), seeds=(0,), img_size=32, augment=True, num_workers=0, epochs=1)
    found = evaluate([Run("r", CONFIG)], read_graded(root), settings, say=lambda line: None)
    assert [r.selected for r in found] == ["best", "final"]
    assert found[0].settings["augment"] and not found[0].settings["standardise"]
    assert Protocol(augment=True).training("linear", 355).epochs == 25
    assert Protocol().training("linear", 355).epochs == 109, "2500 steps of 16 images"
    assert Protocol().training("linear", 50_000).epochs == 25


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["a", "b"], ConfigError, "2 paths"),
        (["SET"], ConfigError, "only a data set"),
        ([], ConfigError, "nothing to evaluate"),
        ([CONFIG, "gone.pth", "SET"], WeightsError, "gone.pth does not exist"),
        ([CONFIG, "none", "SET", "--protocols", "svm"], ConfigError, "'svm'"),
        (["SET", "--run", "a", CONFIG, "none", "--run", "a", CONFIG, "none"], ConfigError, "given twice"),
        (["SET", "--run", "a", CONFIG, "none", "--run", "b", LARGER, "none"], ConfigError, "img_size 96, .* 128"),
        ([CONFIG, "none", "nowhere"], DatasetError, "nowhere holds neither"),
    ],
)
def test_refusals(words: list[str], error: type, message: str, root: Path, tmp_path: Path) -> None:
    words = [str(root) if word == "SET" else word for word in words]
    with pytest.raises(error, match=message):
        benchmark(parser().parse_args([*words, "--out", str(tmp_path)]))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = write_graded(tmp_path / "set", size=32, saliency=False)
    (root / "images" / "p003_L.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="p003_L"):
        call(CONFIG, "none", root, "--out", tmp_path / "out")


def test_the_tool_says_an_error_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_selfsup.py", "a", "b"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and capsys.readouterr().err.startswith("error: 2 paths")
