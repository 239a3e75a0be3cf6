"""Giga-SSL: slides describe themselves. Two random handfuls of a slide's tiles must be told to be of one slide.

T. Lazard et al., "Giga-SSL: self-supervised learning for gigapixel images", CVPRW 2023 (arXiv 2212.03273); written from
the paper and the released code's behaviour, whose faults docs/gigassl.md lists.
Command: ``python tools/train.py configs/gigassl_slides.py``.
"""

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.models.common.contrastive import nt_xent
from medkit.models.mil.sparse_augment import MapAugmentation
from medkit.registry import MODELS


@MODELS.register_module()
class GigaSSLProjector(nn.Module):
    """Linear, ReLU, batch norm (in this order), twice, then linear.

    Args:
        in_channels: width of the embedding, and of the hidden layers.
        out_channels: width of what the loss compares.
    """

    def __init__(self, in_channels: int = 512, out_channels: int = 256) -> None:
        super().__init__()
        self.layer1, self.layer2 = (
            nn.Sequential(nn.Linear(in_channels, in_channels), nn.ReLU(), nn.BatchNorm1d(in_channels)) for _ in range(2)
        )
        self.layer3 = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out_channels) of (B, in_channels)."""
        return self.layer3(self.layer2(self.layer1(x)))


@MODELS.register_module()
class GigaSSL(BaseModel):
    """An aggregator of tiles, trained by NT-Xent on two views of each slide; the aggregator is what is kept.

    A bag is ``dict(feats (B, K, D), coords (B, K, 2))``, with ``coords`` in the unit of the aggregator's ``cell``, and
    may have ``mask (B, K)``. The two views pass the network one after the other: batch norm sees one at a time.

    The buffer ``trained_with`` tells a checkpoint's K and cell (0: no map). Embeddings of other bags are of another
    kind: more tiles are nearer to each other than the kernels have ever seen them.

    Args:
        aggregator: config of a `medkit.SparseStageAggregator`, `medkit.MLPMeanAggregator`, ...
        projector: config of what stands between the embedding and the loss.
        num_tiles: K, tiles of a view.
        temperature: divides the cosines.
        augmentation: arguments of `MapAugmentation` for the coordinates of either view; None: none.
        data_preprocessor: of mmengine's `BaseModel`; default: moves the data to the device.
        init_cfg: of mmengine's `BaseModel`.

    Raises:
        ConfigError: ``temperature`` is not above 0, or a batch of one slide, which has no negatives.
    """

    def __init__(
        self,
        aggregator: dict,
        projector: dict,
        num_tiles: int = 5,
        temperature: float = 0.05,
        augmentation: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if not temperature > 0:
            raise ConfigError(f"GigaSSL: temperature={temperature}; give a number above 0, such as 0.05")
        self.aggregator, self.projector = MODELS.build(aggregator), MODELS.build(projector)
        self.temperature, self.num_tiles = temperature, num_tiles
        how = [num_tiles, getattr(self.aggregator, "cell", 0.0)]
        self.register_buffer("trained_with", torch.tensor(how, dtype=torch.float64))
        self.augment = None if augmentation is None else MapAugmentation(**augmentation)

    def forward(self, inputs: Any, data_samples: list | None = None, mode: str = "tensor") -> Any:
        """``loss``: of ``inputs``, a pair of bags; ``tensor``: embeddings (B, E) of one bag, as it is.

        Raises:
            ConfigError: another mode.
        """
        if mode == "loss":
            return self.loss(inputs)
        if mode == "tensor":
            return self.embed(inputs)
        raise ConfigError(f"GigaSSL has no mode {mode!r}; expected 'loss' or 'tensor': there is no label to predict")

    def embed(self, bag: dict[str, Tensor]) -> Tensor:
        """Embeddings (B, E) of a batch of bags, without augmentation."""
        return self.aggregator(bag["feats"], bag.get("coords"), bag.get("mask"))[0]

    def loss(self, views: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """``loss``, and ``neighbours``: occupied cells around a tile's, on average over both views."""
        if len(views) != 2 or len(views[0]["feats"]) < 2:
            raise ConfigError(
                f"GigaSSL got {len(views)} view(s) of {len(views[0]['feats'])} slide(s); expected two views of 2 "
                "slides or more, whose others are the negatives: raise batch_size"
            )
        if (found := views[0]["feats"].shape[1]) != self.num_tiles:
            raise ConfigError(f"GigaSSL: views of {found} tiles, num_tiles={self.num_tiles}; set both to the same")
        outputs, near = [], []
        for view in views:
            embedding, extra = self.aggregator(view["feats"], self._augmented(view.get("coords")), view.get("mask"))
            outputs.append(self.projector(embedding))
            near += [extra["neighbours"]] if "neighbours" in extra else []
        losses = {"loss": nt_xent(outputs[0], outputs[1], self.temperature)}
        return losses | ({"neighbours": torch.cat(near).mean()} if near else {})

    def _augmented(self, coords: Tensor | None) -> Tensor | None:
        if coords is None or self.augment is None:
            return coords
        return self.augment(coords, getattr(self.aggregator, "cell", 1.0))
