"""Scores of one fold: clusters against classes, retrieval of scans of other subjects, error of reconstruction.

Two ways to cluster. As published, k-means runs on the held-out codes, and clusters get the classes that suit them
best: this reads the held-out labels, and needs held-out scans in number. With centroids fitted on training codes and
named by training labels nothing of the held-out scans is used, as in a clinic where one scan comes at a time.
Needs the extra ``medkit[selfsup]``. Command: ``python tools/crossval.py CONFIG``.
"""

from __future__ import annotations

import numpy as np

from medkit.apis.crossval_records import CodeSet, FoldRecord
from medkit.apis.neighbours import nearest
from medkit.errors import ConfigError
from medkit.evaluation.functional.clustering import best_assignment, clustering_accuracy, majority_rate
from medkit.evaluation.functional.grading import accuracy, balanced_accuracy, grade_matrix
from medkit.evaluation.functional.retrieval import query_scores

__all__ = ["KS", "cluster", "cluster_scores", "fold_scores", "retrieval_scores", "scanner_scores", "shuffled_accuracy"]

KS = (1, 5)  # neighbours looked at
_STARTS = 20  # of k-means


def fold_scores(record: FoldRecord, num_classes: int, seed: int = 0) -> dict[str, float]:
    """All numbers of a fold; docs/volumes.md says what each means."""
    train, test = record.train.labelled, record.test.labelled
    scores = {"majority": majority_rate(test.labels), "num_test": float(len(test.labels))}
    scores |= cluster_scores(train, test, num_classes, seed)
    scores |= retrieval_scores(train, test)
    if len(set(test.subjects.tolist())) > 1:
        scores |= {f"held_out_{name}": value for name, value in retrieval_scores(test, test).items()}
    return scores | {"rmse": float(record.rmse.mean()), "rmse_brain": float(record.rmse_brain.mean())}


def cluster_scores(train: CodeSet, test: CodeSet, num_classes: int, seed: int = 0) -> dict[str, float]:
    """Clusters of held-out codes, found among themselves and (``train_...``) by centroids of training codes."""
    from sklearn import metrics

    clusters = cluster(test.codes, test.codes, num_classes, seed)
    names = best_assignment(test.labels, clusters, num_classes)
    right, balanced = _accuracies(test.labels, names[clusters], num_classes)
    several = 1 < len(set(test.labels.tolist())) < len(test.labels)
    scores = {
        "accuracy": right,
        "balanced_accuracy": balanced,
        "ari": float(metrics.adjusted_rand_score(test.labels, clusters)),
        "accuracy_chance": shuffled_accuracy(test.labels, test.subjects, clusters, num_classes, seed),
        "nmi": float(metrics.normalized_mutual_info_score(test.labels, clusters)),
        "silhouette": float(metrics.silhouette_score(test.codes, test.labels)) if several else float("nan"),
    }
    of_train = cluster(train.codes, train.codes, num_classes, seed)
    names = best_assignment(train.labels, of_train, num_classes)
    found = names[cluster(train.codes, test.codes, num_classes, seed)]
    right, balanced = _accuracies(test.labels, found, num_classes)
    return scores | {"train_accuracy": right, "train_balanced_accuracy": balanced}


def cluster(fitted: np.ndarray, codes: np.ndarray, num_clusters: int, seed: int = 0) -> np.ndarray:
    """Cluster of each of ``codes`` (N, K) by the centroids that k-means finds in ``fitted`` (M, K); (N,) int64.

    Raises:
        ConfigError: fewer codes than clusters, or scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ConfigError("k-means needs scikit-learn; run `pip install medkit[selfsup]`") from error
    if len(fitted) < num_clusters:
        raise ConfigError(f"{len(fitted)} codes for {num_clusters} clusters; take fewer folds or more scans")
    found = KMeans(num_clusters, n_init=_STARTS, random_state=seed).fit(np.asarray(fitted, np.float64))
    return found.predict(np.asarray(codes, np.float64)).astype(np.int64)


def shuffled_accuracy(
    labels: np.ndarray, subjects: np.ndarray, clusters: np.ndarray, num_classes: int, seed: int = 0, draws: int = 200
) -> float:
    """Mean accuracy under the best naming when subjects (N,) exchange their labels: the floor for these clusters.

    Subjects with several labels count as having the first.
    """
    rng = np.random.default_rng(seed)
    _, first, rows = np.unique(subjects, return_index=True, return_inverse=True)
    of_subject = labels[first]  # (S,)
    drawn = (rng.permutation(of_subject)[rows] for _ in range(draws))
    return float(np.mean([clustering_accuracy(one, clusters, num_classes) for one in drawn]))


def retrieval_scores(archive: CodeSet, queries: CodeSet, ks: tuple[int, ...] = KS) -> dict[str, float]:
    """Look scans up among the archive's scans of other subjects: precision@k, mAP of the whole ranking, and chance."""
    exclude = (archive.subjects, queries.subjects)
    found = nearest(archive.codes, queries.codes, len(archive.codes), "l2", exclude)[1]  # (Q, N), -1 at the end
    scored = query_scores(found, (queries.labels, queries.subjects), (archive.labels, archive.subjects), ks)
    scores = {f"precision_{k}": float(values.mean()) for k, values in scored.precision.items()}
    rest = {"map": scored.ap, "chance": scored.chance, "chance_map": scored.chance_ap}
    return scores | {name: float(values.mean()) for name, values in rest.items()}


def scanner_scores(record: FoldRecord, num_classes: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Scores of the held-out scans of each scanner; nothing where there is one scanner.

    ``accuracy`` uses the fold's clusters and names, ``precision_5`` the neighbours among training scans; ``same`` is
    the share of the nearest 5 that are of the query's scanner, ``same_chance`` what random ones would give.
    """
    train, test = record.train.labelled, record.test.labelled
    scanners = sorted(set(train.scanners.tolist()) | set(test.scanners.tolist()))
    if len(scanners) < 2:
        return {}
    clusters = cluster(test.codes, test.codes, num_classes, seed)
    right = best_assignment(test.labels, clusters, num_classes)[clusters] == test.labels
    near = nearest(train.codes, test.codes, min(5, len(train.codes)), "l2")[1]  # (M, 5)
    scores = {}
    for scanner in scanners:
        rows = np.flatnonzero(test.scanners == scanner)
        if len(rows):
            scores[scanner] = {
                "num_test": float(len(rows)),
                "majority": majority_rate(test.labels[rows]),
                "accuracy": float(right[rows].mean()),
                "precision_5": float((train.labels[near[rows]] == test.labels[rows, None]).mean()),
                "rmse": float(record.rmse[record.test.labels >= 0][rows].mean()),
                "same": float((train.scanners[near[rows]] == scanner).mean()),
                "same_chance": float((train.scanners == scanner).mean()),
            }
    return scores


def _accuracies(labels: np.ndarray, found: np.ndarray, num_classes: int) -> tuple[float, float]:
    """Accuracy, and mean recall of the classes."""
    matrix = grade_matrix(labels, found, num_classes)
    return float(accuracy(matrix)), float(balanced_accuracy(matrix))
