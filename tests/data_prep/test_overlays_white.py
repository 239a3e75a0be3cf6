"""White marks, the grey bar, and what must not be taken for them."""

import cv2
import numpy as np
import pytest

from data_prep.overlays import find_overlay, remove_overlay
from data_prep.scan import find_scan_area

FONT = cv2.FONT_HERSHEY_SIMPLEX


def speckle(seed: int = 0, size: tuple[int, int] = (420, 520), level: float = 70, grain: float = 1) -> np.ndarray:
    """Log-compressed speckle (H, W) uint8 with a grain that is wider than high, as beams make it."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(2, *size)).astype(np.float32)
    field = np.stack([cv2.GaussianBlur(part, (0, 0), sigmaX=1.8 * grain, sigmaY=0.9 * grain) for part in field])
    envelope = np.hypot(*field) / np.hypot(*field).mean()
    return np.clip(level + 22 * np.log(envelope + 0.05), 1, 255).astype(np.uint8)


def frame(seed: int = 0) -> np.ndarray:
    """Speckle in a trapezoid on black."""
    grey = speckle(seed)
    corners = np.array([(180, 20), (340, 20), (470, 330), (50, 330)])
    return np.where(cv2.fillConvexPoly(np.zeros_like(grey), corners, 1) > 0, grey, 0).astype(np.uint8)


def look(pixels: np.ndarray):
    area = find_scan_area(pixels)
    return find_overlay(pixels, area), area


def rates(mask: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    both = ((mask > 0) & drawn).sum()
    return both / drawn.sum(), both / max(1, (mask > 0).sum())


@pytest.mark.parametrize("place", [(150, 250), (20, 390)], ids=["in_tissue", "on_black"])
@pytest.mark.parametrize("ink", [230, 255])
def test_white_letters_are_found_to_the_rim(place, ink):
    clean = frame()
    dirty = clean.copy()
    cv2.putText(dirty, "RT LOBE 4", place, FONT, 0.5, ink, 1, cv2.LINE_AA)
    overlay, _ = look(dirty)
    recall, precision = rates(overlay.mask, dirty != clean)
    assert recall > (0.93 if place[0] == 20 else 0.8) and precision > 0.75
    assert overlay.kinds == {"text": overlay.pixels}


def test_a_white_caliper_with_its_dots_is_found_and_removed():
    clean = frame()
    dirty = clean.copy()
    for x, y in ((180, 200), (260, 230)):
        cv2.drawMarker(dirty, (x, y), 240, cv2.MARKER_CROSS, 13, 1)
    for t in np.linspace(0, 1, 22):
        dirty[int(200 + 30 * t), int(180 + 80 * t)] = 240
    overlay, area = look(dirty)
    recall, precision = rates(overlay.mask, dirty != clean)
    assert recall > 0.9 and precision > 0.2 and overlay.kinds.get("caliper", 0) > 20
    result = remove_overlay(dirty, overlay, area)
    assert result[193:240, 173:268].max() <= clean.max() + 20


def test_the_grey_bar_is_found_and_blackened_even_with_ticks_that_touch_it():
    clean = frame()
    clean[60:200:20, 503:506] = 150  # ticks of the machine
    dirty = clean.copy()
    dirty[50:230, 490:503] = np.linspace(255, 0, 180).astype(np.uint8)[:, None]
    overlay, area = look(dirty)
    assert rates(overlay.mask, dirty != clean) >= (0.99, 0.97) and overlay.kinds.keys() == {"grey_bar"}
    assert not remove_overlay(dirty, overlay, area)[50:230, 490:503].any()


def echoes(kind: str) -> np.ndarray:
    """A frame with something bright that belongs to the patient or to the machine's own frame."""
    grey = frame(3).astype(np.float32)
    inside = grey > 0
    bright = np.zeros_like(grey)
    if kind == "layers":  # thin and sharp along the beam, wide across it
        for row in range(60, 200, 17):
            bright[row : row + 2, 190:330] = 170
    elif kind == "diaphragm":
        cv2.ellipse(bright, (260, 150), (170, 130), 0, 20, 160, 190, 3)
    elif kind == "hemangioma":
        cv2.circle(bright, (250, 200), 35, 110, -1)
    elif kind == "stones":
        for x, y in ((200, 150), (280, 180), (240, 260)):
            cv2.circle(bright, (x, y), 3, 180, -1)
    bright = cv2.GaussianBlur(bright, (0, 0), sigmaX=2.0, sigmaY=0.8)
    grey = np.where(inside, np.clip(grey + bright, 0, 255), 0)
    if kind == "ticks":
        grey[40:400:30, 500:504] = 150
    return grey.astype(np.uint8)


@pytest.mark.parametrize("kind", ["nothing", "layers", "diaphragm", "hemangioma", "stones", "ticks"])
def test_echoes_and_grey_ticks_are_not_marks(kind):
    pixels = echoes(kind)
    overlay, area = look(pixels)
    assert overlay.pixels == 0 and overlay.kinds == {}
    assert remove_overlay(pixels, overlay, area) is pixels


@pytest.mark.parametrize("quality", [90, 95])
def test_jpeg_smear_is_not_counted_and_is_taken_out(quality):
    clean = cv2.merge([frame(5)] * 3)
    dirty = clean.copy()
    cv2.line(dirty, (150, 200), (300, 240), (250, 235, 20), 1)
    data = cv2.imencode(".jpg", dirty[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    pixels = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    area = find_scan_area(pixels[..., 1])
    overlay = find_overlay(pixels, area)
    recall, precision = rates(overlay.mask, (dirty != clean).any(axis=2))
    assert recall > 0.9 and precision > 0.4
    around = cv2.dilate((dirty != clean).any(axis=2).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert rates(overlay.mask, around)[1] > 0.9
    result = remove_overlay(pixels, overlay, area)
    result = cv2.merge([result] * 3) if result.ndim == 2 else result
    assert np.ptp(result.astype(int), axis=2).max() <= 16
