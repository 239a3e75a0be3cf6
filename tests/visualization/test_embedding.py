"""Maps of features and attention maps hold what they were given."""

import sys

import numpy as np
import pytest

from medkit.errors import ConfigError, DatasetError
from medkit.visualization.attention import plot_attention
from medkit.visualization.embedding import embed, plot_embedding


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    labels = np.arange(45) % 3
    return (10 * np.eye(3, 8)[labels] + rng.normal(size=(45, 8))).astype(np.float32), labels


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_classes_far_apart_stay_apart(blobs, method):
    features, labels = blobs
    points = embed(features, method, seed=1)
    assert points.shape == (45, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(points, embed(features, method, seed=1))


def test_principal_components_are_those_of_the_covariance(blobs):
    features, _ = blobs
    points = embed(features, "pca")
    largest = np.linalg.eigvalsh(np.cov(features.T))[::-1][:2]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), largest, rtol=1e-5)
    assert embed(features[:, :1], "pca")[:, 1].tolist() == [0] * 45


def test_tsne_without_scikit_learn_is_an_error_and_pca_is_not(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ConfigError, match=r"medkit\[selfsup\].*method='pca'"):
        embed(blobs[0])
    assert embed(blobs[0], "pca").shape == (45, 2)


def test_map_has_a_legend_with_counts(blobs, tmp_path):
    features, labels = blobs
    labels = np.where(np.arange(45) < 5, -1, labels)
    figure = plot_embedding(features, labels, ("a", "b", "c", "never"), "title", tmp_path / "map.png", method="pca")
    [axes] = figure.axes
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [f"unknown ({(labels == -1).sum()})"] + [f"{n} ({(labels == i).sum()})" for i, n in enumerate("abc")]
    assert sum(len(points.get_offsets()) for points in axes.collections) == 45
    assert "principal" in axes.get_xlabel() and (tmp_path / "map.png").stat().st_size > 5000


def test_wrong_features_are_named(blobs):
    features, labels = blobs
    with pytest.raises(DatasetError, match=r"\(3, 8\) make no map"):
        embed(features[:3])
    with pytest.raises(DatasetError, match="NaN"):
        embed(np.where(np.arange(8) == 2, np.nan, features))
    with pytest.raises(ConfigError, match="method='umap'"):
        embed(features, "umap")
    with pytest.raises(DatasetError, match="45 points of 2 classes"):
        plot_embedding(features, labels, ("a", "b"), method="pca")


def test_attention_has_a_row_for_each_image(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 48, 3), dtype=np.uint8), rng.integers(0, 256, (32, 48), dtype=np.uint8)]
    maps = rng.random((2, 3, 4, 6))
    figure = plot_attention(images, maps, ["one", "two"], "title", tmp_path / "attention.png")
    assert len(figure.axes) == 2 * 5
    assert [axes.get_title() for axes in figure.axes[:5]] == ["image", "mean", "head 1", "head 2", "head 3"]
    shown = figure.axes[6].images[-1]  # second image, mean of its heads
    np.testing.assert_allclose(shown.get_array(), maps[1].mean(axis=0))
    assert list(shown.get_extent()) == [-0.5, 47.5, 31.5, -0.5]
    assert figure.axes[5].get_ylabel() == "two" and (tmp_path / "attention.png").stat().st_size > 5000
    with pytest.raises(DatasetError, match="2 images and maps of shape"):
        plot_attention(images, maps[:1])
