"""Does a pre-trained backbone know more than an untrained one? Weighted k-NN on frozen features.

The vote is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"
(CVPR 2018). Every pre-training config is taken, and a set of either kind that `read_graded` reads.
Command: ``python tools/knn.py configs/simsiam_busi.py work_dirs/simsiam_busi``.
"""

from pathlib import Path

import numpy as np
from mmengine.config import Config

from medkit.apis.features import build_encoder, extract_features
from medkit.apis.neighbours import nearest
from medkit.data.checks import dataset_configs
from medkit.data.graded import SPLITS, GradedSet, read_graded
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.grading import accuracy, balanced_accuracy, grade_matrix, kappa
from medkit.evaluation.functional.neighbours import weighted_vote


def knn_vote(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Class of each query by the k training features nearest in angle, weighted by exp(cosine / temperature).

    Args:
        features: (N, D) of the training images.
        labels: (N,) class indices.
        queries: (M, D).
        k: neighbours; all N when there are fewer.
        temperature: the smaller, the more the nearest ones count.

    Returns:
        (M,) class indices.
    """
    cosines, indices = nearest(features, queries, k)  # (M, k)
    return weighted_vote(cosines, labels[indices], int(labels.max()) + 1, temperature).argmax(axis=1)


def knn_accuracy(
    cfg: Config, checkpoint: str | Path | None, splits: tuple[str, ...] = ("val",), k: int = 20
) -> dict[str, float]:
    """Accuracy of k-NN by label, from the training images of the config's set to those of ``splits``.

    Args:
        cfg: a resolved config of a pre-training.
        checkpoint: file or run folder; ``None`` takes the network as it is initialised.
        splits: held-out splits, joined.
        k: neighbours.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``kappa`` (quadratic weighted, where the classes have an order),
        ``largest_class`` (accuracy of always naming the largest class), ``num_train``, ``num_held_out``.

    Raises:
        ConfigError, DatasetError, WeightsError: see `labelled_set`, `build_encoder` and `extract_features`.
    """
    graded = labelled_set(cfg)
    if not set(splits) <= set(SPLITS):
        raise DatasetError(f"splits {splits} of {graded.root}; expected some of {SPLITS}")
    if not isinstance(cfg.get("img_size"), int):
        raise ConfigError(f"k-NN needs the config's img_size; use one of a pre-training, not {cfg.filename}")
    encoder = build_encoder(cfg, checkpoint)
    train, held_out = graded.rows("train"), np.concatenate([graded.rows(split) for split in splits])
    features, queries = (
        extract_features(encoder, [graded.files[i] for i in rows], cfg.img_size) for rows in (train, held_out)
    )
    labels, truth = graded.labels[train], graded.labels[held_out]
    matrix = grade_matrix(truth, knn_vote(features, labels, queries, k), len(graded.classes))
    scores = {"accuracy": float(accuracy(matrix)), "balanced_accuracy": float(balanced_accuracy(matrix))}
    if graded.ordinal:
        scores["kappa"] = float(kappa(matrix))
    return scores | {
        "largest_class": float(np.mean(truth == np.bincount(labels).argmax())),
        "num_train": len(labels),
        "num_held_out": len(truth),
    }


def labelled_set(cfg: Config) -> GradedSet:
    """The set that a config trains on, with its labels: grades of ``labels.csv``, or ``diagnosis`` of the COCO files.

    Raises:
        ConfigError: the config names no data root.
        DatasetError: see `read_graded`.
    """
    dataset = dataset_configs(cfg).get("train_dataloader", [{}])[0]
    if not dataset.get("data_root"):
        raise ConfigError(f"{cfg.filename} names no data_root, so there are no labels to read; give --data-root")
    return read_graded(dataset["data_root"])
