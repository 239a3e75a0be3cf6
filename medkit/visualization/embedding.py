"""Features of images as a map of points: t-SNE, or the first two principal components where they are asked for.

t-SNE is van der Maaten and Hinton's ("Visualizing Data using t-SNE", JMLR 2008) in scikit-learn's implementation; it
shows which points are neighbours, and neither distances nor sizes of groups mean anything. Needs the extra
``medkit[selfsup]``. Command: ``python tools/features.py CONFIG CHECKPOINT OUT.npy --map map.png``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medkit.errors import ConfigError, DatasetError

from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "embed", "plot_embedding"]

METHODS = ("tsne", "pca")
_SMALLEST = 4  # points


def embed(
    features: np.ndarray, method: str = "tsne", seed: int = 0, perplexity: float = 30.0, metric: str = "cosine"
) -> np.ndarray:
    """Two coordinates (N, 2) of features (N, D).

    Args:
        features: finite numbers, N at least 4.
        method: ``'tsne'``, started at the principal components, or ``'pca'``.
        seed: of t-SNE; the same seed gives the same map on one machine.
        perplexity: of t-SNE, about the number of neighbours that count; at most a third of the points is used.
        metric: distance of t-SNE: ``'cosine'`` or ``'euclidean'``.

    Raises:
        ConfigError: unknown method, or t-SNE without scikit-learn.
        DatasetError: too few points, or numbers that are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < _SMALLEST:
        raise DatasetError(f"features {features.shape} make no map; expected (N, D) with N at least {_SMALLEST}")
    if not np.isfinite(features).all():
        raise DatasetError("features hold NaN or infinity; the network that made them diverged, or its input is broken")
    if method == "pca":
        return _principal(features)
    if method != "tsne":
        raise ConfigError(f"method={method!r}; expected one of {METHODS}")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigError(
            "t-SNE needs scikit-learn; run `pip install medkit[selfsup]`, or ask for method='pca'"
        ) from error
    perplexity = min(perplexity, len(features) / 3)
    start = _principal(features)
    start = start / max(start[:, 0].std(), 1e-12) * 1e-4
    made = TSNE(init=start, metric=metric, perplexity=perplexity, random_state=seed, n_jobs=1)
    return made.fit_transform(features.astype(np.float32))


def plot_embedding(
    features: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    title: str = "",
    path: str | Path | None = None,
    *,
    method: str = "tsne",
    seed: int = 0,
    ordinal: bool = False,
    perplexity: float = 30.0,
) -> Figure:
    """Draw one point for each image, its colour the class.

    Args:
        features: (N, D).
        labels: (N,) class indices; -1 is drawn in grey as unknown.
        classes: names by index.
        title: line above the map.
        path: file to save to; None saves nothing.
        method: see `embed`.
        seed: see `embed`.
        ordinal: colours rise with the class (grades), in place of colours that differ.
        perplexity: see `embed`.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(features),) or labels.min(initial=0) < -1 or labels.max(initial=0) >= len(classes):
        raise DatasetError(
            f"{labels.shape} labels up to {labels.max(initial=0)} for {len(features)} points of {len(classes)} "
            "classes; expected one for each point, from -1 (unknown) to the number of classes less 1"
        )
    points = embed(features, method, seed, perplexity)
    figure = new_figure(7.2, 5.4)
    axes = figure.subplots()
    for label, color in _colors(len(classes), ordinal):
        chosen = points[labels == label]
        if len(chosen):
            name = "unknown" if label < 0 else classes[label]
            said = f"{name} ({len(chosen)})"
            axes.scatter(chosen[:, 0], chosen[:, 1], s=14, color=color, linewidths=0, alpha=0.8, label=said)
    axes.set_xticks([])
    axes.set_yticks([])
    about = "t-SNE: neighbours mean something, distances do not" if method == "tsne" else "principal components 1 and 2"
    axes.set_xlabel(f"{about}; seed {seed}" if method == "tsne" else about, fontsize=8, color="0.35")
    axes.set_title(title, fontsize=11)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def _principal(features: np.ndarray) -> np.ndarray:
    """(N, 2) scores on the first two principal components, the sign fixed by the largest one."""
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    scores = np.zeros((len(features), 2))
    scores[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    return scores * np.where(scores[np.abs(scores).argmax(axis=0), [0, 1]] < 0, -1, 1)


def _colors(count: int, ordinal: bool) -> list[tuple[int, object]]:
    from matplotlib import colormaps

    if ordinal:
        named = [colormaps["viridis"](i / max(count - 1, 1) * 0.95) for i in range(count)]
    else:
        named = [colormaps["tab10" if count <= 10 else "tab20"](i % 20) for i in range(count)]
    return [(-1, "0.8"), *enumerate(named)]
