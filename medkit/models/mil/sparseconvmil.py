"""SparseConvMIL: a slide's tiles as a sparse map, convolved, so that their arrangement counts besides their kinds.

M. Lerousseau et al., "SparseConvMIL: sparse convolutional context-aware multiple instance learning for whole slide
image classification", COMPAY 2021, PMLR 156:129-139. Written from the paper; the released code needs SparseConvNet,
truncates positions towards zero and augments at test time, which this head does not.
Command: ``python tools/benchmark.py sparse_conv`` for the time; docs/sparseconv.md.
"""

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.sparse_augment import MapAugmentation
from medkit.models.mil.sparse_conv import SubmanifoldConv2d
from medkit.models.mil.sparse_map import SparseMap, build_map
from medkit.models.mil.sparse_pool import mean_of_cells
from medkit.models.mil.sparse_table import submanifold_table
from medkit.registry import MODELS

FEW = 0.5  # occupied neighbours of a tile, under which the log says so

@MODELS.register_module()
class SparseConvMIL(MILHead):
    """Submanifold convolutions of the map of tile features, mean over the occupied cells, a small classifier.

    No attention. ``extra`` has ``cells`` (B,), occupied cells of each slide, and ``neighbours`` (B,), how many of the
    other cells under the kernel are occupied on average. Near 0 neighbours the map is too fine: the head then sees
    each tile alone, and ``cell`` should grow; the first training batch is looked at, and the log says so. An empty
    slide has the embedding 0.

    Args:
        in_channels: D.
        num_classes: C.
        cell: side of a cell in the unit of the coordinates, > 0. The pitch of the tiles where all are used;
            ``pitch * sqrt(tiles / drawn tiles)`` where a sample is drawn. The paper takes 5 (CRC) and 128 (TCGA).
        channels: of the convolutions, one each. The paper takes (12, 12), (32, 32) and (128, 128).
        kernel_size: of the convolutions.
        hidden: of the classifier; None: one linear layer.
        augmentation: arguments of `MapAugmentation`, ``{}`` for its defaults, in training mode only; None: none.

    Raises:
        ConfigError: no coordinates given, ``cell`` not positive, no channels.
        DatasetError: coordinates of a tile that are not finite.
    """

    needs_coords = True

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        cell: float,
        channels: Sequence[int] = (32, 32),
        kernel_size: int = 3,
        hidden: int | None = 32,
        augmentation: dict | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes)
        if not cell > 0 or not channels:
            raise ConfigError(
                f"SparseConvMIL: cell={cell}, channels={tuple(channels)}; give the side of a cell in the unit of the "
                "coordinates, such as the pitch of the tiles, and a width for each convolution"
            )
        self.cell, self.kernel_size = cell, kernel_size
        widths = [in_channels, *channels]
        self.convs = nn.ModuleList(
            SubmanifoldConv2d(into, out, kernel_size) for into, out in zip(widths, channels, strict=False)
        )
        last = channels[-1]
        self.classifier = (
            nn.Linear(last, num_classes)
            if hidden is None
            else nn.Sequential(nn.Linear(last, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
        )
        self.augment = None if augmentation is None else MapAugmentation(**augmentation)
        self._looked_at = False

    def aggregate(self, feats: Tensor, mask: Tensor, coords: Tensor | None) -> MILOutput:
        """Logits, no attention, mean over the cells (B, channels[-1])."""
        assert coords is not None  # the base refuses a bag without
        sparse = self.make_map(feats, mask, coords)
        extra = neighbour_counts(sparse, self.kernel_size)
        if self.training and not self._looked_at:
            self._looked_at = True
            self._say_if_alone(extra)
        for conv in self.convs:
            sparse = conv(sparse)
            sparse = sparse.with_features(sparse.features.relu())
        embedding = mean_of_cells(sparse)
        return MILOutput(self.classifier(embedding), None, embedding, extra)

    def make_map(self, feats: Tensor, mask: Tensor, coords: Tensor) -> SparseMap:
        """The map of the real tiles, augmented in training mode."""
        slide = mask.nonzero()[:, 0]  # (N,)
        xy = coords.masked_fill(~mask[..., None], 0)
        if not xy.isfinite().all():
            raise DatasetError("SparseConvMIL: the coordinates of a tile are not finite; check the file of the bag")
        if self.training and self.augment is not None:
            xy = self.augment(xy, self.cell)
        return build_map(feats[mask], xy[mask], self.cell, batch=slide, batch_size=len(mask))

    def _say_if_alone(self, extra: dict[str, Tensor]) -> None:
        """Tell that the map is so fine that the convolutions have nothing to look at."""
        cells = extra["cells"]
        mean = float((extra["neighbours"] * cells).sum() / cells.sum().clamp(min=1))
        if cells.max() > 1 and mean < FEW:
            print_log(
                f"SparseConvMIL: a tile has {mean:.2f} occupied neighbours on average with cell={self.cell}; near 0 "
                "the head pools single tiles. Take a larger cell: the pitch of the tiles, or pitch * sqrt(tiles / "
                "drawn tiles) where a sample is drawn",
                logger="current",
                level=logging.WARNING,
            )


def neighbour_counts(sparse: SparseMap, kernel: int) -> dict[str, Tensor]:
    """Occupied cells (B,) of each slide, and the mean number (B,) of occupied neighbours under the kernel."""
    table = submanifold_table(sparse, kernel).inputs  # (N, K)
    near = (table != len(table)).sum(1) - 1  # the cell itself does not count
    cells = torch.bincount(sparse.batch, minlength=sparse.batch_size)
    total = torch.bincount(sparse.batch, weights=near.double(), minlength=sparse.batch_size)
    return {"cells": cells, "neighbours": (total / cells.clamp(min=1)).float()}
