"""k-NN on frozen features: the vote, and a backbone that separates two kinds of image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.apis.config import load_config
from medkit.apis.knn import diagnoses, knn_accuracy, knn_vote
from medkit.errors import DatasetError, WeightsError
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


def test_diagnoses_come_from_the_annotation_files(root: Path) -> None:
    cfg = load_config(CONFIG, data_root=root)
    found = diagnoses(cfg, ("val", "test"))
    assert len(found) == 10 and set(found.values()) == set(LIVER)
    assert all(Path(file).is_file() for file in found)
    with pytest.raises(DatasetError, match=r"holdout\.json does not exist"):
        diagnoses(cfg, ("holdout",))


def test_accuracy_of_untrained_and_given_weights(root: Path, tmp_path: Path) -> None:
    cfg = load_config(CONFIG, data_root=root, quick=True)
    found = knn_accuracy(cfg, None, ("val", "test"), k=3)
    assert (
        found["num_train"] == 5
        and found["num_held_out"] == 10
        and found["largest_class"] == pytest.approx(0.4)
    )
    assert 0 <= found["balanced_accuracy"] <= 1
    assert found == knn_accuracy(cfg, None, ("val", "test"), k=3)
    torch.save({"state_dict": {"neck.fc0.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError):
        knn_accuracy(cfg, tmp_path / "other.pth", ("val",))
