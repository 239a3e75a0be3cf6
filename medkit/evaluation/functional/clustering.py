"""Do clusters agree with classes? Accuracy when every cluster is given the class that suits it best.

Which cluster is called what is chosen once for all items, each class at most once, so that most items are right
(the assignment problem, Kuhn 1955), as in Onga et al. 2019, "Efficient feature embedding of 3D brain MRI images for
content-based image retrieval with deep metric learning" (arXiv 1912.01824). The names are chosen on the truth, so two
clusters never score under one half on two classes of equal size, and under the share of the larger class seldom:
read it beside `majority_rate`. Command: ``python tools/crossval.py CONFIG``.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["UNASSIGNED", "best_assignment", "clustering_accuracy", "contingency", "majority_rate"]

UNASSIGNED = -1  # class of a cluster for which none was left


def contingency(labels: np.ndarray, clusters: np.ndarray, num_classes: int, num_clusters: int) -> np.ndarray:
    """Items (num_classes, num_clusters) by class and cluster.

    Raises:
        ValueError: no item, two lengths, or an index that is negative or too high.
    """
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.ndim != 1 or labels.shape != clusters.shape or not len(labels):
        raise ValueError(f"{labels.shape} labels and {clusters.shape} clusters; expected one each for 1 item or more")
    for name, values, count in (("labels", labels, num_classes), ("clusters", clusters, num_clusters)):
        if values.min() < 0 or values.max() >= count:
            raise ValueError(f"{name} go from {values.min()} to {values.max()}; expected 0 to {count - 1}")
    cells = labels.astype(np.int64) * num_clusters + clusters.astype(np.int64)
    return np.bincount(cells, minlength=num_classes * num_clusters).reshape(num_classes, num_clusters)


def best_assignment(
    labels: np.ndarray, clusters: np.ndarray, num_classes: int, num_clusters: int | None = None
) -> np.ndarray:
    """Class of each cluster, (num_clusters,) int64, that makes most items right; no class twice.

    Args:
        labels: (N,) from 0.
        clusters: (N,) from 0.
        num_classes: how many there are; one that no item has may get a cluster.
        num_clusters: default as many as classes. Clusters beyond the classes are `UNASSIGNED`.
    """
    num_clusters = num_classes if num_clusters is None else num_clusters
    counts = contingency(labels, clusters, num_classes, num_clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    names = np.full(num_clusters, UNASSIGNED, np.int64)
    names[columns] = rows
    return names


def clustering_accuracy(
    labels: np.ndarray, clusters: np.ndarray, num_classes: int, num_clusters: int | None = None
) -> float:
    """Share of items (N,) whose cluster was given their class by `best_assignment`."""
    names = best_assignment(labels, clusters, num_classes, num_clusters)
    return float(np.mean(names[np.asarray(clusters)] == np.asarray(labels)))


def majority_rate(labels: np.ndarray) -> float:
    """Share of the largest class among labels (N,): what one answer for all items reaches."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))
