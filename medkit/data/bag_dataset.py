"""Bags of features for the heads of medkit/models/mil: the tiles of a slide under one label.

Config: configs/_base_/datasets/bags.py; command: ``python tools/train.py configs/abmil_slides.py --data-root DIR``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from medkit.data.bag_files import Bag, BagShape, read_bag, read_shape
from medkit.data.bag_table import BagTable, OfBags, choose_bags, read_bag_table
from medkit.data.refusal import complaint, refuse_all
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

MIB = 2**20
SHOWN = 5  # files named at once


@DATASETS.register_module()
class BagDataset(OfBags, Dataset):
    """Bags as ``dict(inputs=dict(feats=(K, D), coords=(K, 2) float32 or None), data_samples=DataSample)``.

    Features stay float16 where they are stored so. A sample carries ``gt_label``, ``instance_labels`` (K,) where they
    are known, and ``slide_id``, ``case_id``. Before anything is trained every file of the table, of any split, is
    opened: truncated or empty ones, a width that the model does not have, and missing coordinates are named, all at
    once. A set that is small is then read, and kept.

    Args:
        data_root: a folder that `read_bag_table` reads.
        split: train, val or test; None: all.
        cases: keep the bags of these patients alone, whatever their split (cross-validation).
        in_channels: width that the model expects; None: any.
        needs_coords: the model cannot do without coordinates.
        coords_unit: of the coordinates: ``px`` of level 0, or ``tile``, sides of a tile, in which a distance means the
            same on slides of any scanner.
        num_classes: classes that the model has; 0: any number. With more, each needs a bag.
        max_instances: a bag that is longer gives so many of its instances, drawn anew each time; None: all.
        cache_mb: the bags are kept in memory where their features have at most so many MiB together.
        table: as the next ones, see `read_bag_table`.
        split_file: see `read_bag_table`.
        features: see `read_bag_table`.
        classes: see `read_bag_table`.
        incomplete: see `read_bag_table`.
        fractions: see `read_bag_table`.
        seed: see `read_bag_table`.
        indices: at most so many bags, of the classes in turn (quick mode).

    Raises:
        ConfigError: unknown split, ``max_instances`` below 1.
        DatasetError: as `read_bag_table`, `choose_bags` and `read_shape`.
    """

    def __init__(
        self,
        data_root: str = "",
        *,
        split: str | None = None,
        cases: Sequence[str] | None = None,
        in_channels: int | None = None,
        needs_coords: bool = False,
        coords_unit: str = "px",
        num_classes: int = 0,
        max_instances: int | None = None,
        cache_mb: float = 512,
        table: str | None = None,
        split_file: str | None = None,
        features: str | None = None,
        classes: Sequence[str] | None = None,
        incomplete: str = "refuse",
        fractions: Sequence[float] = (0.6, 0.2, 0.2),
        seed: int = 0,
        indices: int | None = None,
    ) -> None:
        if max_instances is not None and max_instances < 1:
            raise ConfigError(f"max_instances={max_instances}; expected 1 or more, or None for whole bags")
        if coords_unit not in ("px", "tile"):
            raise ConfigError(f"coords_unit={coords_unit!r}; expected 'px' or 'tile'")
        source: dict[str, Any] = dict(table=table, split_file=split_file, features=features, classes=classes)
        everything = read_bag_table(data_root, **source, incomplete=incomplete, fractions=fractions, seed=seed)
        shapes = check_files(everything, in_channels, needs_coords, needs_side=needs_coords and coords_unit == "tile")
        self.bags = choose_bags(everything, split, cases, num_classes, indices)
        self.max_instances, self.coords_unit = max_instances, coords_unit
        self.metainfo = {"classes": self.bags.classes}
        chosen = [shapes[file] for file in self.bags.files]
        total_mb = sum(shape.nbytes for shape in chosen) / MIB
        self._kept = [read_bag(file) for file in self.bags.files] if total_mb <= cache_mb else None
        sizes, kept = [shape.instances for shape in chosen], "" if self._kept is None else ", kept in memory"
        said = f"{self.bags}; {min(sizes)} to {max(sizes)} instances, {total_mb:.0f} MiB{kept}"
        print_log(f"BagDataset: {split or 'all'}: {said}", logger="current")

    def __getitem__(self, index: int) -> dict:
        bag = self._drawn(read_bag(self.bags.files[index]) if self._kept is None else self._kept[index])
        sample = DataSample().set_gt_label(int(self.bags.labels[index]))
        if bag.instance_labels is not None:
            sample.set_field(torch.from_numpy(bag.instance_labels), "instance_labels")
        sample.set_metainfo({"slide_id": str(self.bags.ids[index]), "case_id": str(self.bags.cases[index])})
        inputs = {"feats": torch.from_numpy(bag.features), "coords": self._coords(bag)}
        return {"inputs": inputs, "data_samples": sample}

    def _coords(self, bag: Bag) -> torch.Tensor | None:
        side = 1.0 if self.coords_unit == "px" else bag.side_px
        return None if bag.coords is None or side is None else torch.from_numpy((bag.coords / side).astype(np.float32))

    def _drawn(self, bag: Bag) -> Bag:
        if self.max_instances is None or len(bag) <= self.max_instances:
            return bag
        chosen = torch.randperm(len(bag))[: self.max_instances]  # torch's generator: seeded by epoch and worker
        return bag.take(chosen.sort().values.numpy())


def check_files(
    table: BagTable, in_channels: int | None = None, needs_coords: bool = False, needs_side: bool = False
) -> dict[str, BagShape]:
    """Shapes of all files of a table, by path.

    Raises:
        DatasetError: files that cannot be read, have another width or lack the coordinates, or the side of a tile, that
            are needed; a line for each kind.
    """
    shapes: dict[str, BagShape] = {}
    faults: list[str] = []
    for file in table.files:
        try:
            shapes[file] = read_shape(file)
        except DatasetError as error:
            faults.append(str(error))
    more = [f"... and {len(faults) - SHOWN} more files"] if len(faults) > SHOWN else []
    faults = faults[:SHOWN] + more + _width_problems(shapes, in_channels)
    refuse_all(faults + _coord_problems(shapes, needs_coords, needs_side))
    return shapes


def _width_problems(shapes: dict[str, BagShape], in_channels: int | None) -> list[str]:
    widths = sorted({shape.width for shape in shapes.values()})
    if len(widths) > 1:
        of_width = {width: next(Path(file).name for file in shapes if shapes[file].width == width) for width in widths}
        said = ", ".join(f"{width} ({name})" for width, name in of_width.items())
        return [f"the features differ in width: {said}; extract all slides with one encoder"]
    if in_channels is None or widths in ([], [in_channels]):
        return []
    return [
        f"the features are {widths[0]} wide, the model expects {in_channels}; set `--cfg-options "
        f"in_channels={widths[0]}`, or extract the features with the encoder that the model was made for"
    ]


def _coord_problems(shapes: dict[str, BagShape], needs_coords: bool, needs_side: bool) -> list[str]:
    bare = [Path(file).name for file, shape in shapes.items() if not shape.has_coords]
    sideless = [Path(file).name for file, shape in shapes.items() if shape.has_coords and shape.side_px is None]
    return [
        *complaint(
            bare if needs_coords else [],
            "the model needs the tiles' positions, and there are no coords for the features",
            "CLAM's h5 has them, its pt only beside ../patches/ID.h5 or ../h5_files/ID.h5 with as many tiles; or take "
            "a head without",
        ),
        *complaint(
            sideless if needs_side else [],
            "coords_unit='tile', but the file does not say how large a tile is:",
            "the attribute patch_size_level0 of coords, or ../patches/ID.h5 beside it; or coords_unit='px' and cell in "
            "pixels of level 0",
        ),
    ]
