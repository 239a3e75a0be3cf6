"""Slices show the front and the top of the head up; pictures have a panel for each slice."""

import numpy as np
import pytest

from medkit.visualization.volumes import mid_slices, plot_codes, plot_reconstructions


def test_slices_are_upright() -> None:
    volume = np.zeros((4, 6, 8))
    volume[:, :, -1] = 1  # the top of the head
    volume[:, -1, :] += 2  # its front
    sagittal, coronal, axial = mid_slices(volume)
    assert (sagittal.shape, coronal.shape, axial.shape) == ((8, 6), (8, 4), (6, 4))
    assert (sagittal[0] >= 1).all() and (coronal[0] == 1).all() and (axial[0] == 2).all() and sagittal[-1, -1] == 2
    with pytest.raises(ValueError, match="expected"):
        mid_slices(volume[0])


def test_panels() -> None:
    volumes = list(np.random.default_rng(0).random((3, 6, 8, 7)))
    assert len(plot_reconstructions(volumes, volumes, ["a", "b", "c"]).axes) == 27
    one = {"codes": np.random.default_rng(0).random((12, 5)), "labels": np.arange(12) % 3 - 1}
    one |= {"held_out": np.arange(12) < 4}
    scanners = {"one": np.array(["A"] * 12), "two": np.array(["A", "B"] * 6)}
    for kind, columns in (("one", 1), ("two", 2)):
        figure = plot_codes({"model": one | {"scanners": scanners[kind]}}, ("CN", "AD"))
        assert len(figure.axes) == columns
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["CN", "AD", "unknown"]
