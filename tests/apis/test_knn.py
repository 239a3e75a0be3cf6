"""k-NN on frozen features: the vote, and a backbone that separates two kinds of image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.apis.config import load_config
from medkit.apis.knn import knn_accuracy, knn_vote, labelled_set
from medkit.errors import ConfigError, DatasetError, WeightsError
from tests.graded import write_graded
from tests.prepared import LIVER, write_prepared

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simsiam_phantom.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("set"), num_images=5)


def test_vote_by_angle_and_weight() -> None:
    features = np.array([[1.0, 0], [10, 0.1], [0, 1], [0.1, 3], [0, 2]])
    labels = np.array([0, 0, 1, 1, 1])
    queries = np.array([[5.0, 1], [1, 5]])
    assert knn_vote(features, labels, queries, k=1).tolist() == [0, 1]
    assert knn_vote(features, labels, queries, k=99).tolist() == [
        0,
        1,
    ]  # three of class 1 do not outvote two close ones
    assert knn_vote(features, labels, queries, k=5, temperature=1e3).tolist() == [
        1,
        1,
    ]  # equal weights: they do


def test_equal_neighbours_vote_in_the_order_of_the_rows() -> None:
    features = np.array([[1.0, 0], [1, 0], [1, 0]])
    assert knn_vote(features, np.array([1, 0, 0]), np.array([[2.0, 0]]), k=1).tolist() == [1]
    assert knn_vote(features[::-1], np.array([0, 0, 1]), np.array([[2.0, 0]]), k=1).tolist() == [0]


def test_labels_are_those_of_the_set_that_is_trained_on(root: Path) -> None:
    cfg = load_config(CONFIG, data_root=root)
    found = labelled_set(cfg)
    assert set(found.classes) == set(LIVER) and not found.ordinal
    with pytest.raises(DatasetError, match=r"splits \('holdout',\).*expected some of"):
        knn_accuracy(cfg, None, ("holdout",))
    cfg.train_dataloader.dataset.data_root = ""
    with pytest.raises(ConfigError, match="give --data-root"):
        labelled_set(cfg)


def test_accuracy_of_untrained_and_given_weights(root: Path, tmp_path: Path) -> None:
    cfg = load_config(CONFIG, data_root=root, quick=True)
    found = knn_accuracy(cfg, None, ("val", "test"), k=3)
    assert (
        found["num_train"] == 5
        and found["num_held_out"] == 10
        and found["largest_class"] == pytest.approx(0.4)
    )
    assert 0 <= found["balanced_accuracy"] <= 1 and "kappa" not in found
    assert found == knn_accuracy(cfg, None, ("val", "test"), k=3)
    torch.save({"state_dict": {"neck.fc0.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError):
        knn_accuracy(cfg, tmp_path / "other.pth", ("val",))


def test_graded_folder_and_transformer(tmp_path: Path) -> None:
    root = write_graded(tmp_path, size=48, num=24, classes=2)
    cfg = load_config(CONFIG.with_name("simsiam_vit-t_fundus_dr10.py"), data_root=root, quick=True)
    found = knn_accuracy(cfg, None, k=3)
    assert -1 <= found["kappa"] <= 1 and found["num_train"] == 12 and found["num_held_out"] == 6
