import cv2
import numpy as np
import pytest

from data_prep.images import to_grey
from data_prep.overlays import find_overlay, remove_overlay
from data_prep.scan import find_scan_area, scan_crop

from .conftest import sector

YELLOW, BLUE, RED = (250, 230, 30), (40, 110, 250), (250, 60, 20)
TINTS = {"grey": (1, 1, 1), "greenish": (0.92, 1, 0.88), "bluish": (0.88, 0.95, 1)}


def colour(tint: str = "grey", seed: int = 0) -> np.ndarray:
    return (sector(seed)[..., None] * np.array(TINTS[tint])).astype(np.uint8)


def look(pixels: np.ndarray):
    area = find_scan_area(to_grey(pixels))
    return find_overlay(pixels, area), area


@pytest.mark.parametrize("tint", TINTS)
@pytest.mark.parametrize("ink", [YELLOW, BLUE])
def test_a_caliper_is_found_and_inpainted_and_nothing_else_changes(tint, ink):
    clean, dirty = colour(tint), colour(tint)
    cv2.line(dirty, (150, 200), (300, 220), ink, 1)
    cv2.putText(dirty, "1", (140, 195), cv2.FONT_HERSHEY_PLAIN, 1, ink, 1)
    cv2.rectangle(dirty, (440, 30), (450, 200), ink, -1)  # a scale outside the sector
    drawn = (dirty != clean).any(axis=2)
    overlay, area = look(dirty)
    found = overlay.mask > 0
    assert (found & drawn).sum() >= 0.98 * drawn.sum()
    assert not (found & ~cv2.dilate(drawn.astype(np.uint8), np.ones((5, 5))).astype(bool)).any()
    result = remove_overlay(dirty, overlay, area)
    result = np.stack([result] * 3, axis=2) if result.ndim == 2 else result
    assert np.abs(result[drawn].astype(int) - clean[drawn]).mean() < 15
    far = ~cv2.dilate(drawn.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert (result[far] == dirty[far]).all()


@pytest.mark.parametrize("tint", TINTS)
def test_a_frame_without_marks_has_none(tint):
    overlay, _ = look(colour(tint))
    assert overlay.pixels == 0 and not overlay.doppler
    assert look(sector(0))[0].pixels == 0


def test_small_flow_stays_while_the_letters_go():
    dirty = colour()
    cv2.ellipse(dirty, (230, 200), (14, 10), 0, 0, 360, RED, -1)
    cv2.putText(dirty, "RT LOBE", (150, 320), cv2.FONT_HERSHEY_PLAIN, 1, YELLOW, 1)
    overlay, area = look(dirty)
    assert 0 < overlay.flow_share < 0.01 and not overlay.doppler
    result = remove_overlay(dirty, overlay, area)
    assert tuple(result[200, 230]) == RED
    assert np.abs(result[305:322, 150:220].astype(int).max(axis=2) - result[305:322, 150:220].min(axis=2)).max() < 60


@pytest.mark.parametrize("ink", [RED, BLUE])
def test_a_doppler_frame_is_left_alone(ink):
    dirty = colour()
    cv2.ellipse(dirty, (230, 200), (60, 40), 0, 0, 360, ink, -1)
    overlay, _ = look(dirty)
    assert overlay.doppler and overlay.pixels == 0 and overlay.flow_share > 0.03


def test_the_scan_area_is_the_sector_without_letters_beside_it():
    grey = sector(0)
    with_text = grey.copy()
    cv2.putText(with_text, "HOSPITAL", (5, 20), cv2.FONT_HERSHEY_PLAIN, 1, 255, 1)
    area = find_scan_area(with_text)
    ys, xs = np.nonzero(grey)
    assert np.abs(np.array(area.box) - (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).max() <= 6
    crop = scan_crop(with_text, area)
    assert (crop > 0).mean() > 0.96  # black corners are filled with the mean
    assert find_scan_area(np.zeros((50, 60), np.uint8)).box == (0, 0, 60, 50)
