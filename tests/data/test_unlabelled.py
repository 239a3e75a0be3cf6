"""Unlabelled images: what is listed, what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from medkit.data import UnlabelledImages
from medkit.errors import DatasetError
from tests.graded import write_graded
from tests.prepared import write_prepared


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "set", num_images=3, size=(48, 40))


def names(dataset: UnlabelledImages) -> list[str]:
    return [Path(dataset[i]["img_path"]).name for i in range(len(dataset))]


def test_lists_training_images_only(root: Path) -> None:
    dataset = UnlabelledImages("annotations/train.json", data_root=str(root))
    assert names(dataset) == ["train_0.png", "train_1.png", "train_2.png"]
    assert set(dataset[0]) == {"img_path", "img_id", "sample_idx"}  # no label


def test_indices_take_the_first(root: Path) -> None:
    assert len(UnlabelledImages("annotations/train.json", data_root=str(root), indices=2)) == 2


def test_plain_folder_with_sub_folders(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export" / "a"
    folder.mkdir(parents=True)
    shutil.copy(root / "images/train_0.png", folder / "X.PNG")
    shutil.copy(root / "images/train_1.png", folder.parent / "y.png")
    (folder / "notes.txt").write_text("not an image")
    dataset = UnlabelledImages(data_root=str(folder.parent), data_prefix=dict(img=""))
    assert names(dataset) == ["X.PNG", "y.png"]


def test_refuses_the_whole_image_folder_of_a_prepared_set(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"3 of 9 .* held out by .*val\.json .*train\.json"):
        UnlabelledImages(data_root=str(root))


def test_refuses_a_test_image_in_train(root: Path) -> None:
    file = root / "annotations/train.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "test_1.png"
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"1 of 3 .*test\.json \(first: test_1\.png\)"):
        UnlabelledImages("annotations/train.json", data_root=str(root))


def test_says_what_is_missing(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"image folder .*nowhere.* does not exist; run"):
        UnlabelledImages("annotations/train.json", data_root=str(root / "nowhere"))
    with pytest.raises(DatasetError, match=r"absent\.json does not exist"):
        UnlabelledImages("annotations/absent.json", data_root=str(root))
    (root / "empty").mkdir()
    with pytest.raises(DatasetError, match="no image in"):
        UnlabelledImages(data_root=str(root), data_prefix=dict(img="empty/"))


def test_graded_folder_gives_its_training_rows_graded_or_not(tmp_path: Path) -> None:
    root = write_graded(tmp_path, size=32, num=16, saliency=False)
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("p000_L.jpg,p000,0,", "p000_L.jpg,p000,,"))
    dataset = UnlabelledImages("labels.csv", data_root=str(root))
    assert names(dataset) == [f"p{patient:03d}_{eye}.jpg" for patient in range(4) for eye in "LR"]
    with pytest.raises(DatasetError, match=r"8 of 16 unlabelled .* held out by .*labels\.csv \(first: p004_L"):
        UnlabelledImages(data_root=str(root))


def test_graded_folder_faults_are_named(tmp_path: Path) -> None:
    root = write_graded(tmp_path, size=32, num=16, saliency=False)
    table = root / "labels.csv"
    rows = table.read_text()
    table.write_text(rows.replace("p007_L.jpg,p007", "p007_L.jpg,p000"))
    with pytest.raises(DatasetError, match=r"1 patients of .*labels\.csv are in train and in another.*p000"):
        UnlabelledImages("labels.csv", data_root=str(root))
    table.write_text(rows.replace("image,patient,label,split", "image,patient,label,part"))
    with pytest.raises(DatasetError, match=r"has the columns .*'part'.*; image and split are needed"):
        UnlabelledImages("labels.csv", data_root=str(root))
    table.unlink()
    with pytest.raises(DatasetError, match=r"labels\.csv does not exist; write it with `python -m data_prep fundus"):
        UnlabelledImages("labels.csv", data_root=str(root))
