"""Giga-SSL's aggregator: the last stage of a ResNet-18 as sparse convolutions over the map of a slide's tiles.

T. Lazard et al., "Giga-SSL: self-supervised learning for gigapixel images", CVPRW 2023 (arXiv 2212.03273), section 3:
the first three stages of a ResNet-18 describe the tiles, the fourth, convolving their map, the slide.
Command: ``python tools/train.py configs/gigassl_slides.py``; docs/gigassl.md.
"""

from dataclasses import replace

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparse_conv import SparseConv2d, SubmanifoldConv2d
from medkit.models.mil.sparse_map import SparseMap, build_map
from medkit.models.mil.sparse_pool import SparsePool2d, mean_of_cells
from medkit.models.mil.sparseconvmil import neighbour_counts
from medkit.registry import MODELS


class SparseBasicBlock(nn.Module):
    """ResNet's basic block on a sparse map; the names of its tensors are those of torchvision and mmpretrain.

    Strided, its first convolution and its shortcut (an average over windows of 3 x 3, then 1 x 1) have the same sites;
    a dense ResNet takes every second cell there, which on a sparse map would lose those between.
    """

    def __init__(self, in_channels: int, out_channels: int, strided: bool) -> None:
        super().__init__()
        first = SparseConv2d if strided else SubmanifoldConv2d
        self.conv1 = first(in_channels, out_channels, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(out_channels)
        self.conv2 = SubmanifoldConv2d(out_channels, out_channels, 3, bias=False)
        self.bn2 = nn.BatchNorm1d(out_channels)
        self.pool = SparsePool2d(3, 2) if strided else None
        if strided:
            shortcut = SubmanifoldConv2d(in_channels, out_channels, 1, bias=False)
            self.downsample = nn.ModuleList([shortcut, nn.BatchNorm1d(out_channels)])

    def forward(self, sparse: SparseMap) -> SparseMap:
        """Map of the same cells, or of the windows where strided."""
        out = self.conv1(sparse)
        out = self.conv2(out.with_features(self.bn1(out.features).relu()))
        shortcut = sparse.features
        if self.pool is not None:
            conv, norm = self.downsample
            shortcut = norm(conv(self.pool(sparse)).features)
        return out.with_features((self.bn2(out.features) + shortcut).relu())


@MODELS.register_module()
class SparseStageAggregator(BaseModule):
    """Tiles and where they lie to one vector: sparse map, two basic blocks, the mean over the occupied cells.

    A dense ResNet-18 starts it: ``init_cfg=dict(type='medkit.PretrainedBackbone', checkpoint=FILE)`` takes the tensors
    of its ``layer4``. A kernel's rows then lie along x, as in the released code; over turned and mirrored maps it makes
    no difference. An empty slide has the embedding 0.

    Args:
        in_channels: D, width of the tiles' features; 256 of a ResNet-18's third stage.
        out_channels: E, 512.
        cell: side of a cell in the unit of the coordinates; in the sides of a tile from `medkit.FeatureBankDataset`.
        released_border: cut windows off at the far border of the batch's largest map, as released. A slide's embedding
            then depends on the others in its batch, so it is off.
        init_cfg: of mmengine's `BaseModule`.

    Raises:
        ConfigError: ``cell`` is not above 0, or no coordinates given.
        DatasetError: coordinates of a tile that are not finite.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 512,
        cell: float = 1.0,
        released_border: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not cell > 0:
            raise ConfigError(f"SparseStageAggregator: cell={cell}; give the side of a cell, above 0: 1 is a tile")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.cell, self.released_border = cell, released_border
        blocks = SparseBasicBlock(in_channels, out_channels, True), SparseBasicBlock(out_channels, out_channels, False)
        self.layer4 = nn.Sequential(*blocks)

    def forward(self, feats: Tensor, coords: Tensor | None, mask: Tensor | None = None) -> tuple[Tensor, dict]:
        """Embedding (B, E) of tiles, and what `neighbour_counts` says of their map.

        Args:
            feats: (B, K, D).
            coords: (B, K, 2) positions (x, y).
            mask: (B, K) bool, True for a real tile; None: all are.
        """
        if coords is None:
            raise ConfigError(
                "SparseStageAggregator needs the position of each tile, and got none; store coords with the features, "
                "or take medkit.MLPMeanAggregator"
            )
        if mask is None:
            mask = torch.ones(feats.shape[:2], dtype=torch.bool, device=feats.device)
        feats = feats.to(next(self.parameters()).dtype)
        return self.embed_map(self.make_map(feats, coords, mask))

    def make_map(self, feats: Tensor, coords: Tensor, mask: Tensor) -> SparseMap:
        """The map of the real tiles."""
        xy = coords[mask]  # (N, 2)
        if not xy.isfinite().all():
            raise DatasetError("SparseStageAggregator: a tile's coordinates are not finite; check the file of the bag")
        return build_map(feats[mask], xy, self.cell, batch=mask.nonzero()[:, 0], batch_size=len(mask))

    def embed_map(self, sparse: SparseMap) -> tuple[Tensor, dict[str, Tensor]]:
        """Embedding (B, E), and counts, of a map."""
        assert sparse.size is not None
        extra = neighbour_counts(sparse, 3)
        size = released_size(sparse.size) if self.released_border else None
        return mean_of_cells(self.layer4(replace(sparse, size=size))), extra


def released_size(size: tuple[int, int]) -> tuple[int, int]:
    """The released code's sides of a map: the next of 7, 11, 15, ..., so that windows of 3 at steps of 2 fit twice."""
    x, y = (max(-(-(side - 3) // 4) * 4 + 3, 7) for side in size)
    return x, y
