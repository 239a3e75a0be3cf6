"""Two views of each slide for giga-SSL: each a random handful of its tiles, from banks of features or ordinary bags.

T. Lazard et al., "Giga-SSL", CVPRW 2023 (arXiv 2212.03273). Config: configs/_base_/datasets/feature_bank.py; command:
``python tools/train.py configs/gigassl_slides.py --data-root data/slides``.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset

from medkit.data.bank_files import Bank, read_bank
from medkit.data.bank_slides import read_slides
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

__all__ = ["FeatureBankDataset", "draw_bag"]


@DATASETS.register_module()
class FeatureBankDataset(Dataset):
    """Slides as ``dict(inputs=[view, view], data_samples=DataSample)``.

    A view is ``dict(feats (K, D), coords (K, 2))``, float32.
    ``coords`` are in sides of a tile, so that a cell means the same on slides of any scanner. Each view takes one draw
    of the bank and K of its tiles, with replacement. An ordinary bag has one draw without augmentation: two views then
    share the slide's colour, which gives it away; in its place each view loses a random part of the channels, and the
    log warns. `medkit.SubjectSampler` keeps slides of one patient from being negatives of each other.

    Args:
        data_root: folder with ``bags.csv`` and the slides' files.
        folder: of the files; None: ``banks`` where there is one, else ``features``.
        num_tiles: K.
        split: slides of this split alone where the table has splits; None: all, those to be tested too.
        with_coords: False leaves positions out, for aggregators that do not see them.
        side_px: side of a tile in level-0 pixels for bags that do not say theirs.
        feature_dropout: share of the channels that a view of an ordinary bag loses, the same of all its tiles.
        width: channels that the model expects; None: any.
        in_memory: read all files at the start; otherwise each when it is needed.
        indices: at most so many slides, of different patients first (quick mode).

    Raises:
        ConfigError: a number out of range.
        DatasetError: no slides, files missing or of different widths, positions or the side of a tile missing.
    """

    def __init__(
        self,
        data_root: str = "",
        *,
        folder: str | None = None,
        num_tiles: int = 5,
        split: str | None = "train",
        with_coords: bool = True,
        side_px: float | None = None,
        feature_dropout: float = 0.1,
        width: int | None = None,
        in_memory: bool = True,
        indices: int | None = None,
    ) -> None:
        if num_tiles < 1 or not 0 <= feature_dropout < 1:
            raise ConfigError(
                f"FeatureBankDataset: num_tiles={num_tiles}, feature_dropout={feature_dropout}; give 1 tile or more, "
                "and a share of the channels from 0 to below 1"
            )
        self.num_tiles, self.with_coords, self.side_px = num_tiles, with_coords, side_px
        self.feature_dropout = feature_dropout
        self.slides = read_slides(data_root, folder, split).first(indices)
        self.metainfo: dict = {}  # mmengine asks for it
        self._banks = [self._read(file) for file in self.slides.files] if in_memory else None
        self._check(width)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Patients, for `medkit.SubjectSampler`."""
        return self.slides.cases

    def __len__(self) -> int:
        return len(self.slides.ids)

    def __getitem__(self, index: int) -> dict:
        bank = self.bank(index)
        rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))
        sample = DataSample(metainfo=dict(slide_id=self.slides.ids[index], case_id=self.slides.cases[index]))
        return {"inputs": [self._view(bank, rng) for _ in range(2)], "data_samples": sample}

    def bank(self, index: int) -> Bank:
        """All of a slide."""
        return self._read(self.slides.files[index]) if self._banks is None else self._banks[index]

    def _view(self, bank: Bank, rng: np.random.Generator) -> dict[str, Tensor]:
        draw = int(rng.integers(len(bank.features)))
        view = draw_bag(bank, draw, rng.integers(bank.features.shape[1], size=self.num_tiles), self.with_coords)
        if not bank.augmented and self.feature_dropout:
            kept = rng.random(bank.features.shape[2]) >= self.feature_dropout  # (D,)
            view["feats"] *= torch.from_numpy(kept / (1 - self.feature_dropout)).float()
        return view

    def _read(self, file: str) -> Bank:
        bank = read_bank(file)
        if not self.with_coords:
            return replace(bank, coords=None)
        side = bank.side_px or self.side_px
        if bank.coords is None or side is None:
            lacks = "positions (coords)" if bank.coords is None else "the side of a tile"
            raise DatasetError(
                f"{file} does not know {lacks}; write coords with the attribute patch_size_level0, or give side_px, or "
                "take an aggregator that does not see positions (aggregator=mlp)"
            )
        return replace(bank, side_px=side)

    def _check(self, width: int | None) -> None:
        """One width, and a warning where colour is not hidden."""
        banks = self._banks or [self.bank(0)]
        widths = {bank.features.shape[2]: file for bank, file in zip(banks, self.slides.files, strict=False)}
        if len(widths) > 1:
            pairs = ", ".join(f"{file} {width}" for width, file in sorted(widths.items()))
            raise DatasetError(f"features of different widths ({pairs}); take those of one encoder")
        found = next(iter(widths))
        if width not in (None, found):
            raise DatasetError(
                f"{widths[found]} has features of {found} channels, the model expects {width}; set features={found}, "
                "or take those of the encoder that the config was made for"
            )
        plain = sum(not bank.augmented for bank in banks)
        if plain:
            print_log(
                f"FeatureBankDataset: {plain} of {len(banks)} slides have features without shared augmentation, so "
                "both views have the slide's own colour and may be matched by it; tools/feature_bank.py makes banks",
                logger="current",
                level=logging.WARNING,
            )


def draw_bag(bank: Bank, draw: int, rows: np.ndarray, with_coords: bool = True) -> dict[str, Tensor]:
    """``feats`` (K, D) float32 of these tiles of a draw, and ``coords`` (K, 2) float32 in sides of a tile."""
    bag = {"feats": torch.from_numpy(bank.features[draw, rows].astype(np.float32))}
    if with_coords:
        assert bank.coords is not None and bank.side_px is not None  # the data set refuses slides without
        bag["coords"] = torch.from_numpy((bank.coords[draw, rows] / bank.side_px).astype(np.float32))
    return bag
