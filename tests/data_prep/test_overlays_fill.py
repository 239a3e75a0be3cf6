"""Filling in: nearer to the truth than Telea, as rough as tissue, and nothing else touched."""

import cv2
import numpy as np
import pytest

from data_prep.overlays.speckle import fill_speckle

from .test_overlays_white import FONT, speckle


def hole_of(kind: str, shape: tuple[int, int]) -> np.ndarray:
    hole = np.zeros(shape, np.uint8)
    if kind == "text":
        cv2.putText(hole, "LIVER S5 3.5MHz", (90, 200), FONT, 0.6, 255, 1)
    elif kind == "line":
        cv2.line(hole, (100, 90), (330, 260), 255, 3)
    else:
        cv2.circle(hole, (200, 200), 14, 255, -1)
    return hole


@pytest.mark.parametrize("kind", ["text", "line"])
def test_closer_than_telea_and_rough_as_tissue(kind):
    errors, rough = [], []
    for seed in range(2):
        twin = speckle(seed, grain=1.7)
        hole = hole_of(kind, twin.shape)
        dirty = np.where(hole > 0, 255, twin).astype(np.uint8)
        everywhere = np.full_like(hole, 255)
        at = hole > 0
        results = {
            "ours": fill_speckle(dirty, hole, everywhere),
            "smooth": fill_speckle(dirty, hole, everywhere, texture=0),
            "telea": cv2.inpaint(dirty, hole, 3, cv2.INPAINT_TELEA),
        }
        errors.append({k: np.abs(v[at].astype(float) - twin[at]).mean() for k, v in results.items()})
        fine = {k: v - cv2.blur(v.astype(np.float32), (5, 5)) for k, v in {**results, "twin": twin}.items()}
        rough.append({k: v[at].std() / fine["twin"][at].std() for k, v in fine.items()})
        assert (results["ours"][~at] == twin[~at]).all()
    mean = {k: np.mean([one[k] for one in errors]) for k in errors[0]}
    share = {k: np.mean([one[k] for one in rough]) for k in rough[0]}
    assert mean["smooth"] < mean["ours"] < 0.95 * mean["telea"]
    assert 0.75 < share["ours"] < 1.25 and share["telea"] < share["ours"] and share["smooth"] < share["ours"]


def test_the_same_bytes_every_time_and_holes_do_not_see_what_they_cover():
    twin = speckle(4)
    hole = hole_of("text", twin.shape)
    everywhere = np.full_like(hole, 255)
    first = fill_speckle(np.where(hole > 0, 255, twin).astype(np.uint8), hole, everywhere)
    again = fill_speckle(np.where(hole > 0, 0, twin).astype(np.uint8), hole, everywhere)
    assert (first == again).all()


@pytest.mark.parametrize("grey", [np.full((60, 80), 90, np.uint8), np.zeros((60, 80), np.uint8)])
def test_flat_surroundings_stay_flat(grey):
    hole = np.zeros_like(grey)
    hole[20:30, 30:40] = 255
    filled = fill_speckle(np.where(hole > 0, 255, grey).astype(np.uint8), hole, np.full_like(grey, 255))
    assert np.abs(filled - grey.astype(int)).max() <= 1


@pytest.mark.parametrize("case", ["corner", "whole", "thick"])
def test_holes_at_the_edge_and_without_neighbours_do_not_crash(case):
    grey, hole = speckle(1, (60, 70)), np.zeros((60, 70), np.uint8)
    if case == "corner":
        hole[:5, :5] = hole[-3:, -20:] = 255
    elif case == "whole":
        hole[:] = 255
    else:
        hole[10:50, 10:60] = 255
    result = fill_speckle(grey, hole, np.full_like(hole, 255))
    assert result.shape == grey.shape and result.dtype == np.uint8
    assert (result[hole == 0] == grey[hole == 0]).all()
