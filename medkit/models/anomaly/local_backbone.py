"""What PaDiM and PatchCore share: frozen features of a local backbone, scored by anomalib's model of the method.

anomalib (Apache-2.0, extra ``medkit[anomaly]``) downloads its backbones through timm. Here the backbone is any module
of mmpretrain's that returns maps, started from a local checkpoint, medkit's self-supervised ones included. See
docs/anomaly_backbones.md.
Command: ``python tools/train.py configs/padim_phantom.py --data-root data/phantom_anomaly``.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from medkit.errors import ConfigError, TrainingError
from medkit.models.anomaly.base import AnomalyModel
from medkit.registry import MODELS, WEIGHT_INITIALIZERS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class LocalFeatures(nn.Module):
    """Maps of a frozen backbone, always in evaluation mode, in the form that anomalib's models expect.

    Args:
        backbone: returns a tuple of maps (B, C, h, w), the largest first.

    Raises:
        ConfigError: it returns something else.
    """

    backbone: Any
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.eval()
        with torch.no_grad():
            self.channels = [part.shape[1] for part in self.maps(torch.zeros(1, 3, 64, 64))]
        self.names = [f"map{number}" for number in range(len(self.channels))]

    def train(self, mode: bool = True) -> "LocalFeatures":
        """Stays in evaluation mode: batch norms keep the statistics of the checkpoint."""
        return super().train(False)

    def init_weights(self) -> None:
        """Those of the backbone."""
        self.backbone.init_weights()

    def maps(self, images: Tensor) -> Sequence[Tensor]:
        """Maps (B, C, h, w) of images (B, 3, H, W) in [-1, 1], normalised as ImageNet models expect."""
        maps = self.backbone(((images + 1) / 2 - self.mean) / self.std)
        if not isinstance(maps, (tuple, list)) or any(part.dim() != 4 for part in maps):
            raise ConfigError(
                f"the backbone {type(self.backbone).__name__} returns no tuple of maps (B, C, h, w); set out_indices, "
                "and out_type='featmap' for a transformer"
            )
        return maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps by name; contiguous, since anomalib takes views of them."""
        return {name: part.contiguous() for name, part in zip(self.names, self.maps(images), strict=True)}


