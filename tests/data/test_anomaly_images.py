"""Pairs for training and labelled images for evaluation: what a loader gives, and how masks follow the image."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medkit.data.anomaly_images import AnomalyImages, AnomalyPairs, draw_mask
from medkit.data.transforms import SquareResize
from medkit.errors import ConfigError, DatasetError
from tests.anomaly_set import write_anomaly

LOAD = [dict(type="medkit.LoadMedicalImage"), dict(type="medkit.SquareResize", size=32)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anomaly(tmp_path_factory.mktemp("set"), size=64, num=8)


def test_pairs_show_every_image_and_no_label(root: Path) -> None:
    pairs = AnomalyPairs(str(root), pipeline=LOAD)
    infos = [pairs.get_data_info(i) for i in range(len(pairs))]
    assert len(pairs) == 16
    for role in ("healthy", "mixed"):
        names = [Path(info[role]).name for info in infos]
        assert len(set(names)) == 8 and all(name.startswith(role) for name in names) and names[:8] == names[8:]
    sample = pairs[3]
    assert sample.keys() == {"inputs"} and sample["inputs"].keys() == {"healthy", "mixed"}
    assert all(image.shape == (3, 32, 32) and image.dtype == torch.uint8 for image in sample["inputs"].values())


def test_healthy_only_shows_each_image_once(root: Path) -> None:
    pairs = AnomalyPairs(str(root), mixed=False, pipeline=LOAD)
    assert len(pairs) == 8 and pairs[0]["inputs"].keys() == {"healthy"}
    assert len({pairs.get_data_info(i)["healthy"] for i in range(8)}) == 8


def test_flips_are_drawn_for_each_image(root: Path) -> None:
    flip = dict(type="mmpretrain.RandomFlip", prob=0.5, direction="horizontal")
    plain, flipped = (AnomalyPairs(str(root), pipeline=pipeline) for pipeline in (LOAD, [*LOAD, flip]))
    np.random.seed(0)
    kinds = set()
    for number in range(16):
        a, b = plain[number]["inputs"], flipped[number]["inputs"]
        kinds.add(tuple(not torch.equal(a[role], b[role]) for role in ("healthy", "mixed")))
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


def test_deep_grey_files_become_eight_bit_colour(tmp_path: Path) -> None:
    root = write_anomaly(tmp_path, size=32, num=4)
    for path in (root / "images").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 16)
    image = AnomalyPairs(str(root), pipeline=LOAD)[0]["inputs"]["healthy"]
    assert image.shape == (3, 32, 32) and image.max() == 255 and torch.equal(image[0], image[2])


def test_images_to_score(root: Path) -> None:
    images = AnomalyImages(str(root), roles=("test", "healthy"), limit={"healthy": 3}, pipeline=LOAD)
    samples = [images[i]["data_samples"] for i in range(len(images))]
    assert [sample.gt_label for sample in samples] == [1, 0, 1, 0, 0, 0, 0]  # the kinds take turns
    assert [sample.role for sample in samples] == ["test"] * 4 + ["healthy"] * 3
    assert all(sample.gt_mask.shape == (32, 32) for sample in samples)
    assert [bool(sample.gt_mask.any()) for sample in samples] == [bool(sample.gt_label) for sample in samples]
    assert {sample.patient_id for sample in samples[:4]} == {"test0", "test1"}


def test_first_two_hold_both_kinds_however_few_one_is(tmp_path: Path) -> None:
    root = write_anomaly(tmp_path, size=32, num=40)
    table = (root / "anomaly.csv").read_text().splitlines()
    rare = [line for line in table if ",test,0," not in line or line.startswith(("test_018", "test_019"))]
    (root / "anomaly.csv").write_text("\n".join(rare))
    images = AnomalyImages(str(root), roles=("test", "mixed"), limit={"mixed": 20}, pipeline=LOAD)
    labels = [images.get_data_info(i)["gt_label"] for i in range(len(images))]
    assert labels[:5] in ([1, 0, 1, 0, 1], [0, 1, 0, 1, 1]) and sum(labels[:12]) == 10
    assert sum(labels[12:]) == 10  # a limit leaves the contamination of mixed as it is


def test_mask_covers_the_bright_blob(root: Path) -> None:
    images = AnomalyImages(str(root), pipeline=LOAD)
    item = images[0]
    inside = item["data_samples"].gt_mask.astype(bool)
    values = item["inputs"][0].numpy().astype(float)
    assert values[inside].mean() > values[~inside].mean() + 60


def test_masks_follow_crops(tmp_path: Path) -> None:
    mask = np.zeros((100, 60), np.uint8)
    mask[50:80, 30:60] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    results = SquareResize(20, drop_top=0.2, crop=True)({"img": np.dstack([mask] * 3)})
    assert np.allclose(results["view"], (0, 0.3, 1, 0.9))
    info = {"mask_path": str(tmp_path / "mask.png"), "boxes": None, "gt_label": 1, "has_masks": True}
    found = draw_mask(info, (20, 20), results["view"])
    boxed = draw_mask(info | {"mask_path": None, "boxes": np.float32([[0.5, 0.5, 1, 0.8]])}, (20, 20), results["view"])
    assert np.array_equal(found, results["img"][..., 0] > 127)
    # Rows 50 to 80 of 30 to 90 are 6.67 to 16.67 of 20; a box takes the pixels that it touches.
    assert boxed[6:17, 10:].all() and boxed.sum() == 11 * 10


def test_anomaly_without_outline_has_no_mask(root: Path) -> None:
    info = {"mask_path": None, "boxes": None, "gt_label": 1, "has_masks": True}
    assert draw_mask(info, (8, 8)) is None
    assert draw_mask(info | {"gt_label": 0}, (8, 8)).sum() == 0
    assert draw_mask(info | {"gt_label": 0, "has_masks": False}, (8, 8)) is None


def test_faults(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known are mixed, healthy, val, test"):
        AnomalyImages(str(root), roles=("train",))
    with pytest.raises(ConfigError, match="pipeline made no image"):
        AnomalyPairs(str(root))[0]
    alone = tmp_path / "alone" / "healthy"
    alone.mkdir(parents=True)
    cv2.imwrite(str(alone / "a.png"), np.arange(64, dtype=np.uint8).reshape(8, 8))
    with pytest.raises(DatasetError, match="no image of role mixed"):
        AnomalyPairs(str(alone.parent))
    with pytest.raises(DatasetError, match="no image of role test"):
        AnomalyImages(str(alone.parent))
    assert len(AnomalyPairs(str(alone.parent), mixed=False)) == 1
    with pytest.raises(ConfigError, match="drop_top=1"):
        SquareResize(8, drop_top=1)
