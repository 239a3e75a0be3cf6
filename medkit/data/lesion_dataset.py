"""COCO lesion data set: mmdet's `CocoDataset`, without the traps that give a silent mAP of 0.

Used by the configs of configs/; `python -m data_prep EXPORT OUT` writes what it reads.
"""

import json
from pathlib import Path

from mmdet.datasets import CocoDataset

from medkit.errors import DatasetError
from medkit.registry import DATASETS


@DATASETS.register_module()
class LesionDataset(CocoDataset):
    """Lesion boxes of a COCO file. Images without a lesion are kept: they are the negatives.

    Differs from mmdet's in that a label index follows the order of ``metainfo['classes']``, not that of the file's
    categories; that a class or category without its counterpart is an error instead of an empty result; and that
    categories can be merged.

    Args:
        class_map: name in the file -> name in ``metainfo['classes']`` (``dict(cyst='lesion', HCC='lesion')``), or one
            name that all categories become. Default: names are used as they are.
        kwargs: as for `mmdet.CocoDataset` (``ann_file``, ``data_root``, ``data_prefix``, ``metainfo``, ``pipeline``).

    Raises:
        DatasetError: file missing or not COCO, or its categories do not fit the classes.
    """

    def __init__(self, *args, class_map: dict[str, str] | str | None = None, **kwargs) -> None:
        self.class_map = class_map
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file, with categories renamed and ordered by `map_categories`."""
        content = read_coco(self.ann_file)
        label_of = map_categories(content, self.metainfo["classes"], self.class_map, self.ann_file)
        self.cat_ids, self.cat2label = list(label_of), label_of
        annotations: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        # mmdet's filter_data asks which images hold which category.
        self.cat_img_map = {
            cat: [a["image_id"] for a in content["annotations"] if a["category_id"] == cat] for cat in label_of
        }
        data_list = []
        for image in sorted(content["images"], key=lambda item: item["id"]):
            info = {**image, "img_id": image["id"]}
            data = self.parse_data_info({"raw_img_info": info, "raw_ann_info": annotations[image["id"]]})
            data["patient_id"] = image.get("patient_id")
            data_list.append(data)
        return data_list


def read_coco(ann_file: str | Path) -> dict:
    """Content of a COCO detection file; `DatasetError` when it is missing or is none."""
    path = Path(ann_file)
    if not path.is_file():
        raise DatasetError(
            f"annotation file {path} does not exist; write it with `python -m data_prep EXPORT OUT` and name OUT with "
            "--data-root (`data_root` in the config)"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"annotation file {path} is not JSON ({error}); write it again with data_prep") from error
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise DatasetError(f"annotation file {path} is not COCO: it lacks {sorted(missing)}")
    return content


def map_categories(
    content: dict, classes: tuple[str, ...], class_map: dict[str, str] | str | None, ann_file: str | Path
) -> dict[int, int]:
    """Category id of the file -> label index in ``classes``.

    Raises:
        DatasetError: a category has no class, or a class no category.
    """
    names = {category["id"]: category["name"] for category in content["categories"]}
    if isinstance(class_map, str):
        class_map = dict.fromkeys(names.values(), class_map)
    target = {cat: (class_map or {}).get(name, name) for cat, name in names.items()}
    if set(target.values()) != set(classes):
        raise DatasetError(
            f"{ann_file} names the categories {tuple(names.values())}, which become "
            f"{tuple(sorted(set(target.values())))}, but metainfo.classes is {tuple(classes)}; set `classes` (and "
            "`num_classes`) in the config to the names of the file, or give `class_map`"
        )
    return {cat: list(classes).index(name) for cat, name in target.items()}
