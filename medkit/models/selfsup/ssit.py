"""SSiT: contrastive learning of a ViT guided by saliency maps.

Huang, Lyu, Cheng, Tam and Tang, "SSiT: Saliency-guided Self-supervised Image Transformer for Diabetic Retinopathy
Grading", IEEE Journal of Biomedical and Health Informatics 28(5), 2024, arXiv 2210.10969. MoCo v3 in which the
momentum encoder sees only the most salient patches, and the query encoder also segments the salient pixels.
Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

import copy

import torch
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.selfsup.ssit_vit import check_pool_mode, most_salient, num_kept, pool_saliency
from medkit.registry import MODELS


@MODELS.register_module()
class SSiT(BaseSelfSupervisor):
    """Query encoder (``backbone``, ``neck``), its moving average (``momentum_encoder``), predictor and segmentor.

    A batch is what ``default_collate`` makes of `PackSaliencyViews`'s samples and `SaliencyDataPreprocessor` of that:

    - ``inputs``: [view 1, view 2], each (B, 3, H, W);
    - ``saliency``: [map 1, map 2], each (B, 1, H, W) float, 0 to 1, same size as the images and moved with them.

    A step runs in the official order: queries of both views over all patches; the moving average takes its step;
    keys of both views over the ``1 - mask_ratio`` most salient patches, without gradient but in train mode, so that
    their batch norms use the batch's statistics. Batch-norm buffers are not averaged.

    Args:
        backbone: `SaliencyViT`.
        neck: projector of the class token.
        head: `SSiTHead`.
        mask_ratio: share of patches hidden from the keys; 1 or more hides none.
        pool_mode: value of a patch: ``'max'`` or ``'avg'`` of its pixels.
        momentum: m in ``average = m * average + (1 - m) * weights``. Constant, unless `CosineValueHook` moves it.
        saliency_weight: factor of the segmentation loss.
        data_preprocessor: `SaliencyDataPreprocessor`.
        init_cfg: as for mmengine's `BaseModule`.

    Raises:
        ConfigError: an argument is out of range.
        DatasetError: maps are missing, not float, or differ in size from the images.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        mask_ratio: float = 0.25,
        pool_mode: str = "max",
        momentum: float = 0.99,
        saliency_weight: float = 10.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = {"type": "medkit.SaliencyDataPreprocessor", **(data_preprocessor or {})}
        super().__init__(backbone, neck, head, data_preprocessor=preprocessor, init_cfg=init_cfg)
        if not 0 <= momentum <= 1:
            raise ConfigError(f"SSiT: momentum={momentum}; give 0 to 1, such as 0.99")
        check_pool_mode(pool_mode)
        num_kept(self.backbone.pos_embed.shape[1] - 1, mask_ratio)  # raises where the ratio is impossible
        self.mask_ratio, self.pool_mode = mask_ratio, pool_mode
        self.momentum, self.saliency_weight = momentum, saliency_weight
        self.momentum_encoder = nn.ModuleDict(
            {"backbone": copy.deepcopy(self.backbone), "neck": copy.deepcopy(self.neck)}
        ).requires_grad_(False)

    def init_weights(self) -> None:
        """Initialise, then let the moving average start at the encoder's weights."""
        super().init_weights()
        self.momentum_encoder["backbone"].load_state_dict(self.backbone.state_dict())
        self.momentum_encoder["neck"].load_state_dict(self.neck.state_dict())

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list | None = None,
        saliency: list[Tensor] | None = None,
        mode: str = "tensor",
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Losses with ``mode='loss'``; with ``mode='tensor'`` the tokens of a batch of images."""
        if mode != "loss":
            return super().forward(inputs, data_samples, mode)
        return self.loss([inputs] if isinstance(inputs, Tensor) else inputs, data_samples, saliency)

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, saliency: list[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """One step's losses, moving the average on the way."""
        saliency = _checked(inputs, saliency)
        tokens = [self.backbone(view)[0] for view in inputs]  # each (B, 1 + N, D)
        queries = [self.head.predict(self._project(self.neck, x)) for x in tokens]  # each (B, C)
        self.update_momentum_encoder()
        keys = [self.key(view, m) for view, m in zip(inputs, saliency, strict=True)]
        height, width = (size // self.backbone.patch_size for size in inputs[0].shape[-2:])
        segmentation = self.head.saliency_loss(tokens, saliency, (height, width))
        return {
            "loss_contrastive": self.head.loss(queries, keys),
            "loss_saliency": self.saliency_weight * segmentation,
        }

    @torch.no_grad()
    def key(self, view: Tensor, saliency: Tensor) -> Tensor:
        """Keys (B, C) of images (B, 3, H, W) with maps (B, 1, H, W), by the moving average."""
        keep = None
        if self.mask_ratio < 1:
            pooled = pool_saliency(saliency, self.backbone.patch_size, self.pool_mode)  # (B, 1, h, w)
            keep = most_salient(pooled, self.mask_ratio)  # (B, K)
        tokens = self.momentum_encoder["backbone"](view, keep)[0]  # (B, 1 + K, D)
        return self._project(self.momentum_encoder["neck"], tokens)

    @torch.no_grad()
    def update_momentum_encoder(self) -> None:
        """Move the average's parameters; buffers stay its own."""
        for name in ("backbone", "neck"):
            source = getattr(self, name).parameters()
            for average, weight in zip(self.momentum_encoder[name].parameters(), source, strict=True):
                average.mul_(self.momentum).add_(weight, alpha=1 - self.momentum)

    @staticmethod
    def _project(neck: nn.Module, tokens: Tensor) -> Tensor:
        return neck((tokens[:, 0],))[0]


def _checked(inputs: list[Tensor], saliency: list[Tensor] | None) -> list[Tensor]:
    advice = "; use the pipeline of configs/_base_/datasets/fundus_saliency.py"
    maps = saliency or []
    if not len(inputs) == len(maps) == 2:
        raise DatasetError(f"SSiT got {len(maps)} saliency maps for {len(inputs)} views, expected two of each" + advice)
    for number, (view, map_) in enumerate(zip(inputs, maps, strict=True), start=1):
        expected = (len(view), 1, *view.shape[-2:])
        if tuple(map_.shape) != expected:
            raise DatasetError(
                f"SSiT: the saliency maps of view {number} have shape {tuple(map_.shape)}, expected {expected} "
                "as the images" + advice
            )
        if not map_.is_floating_point():
            raise DatasetError(f"SSiT: saliency maps are {map_.dtype}, expected float from 0 to 1" + advice)
    return maps
