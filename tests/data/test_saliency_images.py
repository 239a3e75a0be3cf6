"""Images with saliency maps: what is listed, and what is refused before training."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from medkit.data import SaliencyImages
from medkit.errors import DatasetError
from tests.graded import write_graded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_graded(tmp_path / "set", size=32, num=12)


def test_lists_training_images_with_their_maps(root: Path) -> None:
    dataset = SaliencyImages("labels.csv", data_root=str(root))
    assert len(dataset) == 6
    assert dataset[0]["img_path"] == str(root / "images/p000_L.jpg")
    assert dataset[0]["map_path"] == str(root / "saliency/p000_L.png")


def test_sub_folders(root: Path) -> None:
    for folder in ("images", "saliency"):
        (root / folder / "a").mkdir()
        for path in (root / folder).glob("p000_L.*"):
            path.rename(path.parent / "a" / path.name)
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("p000_L.jpg", "a/p000_L.jpg"))
    assert SaliencyImages("labels.csv", data_root=str(root))[0]["map_path"] == str(root / "saliency/a/p000_L.png")


def test_missing_maps_are_counted_with_the_command(root: Path) -> None:
    for name in ("p001_L", "p002_R"):
        (root / f"saliency/{name}.png").unlink()
    with pytest.raises(DatasetError, match=r"2 of 6 images .*p001_L\.jpg.*data_prep saliency .*set --circle --overw"):
        SaliencyImages("labels.csv", data_root=str(root))


def test_a_map_of_another_size_is_named(root: Path) -> None:
    cv2.imwrite(str(root / "saliency/p001_L.png"), np.zeros((32, 31), np.uint8))
    with pytest.raises(DatasetError, match=r"1 of 6 .*p001_L\.png is 31 x 32, .* is 32 x 32.*data_prep saliency"):
        SaliencyImages("labels.csv", data_root=str(root))


def test_a_map_that_is_no_image_is_named(root: Path) -> None:
    (root / "saliency/p001_L.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"p001_L\.png is no readable image"):
        SaliencyImages("labels.csv", data_root=str(root))


def test_a_set_without_maps_needs_no_overwrite(tmp_path: Path) -> None:
    root = write_graded(tmp_path, size=32, num=4, saliency=False)
    with pytest.raises(DatasetError, match=r"2 of 2 images .*--circle`$"):
        SaliencyImages("labels.csv", data_root=str(root))
