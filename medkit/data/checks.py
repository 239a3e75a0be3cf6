"""Checks of data against a config, before any training starts: each problem is one line that names its cure."""

import math
from itertools import combinations
from pathlib import Path

from mmengine.config import Config, ConfigDict

from medkit.data.lesion_dataset import map_categories
from medkit.data.unlabelled import read_listing
from medkit.errors import DatasetError, MedkitError


def dataset_configs(cfg: Config) -> dict[str, list[ConfigDict]]:
    """Leaf data sets per loader: ``{'train_dataloader': [dict(type=..., ann_file=...)], ...}``, wrappers removed."""

    def leaves(dataset: ConfigDict) -> list[ConfigDict]:
        inner = dataset.get("dataset") or dataset.get("datasets")
        if inner is None:
            return [dataset]
        return [leaf for item in (inner if isinstance(inner, list) else [inner]) for leaf in leaves(item)]

    names = ("train_dataloader", "val_dataloader", "test_dataloader")
    return {name: leaves(cfg[name].dataset) for name in names if cfg.get(name) is not None}


def check_dataset(cfg: Config, loaders: tuple[str, ...] = ("train", "val", "test")) -> list[str]:
    """Problems of the data sets that a config names, one line each; empty when all is well.

    Checked: annotation files exist and can be read, categories fit the classes, classes fit the head, no image
    file and no patient is in two splits, every image file exists, no split is empty. Sets not of `medkit.LesionDataset`
    or `medkit.UnlabelledImages` are left to their own class.
    """
    problems: list[str] = []
    found: dict[str, dict[str, set[str]]] = {"image files": {}, "patients": {}}
    for loader, datasets in dataset_configs(cfg).items():
        split = loader.removesuffix("_dataloader")
        if split not in loaders:
            continue
        for dataset in datasets:
            if str(dataset.type).startswith("medkit.") and dataset.get("ann_file"):
                try:
                    files, patients = _check_split(cfg, dataset, problems, needs_lesions=split != "train")
                    found["image files"].setdefault(split, set()).update(files)
                    found["patients"].setdefault(split, set()).update(patients)
                except MedkitError as error:
                    problems.append(str(error))
    for what, of_split in found.items():
        for a, b in combinations(of_split, 2):
            if shared := of_split[a] & of_split[b]:
                problems.append(
                    f"{len(shared)} {what} are in both {a} and {b} (first: {min(shared)}); split again with data_prep"
                )
    return list(dict.fromkeys(problems))


def num_images(datasets: list[ConfigDict]) -> int | None:
    """Images of the data sets together; None where a data set does not say how many it has."""
    total = 0
    for dataset in datasets:
        if not str(dataset.type).startswith("medkit.") or not dataset.get("ann_file"):
            return None
        count = len(read_listing(Path(dataset.get("data_root") or "") / dataset.ann_file)["images"])
        indices = dataset.get("indices")
        total += count if indices is None else min(count, indices if isinstance(indices, int) else len(indices))
    return total


def _check_split(
    cfg: Config, dataset: ConfigDict, problems: list[str], needs_lesions: bool
) -> tuple[set[str], set[str]]:
    root = Path(dataset.get("data_root") or "")
    if not root.is_dir():
        raise DatasetError(
            f"data set {root} does not exist; make it with `python -m data_prep EXPORT {root}`, or name another with "
            "--data-root (`data_root` in the config)"
        )
    ann_file = root / dataset.ann_file
    content = read_listing(ann_file)
    if dataset.type == "medkit.LesionDataset":
        classes = tuple(dataset.get("metainfo", {}).get("classes", ()))
        map_categories(content, classes, dataset.get("class_map"), ann_file)
        problems += _annotation_problems(content, ann_file)
        num_classes = cfg.model.get("bbox_head", {}).get("num_classes")
        if num_classes is not None and num_classes != len(classes):
            problems.append(
                f"metainfo.classes names {len(classes)} classes {classes} but model.bbox_head.num_classes is "
                f"{num_classes}; set num_classes={len(classes)} or pass other classes"
            )
    if not content["images"]:
        problems.append(f"{ann_file} lists no image; look at summary.txt of the prepared set for what was dropped")
    elif needs_lesions and not content["annotations"]:
        problems.append(f"{ann_file} holds no lesion, so nothing can be scored on it; split again with data_prep")
    folder = root / dataset.get("data_prefix", {}).get("img", "")
    files = {str(folder / image["file_name"]) for image in content["images"]}
    absent = sorted(file for file in files if not Path(file).is_file())
    if absent:
        problems.append(
            f"{len(absent)} of {len(files)} images of {ann_file} are not there (first: {absent[0]}); "
            "check data_root and data_prefix.img"
        )
    return files, _patients(content)


def _annotation_problems(content: dict, ann_file: Path) -> list[str]:
    """Annotations that would be dropped without a word, stop the loading, or turn the loss into NaN."""
    images, categories = ({item["id"] for item in content[kind]} for kind in ("images", "categories"))
    faults = {
        "belong to no image of the file": lambda a: a.get("image_id") not in images,
        "have a category that the file does not name": lambda a: a.get("category_id") not in categories,
        "have no bbox of four finite numbers x, y, w, h": lambda a: not _is_box(a.get("bbox")),
    }
    problems = []
    for what, wrong in faults.items():
        if found := [annotation.get("id") for annotation in content["annotations"] if wrong(annotation)]:
            problems.append(f"{len(found)} annotations of {ann_file} {what} (first: id {found[0]}): run data_prep")
    return problems


def _is_box(bbox: object) -> bool:
    if not isinstance(bbox, (list, tuple)) or len(bbox) != 4:
        return False
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in bbox)


def _patients(content: dict) -> set[str]:
    """Patients of a COCO file; none where it was split by image on purpose and says so."""
    if "leaky" in content.get("info", {}).get("split_rule", ""):
        return set()
    return {str(image["patient_id"]) for image in content["images"] if image.get("patient_id") is not None}
