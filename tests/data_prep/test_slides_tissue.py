"""Tissue on a thumbnail: found at any resolution, pen marks and glass left out; real pictures of the histolab tests."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.slides.tissue import pen_mask, tissue_mask
from tests.slide_set import GLASS, draw_slide

UM = 8.0


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    """A thumbnail, 7.2 x 5.6 mm."""
    return draw_slide(mpp=UM)


def ellipse(height: int, width: int) -> np.ndarray:
    centre, axes = (width // 2, height // 2), (int(width * 0.35), int(height * 0.35))
    return cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, 0, 0, 360, 1, -1).astype(bool)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_tissue_is_what_was_drawn_at_any_resolution(slide: np.ndarray) -> None:
    assert overlap(tissue_mask(slide, UM), ellipse(700, 900)) > 0.97
    half = cv2.resize(slide, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert overlap(tissue_mask(half, 2 * UM), ellipse(350, 450)) > 0.97
    fine = cv2.resize(slide, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert tissue_mask(fine, UM / 2).shape == (700, 900)  # cells do not count
    assert overlap(tissue_mask(fine, UM / 2), ellipse(700, 900)) > 0.97


def test_only_glass_has_no_tissue_and_only_tissue_no_glass() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (300, 300, 3))
    glass = (GLASS + noise).clip(0, 255).astype(np.uint8)
    assert not tissue_mask(glass, UM).any()
    tissue = (np.array([200, 130, 180]) + noise).clip(0, 255).astype(np.uint8)
    assert tissue_mask(tissue, UM).all()


def test_small_pieces_go_and_small_holes_are_filled(slide: np.ndarray) -> None:
    marked = slide.copy()
    cv2.circle(marked, (40, 40), 5, (200, 100, 160), -1)  # 80 um of dirt
    cv2.circle(marked, (450, 350), 10, (GLASS,) * 3, -1)  # 160 um of lumen
    cv2.circle(marked, (300, 350), 40, (GLASS,) * 3, -1)  # 640 um of lumen
    found = tissue_mask(marked, UM)
    assert not found[30:50, 30:50].any() and found[340:360, 440:460].all() and not found[330:370, 280:320].any()


@pytest.mark.parametrize(
    "ink", [(40, 160, 140), (30, 120, 50), (60, 130, 220), (30, 50, 200), (220, 20, 40)],
    ids=["teal", "green", "light blue", "blue", "red"],
)  # fmt: skip
def test_a_line_of_ink_is_no_tissue_on_glass_and_over_tissue(slide: np.ndarray, ink: tuple) -> None:
    line = cv2.line(np.zeros(slide.shape[:2], np.uint8), (100, 60), (800, 640), 1, 60).astype(bool)  # 0.5 mm
    share = 0.8 if max(ink) < 215 else 0.95
    marked = np.where(line[..., None], share * np.array(ink) + (1 - share) * slide, slide).astype(np.uint8)
    found = tissue_mask(marked, UM)
    assert found[line].mean() < 0.02
    clear = ellipse(700, 900) & ~cv2.dilate(line.astype(np.uint8), np.ones((60, 60))).astype(bool)
    assert found[clear].mean() > 0.97


def test_stained_tissue_is_no_ink(slide: np.ndarray) -> None:
    assert not pen_mask(slide, UM).any()
    brown_and_blue = np.where(np.arange(900)[None, :, None] % 40 < 20, (150, 100, 60), (150, 160, 200)).astype(np.uint8)
    assert pen_mask(np.broadcast_to(brown_and_blue, (300, 900, 3)).copy(), UM).mean() == 0


@pytest.mark.realdata
def test_real_tiles_and_pen_marks(shared_data: Path) -> None:
    """Shares of tissue, as a person sees them in these pictures; a pixel is taken to be 2 um."""
    folder = shared_data / "path_wsi_small"
    if not folder.is_dir():
        pytest.skip(f"the small whole-slide set is not at {folder}")

    def share(name: str, um: float = 2.0) -> float:
        return float(tissue_mask(cv2.imread(str(folder / name))[..., ::-1].copy(), um).mean())

    for name in ("almost-white-1", "no-tissue", "no-tissue-line", "no-tissue-green-pen"):
        assert share(f"tiles/{name}.png") < 0.01, name
    assert share("tiles/no-tissue-red-pen.png") < 0.3
    assert share("tiles/high-nuclei-score-level2.png") == pytest.approx(0.14, abs=0.05)
    assert share("tiles/medium-nuclei-score-green-pen-level1.png") == pytest.approx(0.38, abs=0.08)
    assert share("pil-images-rgb/tcga-lung-rgb.png", 0.5) > 0.95
    assert share("pil-images-rgb/tcga-green-pen.png", 4) == pytest.approx(0.78, abs=0.08)
    assert share("pil-images-rgb/tcga-red-pen.png", 4) == pytest.approx(0.56, abs=0.08)
    assert share("pil-images-rgb/wsi-blue-pen.png", 50) == pytest.approx(0.24, abs=0.05)
