"""Images without labels, for self-supervision: the training images of a prepared or graded set, or any folder.

Command: ``python tools/train.py configs/simsiam_liver.py``.
"""

import csv
from pathlib import Path

from mmengine.dataset import BaseDataset

from medkit.data.lesion_dataset import read_coco
from medkit.errors import DatasetError
from medkit.registry import DATASETS

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@DATASETS.register_module()
class UnlabelledImages(BaseDataset):
    """The images that an annotation file lists, labels unread; or all images of a folder, however deep.

    Samples are ``dict(img_path, img_id)``. Held-out images never enter pre-training: where one of the
    ``held_out`` files exists and holds out an image of this data set, construction fails.

    Args:
        ann_file: file under ``data_root``: COCO, or the ``labels.csv`` of ``python -m data_prep fundus``, of which the
            rows of split train are taken, graded or not; empty: every image below ``data_prefix['img']`` is taken.
        data_root: folder of the prepared set.
        data_prefix: ``dict(img='images/')``, the folder of the images under ``data_root``.
        held_out: files under ``data_root`` whose images must not be used: all of a COCO file, the rows of
            another split than train of a csv.
        kwargs: as for `mmengine.dataset.BaseDataset` (``pipeline``, ``indices``, ...).

    Raises:
        DatasetError: file or folder missing, no image found, or a held-out image among them.
    """

    def __init__(
        self,
        ann_file: str = "",
        *,
        data_root: str = "",
        data_prefix: dict | None = None,
        held_out: tuple[str, ...] = ("annotations/val.json", "annotations/test.json", "labels.csv"),
        **kwargs,
    ) -> None:
        self.held_out = tuple(held_out)
        super().__init__(
            ann_file=ann_file, data_root=data_root, data_prefix=data_prefix or {"img": "images/"}, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """List the images, sorted by name so that the order does not depend on the file system."""
        folder = Path(self.data_prefix["img"])
        if not folder.is_dir():
            raise DatasetError(
                f"image folder {folder} does not exist; run `python -m data_prep EXPORT OUT` and give OUT "
                "with --data-root (or set data_root and data_prefix in the config)"
            )
        if self.ann_file:
            names = [image["file_name"] for image in read_listing(self.ann_file)["images"]]
        else:
            files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            names = [path.relative_to(folder).as_posix() for path in files]
        if not names:
            raise DatasetError(
                f"no image in {self.ann_file or folder}; self-supervision needs some hundred at least"
            )
        self._refuse_held_out(set(names))
        return [{"img_path": str(folder / name), "img_id": index} for index, name in enumerate(sorted(names))]

    def _refuse_held_out(self, names: set[str]) -> None:
        for file in self.held_out:
            path = Path(self.data_root, file)
            if not path.is_file():
                continue
            shared = names.intersection(image["file_name"] for image in read_listing(path, held_out=True)["images"])
            if shared:
                raise DatasetError(
                    f"{len(shared)} of {len(names)} unlabelled images are held out by {path} "
                    f"(first: {min(shared)}); pre-train on ann_file='annotations/train.json' or 'labels.csv', "
                    "or split the set again with data_prep"
                )


def read_listing(path: str | Path, held_out: bool = False) -> dict:
    """Content of an annotation file in COCO's terms: ``images`` with ``file_name`` and, where known, ``patient_id``.

    Args:
        path: COCO file, or a csv with the columns image and split (and patient).
        held_out: of a csv, the rows of other splits in place of those of train.

    Raises:
        DatasetError: file missing or unreadable, a column missing, or a patient both in train and held out.
    """
    path = Path(path)
    if path.suffix != ".csv":
        return read_coco(path)
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; write it with `python -m data_prep fundus EXPORT {path.parent}`")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"image", "split"} <= rows[0].keys():
        raise DatasetError(f"{path} has the columns {list(rows[0]) if rows else []}; image and split are needed")
    _check_patients(rows, path)
    images = [
        {"file_name": row["image"], "patient_id": row.get("patient") or None}
        for row in rows
        if (row["split"] != "train") == held_out
    ]
    return {"images": images, "annotations": [], "categories": []}


def _check_patients(rows: list[dict[str, str]], path: Path) -> None:
    train, others = ({r["patient"] for r in rows if r.get("patient") and (r["split"] == "train") == t} for t in (1, 0))
    if train & others:
        raise DatasetError(
            f"{len(train & others)} patients of {path} are in train and in another split "
            f"(first: {min(train & others)}); split by patient with data_prep"
        )
