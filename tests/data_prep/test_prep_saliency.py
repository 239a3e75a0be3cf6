"""Saliency maps: equal to OpenCV-contrib's, scaled with the image, added to a prepared set."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.saliency import circle_mask, fine_grained, frame_saliency, fundus_saliency, raise_contrast
from tests.graded import draw_fundus, write_graded
from tests.prepared import write_prepared


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden_dir / "ssit_saliency_map.npz"))


def test_fine_grained_equals_opencv_contrib(golden: dict) -> None:
    assert np.array_equal(fine_grained(golden["processed_bgr_after_jpeg"]), golden["saliency_u8_before_circle"])


def test_contrast_step_equals_the_published_one_but_for_jpeg(golden: dict) -> None:
    ours, theirs = raise_contrast(golden["image_bgr"]).astype(int), golden["processed_bgr_after_jpeg"].astype(int)
    assert np.abs(ours - theirs).max() <= 3


def test_circle_leaves_what_the_loader_gets(golden: dict) -> None:
    found = np.where(circle_mask((512, 512), 240), fine_grained(golden["processed_bgr_after_jpeg"]), 0)
    assert np.array_equal(found, golden["saliency_u8_as_loaded"])


def test_half_the_size_is_nearly_the_same_map() -> None:
    image, _ = draw_fundus(np.random.default_rng(0), 512, spots=6)
    large = cv2.resize(fundus_saliency(image), (256, 256), interpolation=cv2.INTER_AREA)
    small = fundus_saliency(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA))
    assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.85


def test_map_marks_the_spot_and_nothing_outside_the_circle() -> None:
    image = np.full((256, 256, 3), 90, np.uint8)
    cv2.circle(image, (90, 130), 8, (200, 200, 200), -1)
    cv2.rectangle(image, (0, 0), (12, 12), (255, 255, 255), -1)  # a corner that would outshine it
    found = fundus_saliency(image)
    assert found[130, 90] > 127 and not found[~circle_mask(found.shape, 240)].any()
    assert frame_saliency(image)[6, 6] > 127  # without the circle it does


@pytest.mark.parametrize("level", [0, 255])
def test_flat_image_has_an_empty_map(level: int) -> None:
    assert not fine_grained(np.full((40, 60), level, np.uint8)).any()


def test_odd_shapes_and_grey() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (33, 70)).astype(np.uint8)
    assert fine_grained(grey).shape == grey.shape
    assert np.array_equal(fine_grained(grey), fine_grained(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)))


def prepared(root: Path) -> Path:
    write_prepared(root, num_images=2)
    (root / "summary.json").write_text("{}")
    return root


def test_command_adds_maps_of_the_same_size(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = prepared(tmp_path / "set")
    assert main(["saliency", str(root), "--jobs", "1", "--quiet"]) == 0
    assert "6 maps in" in capsys.readouterr().out
    for image in (root / "images").iterdir():
        found = cv2.imread(str(root / "saliency" / f"{image.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, fine_grained(cv2.imread(str(image))))
    assert main(["saliency", str(root), "--jobs", "1"]) == 2  # they are there already
    assert "--overwrite" in capsys.readouterr().err
    assert main(["saliency", str(root), "--jobs", "1", "--overwrite", "--circle", "--quiet"]) == 0
    assert json.loads((root / "saliency/summary.json").read_text())["circle"] is True


def test_command_refuses_what_it_cannot_map(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["saliency", str(write_graded(tmp_path / "raw", num=2))]) == 2
    assert "has no summary.json" in capsys.readouterr().err
    root = prepared(tmp_path / "set")
    (root / "images/train_0.png").write_bytes(b"no image")
    assert main(["saliency", str(root), "--jobs", "1", "--quiet"]) == 2
    assert "1 of 6 images cannot be read (first: train_0.png" in capsys.readouterr().err
    assert not (root / "saliency").exists()
    (root / "images/train_1.jpg").write_bytes((root / "images/train_1.png").read_bytes())
    assert main(["saliency", str(root), "--jobs", "1", "--quiet"]) == 2
    assert "would share the map train_1.png" in capsys.readouterr().err
