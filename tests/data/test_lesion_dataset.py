"""Label order, merged classes, negatives, and what wrong data says before training."""

import json
from pathlib import Path

import pytest

from medkit.apis.config import load_config
from medkit.data import LesionDataset
from medkit.data.checks import check_dataset
from medkit.errors import DatasetError

REPO = Path(__file__).resolve().parents[2]
NAMES = ("cyst", "HCC", "hemangioma", "metastasis")


def write_coco(path: Path, names=NAMES, images: int = 3, labelled: int = 2) -> Path:
    """``images`` images of 100 x 80, of which the first ``labelled`` hold a box of category 1 and one of category 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes = [(i, cat) for i in range(labelled) for cat in (1, 2)]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 100, "height": 80, "patient_id": f"p{i}"} for i in range(images)
        ],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
            for k, (i, c) in enumerate(boxes, 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
    }
    path.write_text(json.dumps(content))
    return path


def dataset(ann_file: Path, classes=NAMES, **kwargs) -> LesionDataset:
    return LesionDataset(
        ann_file=str(ann_file), metainfo=dict(classes=classes), data_prefix=dict(img=""), pipeline=[], **kwargs
    )


def labels(ds: LesionDataset) -> list[list[int]]:
    return [[i["bbox_label"] for i in ds.get_data_info(k)["instances"]] for k in range(len(ds))]


def test_labels_follow_classes_not_the_file(tmp_path: Path) -> None:
    ann = write_coco(tmp_path / "a.json", names=("HCC", "cyst", "metastasis", "hemangioma"))
    assert labels(dataset(ann)) == [[1, 0], [1, 0], []]  # HCC is class 1 although it is the file's first category


def test_empty_images_are_kept_and_patients_known(tmp_path: Path) -> None:
    ds = dataset(write_coco(tmp_path / "a.json"), filter_cfg=dict(filter_empty_gt=False))
    assert len(ds) == 3 and [ds.get_data_info(i)["patient_id"] for i in range(3)] == ["p0", "p1", "p2"]


def test_filter_empty_still_works(tmp_path: Path) -> None:
    assert len(dataset(write_coco(tmp_path / "a.json"), filter_cfg=dict(filter_empty_gt=True))) == 2


@pytest.mark.parametrize("class_map", ["lesion", dict.fromkeys(NAMES, "lesion")])
def test_classes_merge(tmp_path: Path, class_map) -> None:
    ds = dataset(write_coco(tmp_path / "a.json"), classes=("lesion",), class_map=class_map)
    assert labels(ds) == [[0, 0], [0, 0], []]


@pytest.mark.parametrize("classes", [("cyst", "HCC"), (*NAMES, "other"), ("Cyst", *NAMES[1:])])
def test_class_list_that_does_not_fit(tmp_path: Path, classes) -> None:
    with pytest.raises(DatasetError, match="names the categories"):
        dataset(write_coco(tmp_path / "a.json"), classes=classes)


@pytest.mark.parametrize("text, match", [("{", "not JSON"), ("[]", "not COCO"), ('{"images": []}', "lacks")])
def test_broken_annotation_file(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=match):
        dataset(tmp_path / "a.json")


def prepared(root: Path) -> Path:
    for split in ("train", "val", "test"):
        ann = write_coco(root / f"annotations/{split}.json")
        content = json.loads(ann.read_text())
        for image in content["images"]:
            image["file_name"] = f"{split}_{image['file_name']}"
            image["patient_id"] = f"{split}_{image['patient_id']}"
            (root / "images").mkdir(exist_ok=True)
            (root / "images" / image["file_name"]).touch()
        ann.write_text(json.dumps(content))
    return root


def problems(root: Path, **options) -> str:
    cfg = load_config(REPO / "configs/centernet_liver.py", data_root=root, cfg_options=options)
    return "\n".join(check_dataset(cfg))


def test_checks_pass_on_a_good_set(tmp_path: Path) -> None:
    assert problems(prepared(tmp_path)) == ""


def test_checks_name_each_trouble(tmp_path: Path) -> None:
    root = prepared(tmp_path)
    assert "does not exist" in problems(tmp_path / "nowhere")
    assert "num_classes is 80" in problems(root, **{"model.bbox_head.num_classes": 80})
    assert "names the categories" in problems(root, classes=("a", "b"))
    (root / "images/val_1.png").unlink()
    assert "1 of 3 images" in problems(root) and "val_1.png" in problems(root)


def test_checks_find_an_image_in_two_splits(tmp_path: Path) -> None:
    root = prepared(tmp_path)
    (root / "annotations/test.json").write_text((root / "annotations/train.json").read_text())
    assert "both train and test" in problems(root)


def test_checks_find_a_split_without_lesions(tmp_path: Path) -> None:
    root = prepared(tmp_path)
    path = root / "annotations/val.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    assert "val.json holds no lesion" in problems(root)


def test_checks_find_an_empty_split(tmp_path: Path) -> None:
    root = prepared(tmp_path)
    write_coco(root / "annotations/val.json", images=0, labelled=0)
    assert "lists no image" in problems(root)


def test_checks_find_a_patient_in_two_splits(tmp_path: Path) -> None:
    root = prepared(tmp_path)
    path = root / "annotations/test.json"
    content = json.loads(path.read_text())
    content["images"][0]["patient_id"] = "train_p1"
    path.write_text(json.dumps(content))
    content["info"] = {"options": {"leaky_random": False}}
    path.write_text(json.dumps(content))
    assert "1 patients are in both train and test (first: train_p1)" in problems(root)
    content["info"] = {"split_rule": "leaky random 0.8/0.1/0.1"}  # a split by image, made on purpose for comparison
    path.write_text(json.dumps(content))
    assert problems(root) == ""


@pytest.mark.parametrize(
    "change, match",
    [
        ({"bbox": [1.0, float("nan"), 5.0, 5.0]}, "have no bbox of four finite numbers"),
        ({"bbox": [1, 2, 3]}, "have no bbox of four finite numbers"),
        ({"image_id": 999}, "belong to no image"),
        ({"category_id": 999}, "have a category"),
    ],
)
def test_checks_find_a_spoilt_annotation(tmp_path: Path, change: dict, match: str) -> None:
    root = prepared(tmp_path)
    path = root / "annotations/train.json"
    content = json.loads(path.read_text())
    content["annotations"][0].update(change)
    path.write_text(json.dumps(content))
    assert f"1 annotations of {path} {match}" in problems(root)
