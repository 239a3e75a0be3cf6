"""Studies of several images under one label, for training end to end: tiles of a slide, slices of a CT.

The way of the Kaggle challenges PANDA (2020) and RSNA 2022 (cervical spine). docs/image_bags.md describes the files.
Command: ``python tools/train.py configs/concat_tile_images.py --data-root DIR``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset

from medkit.data.bag_table import BagTable, OfBags, choose_bags, read_bag_table
from medkit.data.refusal import refuse
from medkit.data.replay import replayed, replays
from medkit.data.study_images import (
    TABLE,
    StudyImages,
    images_of_folders,
    read_image_table,
    read_weights,
    refuse_bad_images,
    refuse_shared,
)
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

PICKS = ("even", "random")


@DATASETS.register_module()
class ImageBagDataset(OfBags, Dataset):
    """Studies as ``dict(inputs=(N, 3, H, W) uint8, data_samples=DataSample)``; N differs from study to study.

    ``bags.csv`` names the studies, as for `medkit.BagDataset`; ``images.csv`` their images, or, where there is none,
    the folder ``images/SLIDE_ID/`` of each, or the one that the column ``file`` of bags.csv names. Before anything is
    trained each file is looked at: missing, empty, or of no known format is an error.

    A sample carries ``gt_label``, ``slide_id``, ``case_id``, ``img_paths``; ``weight`` where bags.csv has that column;
    ``instance_labels`` (N, C), 1, 0, or -1 where unknown, where images.csv has C columns of labels.

    Args:
        data_root: the folder.
        split: train, val or test; None: all.
        pipeline: transforms of one image up to ``img`` (H, W, 3), without packing.
        same_augmentation: every image of a study with the same random numbers, as neighbouring slices need; otherwise
            each has its own, as tiles may.
        max_images: at most so many of a study; None: all.
        pick: which ones: ``even``, spread evenly over the order, or ``random``, drawn anew each time, in their order.
        test_mode: always ``even``.
        cases: keep the studies of these patients alone, whatever their split (cross-validation).
        num_classes: classes that the model has; 0: any number. With more, each needs a study.
        check_images: look at the first bytes of every file.
        table: as the next ones, see `read_bag_table`.
        split_file: see `read_bag_table`.
        classes: see `read_bag_table`.
        fractions: see `read_bag_table`.
        seed: see `read_bag_table`.
        indices: at most so many studies, of the classes in turn (quick mode).

    Raises:
        ConfigError: an unknown split or ``pick``; a transform that cannot be repeated for ``same_augmentation``.
        DatasetError: as `read_bag_table` and `choose_bags`; a study without images; a file that cannot be an image.
    """

    def __init__(
        self,
        data_root: str = "",
        *,
        split: str | None = None,
        pipeline: Sequence[dict] = (),
        same_augmentation: bool = False,
        max_images: int | None = None,
        pick: str = "even",
        test_mode: bool = False,
        cases: Sequence[str] | None = None,
        num_classes: int = 0,
        check_images: bool = True,
        table: str | None = None,
        split_file: str | None = None,
        classes: Sequence[str] | None = None,
        fractions: Sequence[float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        indices: int | None = None,
    ) -> None:
        if pick not in PICKS or (max_images is not None and max_images < 1):
            raise ConfigError(f"pick={pick!r}, max_images={max_images}; expected {' or '.join(PICKS)}, 1 or more")
        self.same_augmentation, self.max_images = same_augmentation, max_images
        self.pick = "even" if test_mode else pick
        everything = read_bag_table(
            data_root,
            table=table,
            split_file=split_file,
            classes=classes,
            fractions=fractions,
            seed=seed,
            files=False,
        )
        self.studies = studies_of(everything)
        self.bags = choose_bags(everything, split, cases, num_classes, indices)
        self.weights = read_weights(Path(data_root, table or "bags.csv"))
        if check_images:
            files = [str(file) for study in self.bags.ids for file in self.studies[study].files]
            refuse_bad_images(dict.fromkeys(files), cv2.haveImageReader)
        self.pipeline = Compose(list(pipeline))
        if same_augmentation:
            self._check_replay()
        self.metainfo = {"classes": self.bags.classes}
        counts = [len(self.studies[study]) for study in self.bags.ids]
        few, many = min(counts), max(counts)
        print_log(f"ImageBagDataset: {split or 'all'}: {self.bags}, {few} to {many} images each", logger="current")

    def __getitem__(self, index: int) -> dict:
        study = self.studies[self.bags.ids[index]]
        study = study.take(self.picked(len(study)))
        sample = DataSample().set_gt_label(int(self.bags.labels[index]))
        if study.labels is not None:
            sample.set_field(torch.from_numpy(study.labels), "instance_labels")
        name = str(self.bags.ids[index])
        if self.weights:
            sample.set_field(self.weights[name], "weight")
        sample.set_metainfo(dict(slide_id=name, case_id=str(self.bags.cases[index]), img_paths=study.files.tolist()))
        return {"inputs": self.images(study.files.tolist()), "data_samples": sample}

    def picked(self, count: int) -> np.ndarray:
        """Rising indices of the images taken of ``count``; random ones come from NumPy's global generator."""
        if self.max_images is None or count <= self.max_images:
            return np.arange(count)
        if self.pick == "random":
            return np.sort(np.random.permutation(count)[: self.max_images])
        return ((np.arange(self.max_images) + 0.5) * count / self.max_images).astype(int)  # middles of equal parts

    def images(self, files: Sequence[str]) -> Tensor:
        """(N, 3, H, W) uint8 of the pipeline.

        Raises:
            DatasetError: a file cannot be decoded, or the sizes differ.
        """
        items = [{"img_path": file} for file in files]
        done = replayed(self.pipeline, items) if self.same_augmentation else [self.pipeline(item) for item in items]
        images = [_image(one) for one in done]
        if wrong := [i for i, image in enumerate(images) if image.shape != images[0].shape]:
            raise DatasetError(
                f"{files[wrong[0]]} is {images[wrong[0]].shape} after the pipeline, {files[0]} {images[0].shape}; "
                "bring all images to one size: dict(type='mmpretrain.Resize', scale=(128, 128))"
            )
        return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())

    def _check_replay(self) -> None:
        if not replays(self.pipeline, {"img_path": str(self.studies[self.bags.ids[0]].files[0])}):
            raise ConfigError(
                "same_augmentation=True, but the pipeline gives two results for one state of the random generators of "
                "Python, NumPy and torch: a transform (of albumentations?) has a generator of its own; leave it out"
            )


def studies_of(bags: BagTable) -> dict[str, StudyImages]:
    """The images of each bag, from images.csv or from folders.

    Raises:
        DatasetError: a bag has none, or two splits share one; see `read_image_table`, `images_of_folders`.
    """
    root = Path(bags.root)
    if not (root / TABLE).is_file():
        named = dict(zip(bags.ids.tolist(), bags.files, strict=True))
        return images_of_folders({study: root / (file or f"images/{study}") for study, file in named.items()})
    found = read_image_table(root / TABLE)
    refuse(set(bags.ids.tolist()) - set(found), f"{root / TABLE} has no image of the study", "rows for it, or no label")
    refuse_shared(found, dict(zip(bags.ids.tolist(), bags.splits.tolist(), strict=True)))
    return found


def _image(result: dict) -> np.ndarray:
    image = result.get("img")
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8:
        got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else sorted(result)
        raise ConfigError(
            f"the pipeline of ImageBagDataset gave {got}; expected img (H, W, 3) uint8: load with "
            "medkit.LoadMedicalImage, leave PackInputs and normalisation out"
        )
    return image