class LocalBackboneModel(AnomalyModel):
    """Base of the methods that anomalib implements: fitted in one pass over healthy images, no weight is trained.

    ``core`` is anomalib's model with our features in place of its own; its buffers hold the fitted state, and resize
    themselves to a checkpoint's. Features stay in memory until the last batch, so a pass cannot be resumed half-way.

    A subclass sets ``core`` with `build_core`, and defines ``needed_gb`` and ``fit``.

    Args:
        backbone: config of an mmpretrain backbone that returns a tuple of maps, the largest first.
        pretrained: local checkpoint or run folder that contains it; None keeps the backbone's own ``init_cfg``.
        max_memory_gb: of features and fitted state together; a fit that needs more is refused before it takes it.
        data_preprocessor: as for `AnomalyModel`.
        init_cfg: as for `AnomalyModel`.

    Raises:
        ConfigError: anomalib is missing, memory would exceed the limit, too few images, or the model is not fitted.
        TrainingError: a pass is resumed half-way, or a fitted model is fitted again.
        WeightsError: ``pretrained`` is missing or does not fit.
    """

    min_size = 32  # anomalib blurs maps with a kernel of 33 pixels, and reflects them at the border
    min_images = 1
    core: Any

    def __init__(
        self,
        backbone: dict,
        pretrained: str | None = None,
        max_memory_gb: float = 8.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        require_anomalib(type(self).__name__)
        self.pretrained = pretrained
        self._start = "Pretrained" if pretrained else str((backbone.get("init_cfg") or {"type": "random"})["type"])
        self.features = LocalFeatures(MODELS.build(backbone))
        self.max_memory_gb = max_memory_gb
        self._collected = self._positions = 0
        self.register_buffer("num_fitted", torch.zeros((), dtype=torch.long))  # healthy images seen
        self.register_buffer("fitted_size", torch.zeros(2, dtype=torch.long))  # (H, W) of them

    def build_core(self, cls: Callable[..., nn.Module], **kwargs) -> nn.Module:
        """The model of anomalib with our features.

        Its constructor traces the backbone with torch.fx, which allows no branches on data; so it gets a stand-in with
        the same numbers of channels, which is then replaced.
        """
        pairs = zip([3, *self.features.channels[:-1]], self.features.channels, strict=True)
        layers = [nn.Conv2d(before, after, 1, stride=4) for before, after in pairs]
        stand_in = nn.Sequential(OrderedDict(zip(self.features.names, layers, strict=True)))
        core = cls(layers=list(self.features.names), backbone=stand_in, pre_trained=False, **kwargs)
        del core.backbone, core.feature_extractor
        core.__dict__["feature_extractor"] = self.features  # not registered twice, or checkpoints would hold it twice
        return core

    def init_weights(self) -> None:
        """Load ``pretrained``; a backbone that starts at random is allowed, and said once."""
        super().init_weights()
        if self.pretrained:
            # Not as the backbone's init_cfg: mmpretrain's ResNet sets the last batch norm of each block to zero after
            # any initializer but its own 'Pretrained', and so would undo what was loaded.
            load = WEIGHT_INITIALIZERS.build(dict(type="medkit.PretrainedBackbone", checkpoint=str(self.pretrained)))
            load(self.features.backbone)
        if not self._start.endswith(("Pretrained", "PretrainedBackbone")):
            print_log(
                f"{type(self).__name__}: the backbone is not trained (pretrained=None); random features tell only "
                "coarse differences of brightness and texture. Give a run folder: --cfg-options pretrained=PATH",
                logger="current",
                level=logging.WARNING,
            )

    def needed_gb(self, num: int, size: int) -> float:
        """GB to hold the features of ``num`` images with ``size`` positions each, and to fit them."""
        raise NotImplementedError

    def fit(self) -> None:
        """Turn the features that ``core`` holds into its buffers."""
        raise NotImplementedError

    def collect(self, images: Tensor) -> None:
        """Keep the features of healthy images (B, 3, H, W)."""
        if int(self.num_fitted) != self._collected:
            raise TrainingError(
                f"{type(self).__name__} has seen {int(self.num_fitted)} images before this run, whose features are not "
                "in the checkpoint: it is fitted in one pass; train again without --resume and load_from"
            )
        if not self._collected:
            self._positions = self.features.maps(images[:1])[0][0, 0].numel()
        self._check_memory(self._collected + len(images), self._positions)
        self.core.train()(images)
        self._collected += len(images)
        self.num_fitted.fill_(self._collected)
        self.fitted_size.copy_(torch.tensor(images.shape[-2:]))

    def finish_fit(self) -> None:
        """Fit what was collected."""
        if self._collected < self.min_images:
            raise ConfigError(
                f"{type(self).__name__} got {self._collected} healthy images, expected at least {self.min_images}"
            )
        with torch.no_grad():
            self.fit()
        print_log(f"{type(self).__name__}: fitted to {self._collected} healthy images", logger="current")

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, H, W) and scores (B,), unbounded distances, in float32 also under autocast."""
        if not self.is_fitted():
            raise ConfigError(
                f"{type(self).__name__} is not fitted; train it on healthy images (tools/train.py), or load a "
                "checkpoint of a finished run"
            )
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            found = self.core.eval()(images.float())
        return found.anomaly_map.squeeze(1), found.pred_score.flatten()  # PadimModel gives scores (B, 1)

    def is_fitted(self) -> bool:
        """Whether the buffers hold a fitted state."""
        raise NotImplementedError

    def _check_memory(self, num: int, size: int) -> None:
        needed = self.needed_gb(num, size)
        if needed > self.max_memory_gb:
            raise ConfigError(
                f"{type(self).__name__} needs {needed:.1f} GB for {num} images with {size} positions of features, "
                f"allowed are max_memory_gb={self.max_memory_gb:g}; take a smaller img_size, fewer images or channels, "
                "or raise max_memory_gb"
            )


def require_anomalib(method: str) -> None:
    """Name the extra where anomalib is missing, without importing it."""
    if find_spec("anomalib") is None:
        raise ConfigError(f"{method} needs anomalib; run `pip install medkit[anomaly]` (or `pip install anomalib`)")
