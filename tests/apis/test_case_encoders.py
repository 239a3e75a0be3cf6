"""Encoders of images and volumes: the cases of each kind of folder, codes, fingerprints, pictures."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medkit.apis.case_encoders import EncoderSettings, open_encoder
from medkit.apis.cases import Case
from medkit.data.case_table import cut_lesions, read_case_table, square_about
from medkit.errors import ConfigError, DatasetError, WeightsError
from tests.case_configs import IMAGES, VOLUMES
from tests.graded import write_graded
from tests.prepared import write_prepared
from tests.volume_set import write_volume, write_volumes


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("configs")
    for name, text in (("images", IMAGES), ("volumes", VOLUMES)):
        (folder / f"{name}.py").write_text(text)
    return {name: str(folder / f"{name}.py") for name in ("images", "volumes")}


def test_cases_of_each_kind_of_image_folder(tmp_path: Path, configs) -> None:
    encoder = open_encoder(EncoderSettings(configs["images"]))
    coco, graded = write_prepared(tmp_path / "coco", ("benign", "malignant")), write_graded(tmp_path / "g", 32, 8)
    cases = encoder.cases(coco)
    assert len(cases) == 18 and cases[1].case_id == "train_1.png" and cases[1].label == "malignant"
    assert cases[1].subject == "train1" and Path(cases[1].path).is_file()
    assert [case.case_id for case in encoder.cases(coco, ["test"])] == [f"test_{i}.png" for i in range(6)]
    eyes = encoder.cases(graded)
    assert {case.subject for case in eyes} == {f"p{i:03d}" for i in range(4)} and eyes[3].label == "3"
    assert encoder.cases(coco / "images")[0] == Case("test_0.png", path=str((coco / "images/test_0.png").resolve()))
    assert encoder.cases(coco / "images/test_0.png")[0].case_id == "test_0.png"
    codes = encoder.encode(eyes)
    assert codes.shape == (8, 32) and codes.dtype == np.float32
    np.testing.assert_allclose(encoder.encode(eyes[2:3]), codes[2:3], rtol=1e-4, atol=1e-6)
    (view,) = encoder.views(eyes[0])
    assert view.shape == (32, 32, 3) and view.dtype == np.uint8 and view[..., 0].mean() > view[..., 2].mean()  # RGB
    with pytest.raises(DatasetError, match=r"no image of the splits \['other'\]"):
        encoder.cases(coco, ["other"])
    with pytest.raises(DatasetError, match="does not exist; give an image"):
        encoder.cases(tmp_path / "nowhere")


def test_fingerprint_follows_what_codes_depend_on(tmp_path: Path, configs) -> None:
    def of(**changes):
        return open_encoder(EncoderSettings(configs["images"], **changes)).fingerprint

    first = of()
    assert first == of() and first.model == "ResNet"
    assert of(seed=1).weights != first.weights and of(seed=1).preprocessing == first.preprocessing
    changed = (of(img_size=64), of(cfg_options={"model.backbone.strides": [1, 2, 2, 1]}),
               of(cfg_options={"model.data_preprocessor.mean": [0.0, 0, 0]}))  # fmt: skip
    assert all(one.weights == first.weights and one.preprocessing != first.preprocessing for one in changed)
    assert of(cfg_options={"model.backbone.init_cfg": None}).preprocessing == first.preprocessing
    (tmp_path / "sizeless.py").write_text(IMAGES.replace("img_size = 32", ""))
    with pytest.raises(ConfigError, match=r"img_size is None in .*sizeless\.py"):
        open_encoder(EncoderSettings(str(tmp_path / "sizeless.py")))


def test_lesions_are_cut_out_square(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "set", ("benign", "malignant"), num_images=3)
    rows = read_case_table(cut_lesions(root, tmp_path / "out"))
    assert [(row["label"], row["split"], row["subject"]) for row in rows[:2]] == [
        ("benign", "train", "train0"), ("malignant", "train", "train1")]  # fmt: skip
    assert len(rows) == 6
    for row in rows:
        picture = cv2.imread(str(tmp_path / "out" / row["image"]), cv2.IMREAD_UNCHANGED)
        assert picture.shape[0] == picture.shape[1] and picture[picture.shape[0] // 2, picture.shape[1] // 2] >= 120
    image = np.arange(20 * 30).reshape(20, 30)
    np.testing.assert_array_equal(square_about(image, [10, 6, 4, 2], 0.5), image[3:11, 8:16])
    np.testing.assert_array_equal(square_about(image, [0, 0, 4, 4], 0.5), image[:8, :8])  # moved into the image
    np.testing.assert_array_equal(square_about(image, [2, 0, 26, 18], 0.5), image[:, 5:25])  # no larger than it


def test_faults_of_a_case_table_are_named(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    for rows, message in (
        ([["file"], ["a.png"]], "no column image"),
        ([["image"]], "lists no image"),
        ([["image", "label"], ["a.png", "x"], ["", "y"]], "line '3': it names no image"),
        ([["image"], ["a.png"], ["a.png"]], "'a.png': it is listed twice"),
        ([["image"], ["b.png"]], "'b.png': the file does not exist"),
        ([["image", "split"], ["a.png", "training"]], "split 'training': expected one of train"),
    ):
        with table.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(DatasetError, match=message):
            read_case_table(table)
    table.write_text("image\na.png\n")
    assert read_case_table(table) == [{"image": "a.png", "subject": "", "label": "", "visit": "", "split": ""}]


def test_volumes_are_encoded_as_the_data_set_prepares_them(tmp_path: Path, configs) -> None:
    root = write_volumes(tmp_path / "brains", subjects=3)
    encoder = open_encoder(EncoderSettings(configs["volumes"]))
    assert encoder.metric == "l2" and encoder.fingerprint.model == "ConvAutoencoder3D"
    cases = encoder.cases(root)
    case = next(one for one in cases if one.case_id == "images/sub-01_visit-2.nii.gz")
    assert (case.subject, case.label, case.visit) == ("sub-01", "patient", "2") and len(cases) == 6
    assert {one.subject for one in encoder.cases(root, ["test"])} == {"sub-01", "sub-02"}
    codes = encoder.encode(cases)
    assert codes.shape == (6, 4 * 8 * 4)
    alone = open_encoder(EncoderSettings(configs["volumes"]))  # reads the file, not the cache
    (single,) = alone.cases(case.path)
    np.testing.assert_allclose(alone.encode([single])[0], codes[cases.index(case)], rtol=0, atol=1e-6)
    views = encoder.views(case)
    assert [view.shape for view in views] == [(32, 16), (16, 16), (16, 32)] and views[0].dtype == np.uint8


def test_volume_weights_and_recipe_are_in_the_fingerprint(tmp_path: Path, configs) -> None:
    def of(**changes):
        return open_encoder(EncoderSettings(configs["volumes"], **changes))

    first = of()
    assert of().fingerprint == first.fingerprint and of(seed=1).fingerprint.weights != first.fingerprint.weights
    larger = of(cfg_options={"target_size": (32, 32, 32)}).fingerprint
    assert larger.weights == first.fingerprint.weights and larger.preprocessing != first.fingerprint.preprocessing
    torch.save({"state_dict": of(seed=1)._model.state_dict()}, tmp_path / "a.pth")
    assert of(checkpoint=str(tmp_path / "a.pth")).fingerprint == of(seed=1).fingerprint
    with pytest.raises(WeightsError, match="does not fit"):
        of(checkpoint=str(tmp_path / "a.pth"), cfg_options={"model.channels": (4, 4)})
    with pytest.raises(ConfigError, match="reads no medkit"):
        of(cfg_options={"train_dataloader.dataset.type": "medkit.UnlabelledImages"})


def test_bad_volumes_are_named(tmp_path: Path, configs) -> None:
    encoder = open_encoder(EncoderSettings(configs["volumes"]))
    volume = np.random.default_rng(0).uniform(1, 2, (16, 32, 16)).astype(np.float32)
    volume[3, 3, 3] = np.nan
    for name, content, message in (
        ("nan", volume, "1 of 8192 voxels are NaN"),
        ("flat", np.ones((16, 32, 16), np.float32), "all voxels are 1"),
        ("time", np.ones((8, 8, 8, 5), np.float32), "4-D shape"),
    ):
        path = write_volume(tmp_path / f"{name}.nii.gz", content)
        with pytest.raises(DatasetError, match=f"{name}.nii.gz.*{message}"):
            encoder.encode(encoder.cases(path))
    with pytest.raises(DatasetError, match="has no volume of the splits"):
        encoder.cases(write_volumes(tmp_path / "brains", subjects=2), ["val"])
