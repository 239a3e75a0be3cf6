"""What turns tiles of slides into features: the backbone of a config, of an mmpretrain model, or of a timm model.

    encoder = open_tile_encoder('configs/simsiam_busi.py', 'work_dirs/simsiam_busi')
    encoder = open_tile_encoder('resnet50', 'resnet50.pth', stage=3)        # CLAM: third stage, averaged: 1024 features
    encoder = open_tile_encoder('timm:vit_large_patch16_224', 'weights.bin', options=dict(init_values=1e-5))
    encoder = open_tile_encoder('resnet18', untrained=0)                    # random weights, asked for by their seed

Weights come from local files alone. Command: ``python tools/slide_features.py``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from medkit.apis.config import load_config
from medkit.apis.features import build_encoder, hash_weights
from medkit.engine.checkpoint import load_backbone
from medkit.errors import ConfigError, WeightsError


@dataclass(frozen=True)
class TileEncoder:
    """A network for tiles, in evaluation mode.

    Attributes:
        module: (B, 3, H, W) normalised RGB in, (B, D) out.
        name: of the config or model, with the stage where it is not the last and the options where there are any.
        weights: file or run folder, or ``untrained, seed N``.
        mean: of R, G, B, 0 to 255.
        std: likewise.
    """

    module: nn.Module
    name: str
    weights: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def attributes(self) -> dict[str, str]:
        """What its features depend on, as text for a file of features."""
        return {
            "encoder": self.name,
            "weights": self.weights,
            "weights_sha256": hash_weights(self.module),
            "normalisation": f"RGB 0 to 255, mean {list(self.mean)}, std {list(self.std)}",
        }


def open_tile_encoder(
    backbone: str,
    checkpoint: str | Path | None = None,
    *,
    untrained: int | None = None,
    stage: int | None = None,
    out_px: int = 224,
    options: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> TileEncoder:
    """Build an encoder and load its weights.

    Args:
        backbone: a config (``.py``, or ``mmpretrain::...``), the name of an mmpretrain model, ``resnet18`` to
            ``resnet152`` for short, or ``timm:NAME``.
        checkpoint: local file or run folder with the backbone's weights, under whatever prefix.
        untrained: seed of random weights, in place of a checkpoint.
        stage: of a residual network, from 1: its average-pooled output are the features; None: the last, or a
            transformer's class token.
        out_px: side of the tiles to come; a transformer's position embedding is made for it.
        options: changes to the config; of a timm model: further arguments of ``timm.create_model``.
        device: where to put it; None: a GPU where there is one.

    Raises:
        ConfigError: unknown model, a stage that is not there, neither or both of checkpoint and untrained.
        WeightsError: the checkpoint does not fit.
    """
    if (checkpoint is None) == (untrained is None):
        raise ConfigError(
            f"{backbone}: checkpoint {checkpoint}, untrained {untrained}; give one of them: a checkpoint, or with "
            "--untrained SEED random weights"
        )
    weights = f"untrained, seed {untrained}" if checkpoint is None else str(checkpoint)
    build = _build_timm if backbone.startswith("timm:") else _build_config
    module, mean, std = build(backbone, checkpoint, untrained or 0, stage, out_px, dict(options or {}))
    module = module.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    extra = [f"stage {stage}"] * (stage is not None) + [f"{key}={value}" for key, value in (options or {}).items()]
    return TileEncoder(module, ", ".join([backbone.removesuffix(".py").split("/")[-1], *extra]), weights, mean, std)


_Built = tuple[nn.Module, tuple[float, ...], tuple[float, ...]]


def _build_config(
    backbone: str, checkpoint: str | Path | None, seed: int, stage: int | None, out_px: int, options: dict
) -> _Built:
    is_file = backbone.endswith(".py") or "::" in backbone
    cfg = load_config(backbone, cfg_options=options) if is_file else _named_config(backbone, options)
    encoder = build_encoder(cfg, checkpoint, out_px, seed)
    if stage is not None:
        _cut(encoder.backbone, stage, backbone)
    return encoder, encoder.mean, encoder.std


def _named_config(name: str, options: dict) -> Config:
    """The config of an mmpretrain model; a plain residual network is the one of ImageNet."""
    import mmpretrain
    from mmpretrain.apis.model import ModelHub

    name = f"{name}_8xb32_in1k" if re.fullmatch(r"resnet\d+", name) else name
    known = mmpretrain.list_models()
    if name not in known:
        close = [other for other in known if name.split("_")[0] in other][:5]
        raise ConfigError(
            f"{name!r} is no config and no model of mmpretrain{f' such as {close}' if close else ''}; give a config "
            "(.py), a name of mmpretrain.list_models(), or timm:NAME"
        )
    cfg = ModelHub.get(name).config
    cfg.merge_from_dict(options)
    return cfg


def _cut(backbone: Any, stage: int, name: str) -> None:
    """Drop the stages of a residual network behind one."""
    layers = getattr(backbone, "res_layers", None)
    if layers is None or not 1 <= stage <= len(layers):
        has = f"its stages are 1 to {len(layers)}" if layers else f"{type(backbone).__name__} is no residual network"
        raise ConfigError(f"{name}: there is no stage {stage}; {has}; leave --stage out, or choose another")
    for layer in layers[stage:]:
        delattr(backbone, layer)
    backbone.res_layers, backbone.out_indices = layers[:stage], (stage - 1,)


def _build_timm(
    backbone: str, checkpoint: str | Path | None, seed: int, stage: int | None, out_px: int, options: dict
) -> _Built:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError as error:
        raise ConfigError(f"{backbone} needs timm; run `pip install timm`") from error
    name = backbone.removeprefix("timm:")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}; near to it: {timm.list_models(f'*{name[:8]}*')[:5]}")
    fixed = getattr(timm.models.get_pretrained_cfg(name), "fixed_input_size", False)
    size = {"img_size": out_px} if fixed else {}
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = timm.create_model(name, pretrained=False, **{"num_classes": 0, **size, **options})
    if checkpoint is not None and "pos_embed" in load_backbone(network, checkpoint).missing:
        raise WeightsError(f"{checkpoint}: its position embedding is of another size than tiles of {out_px} px")
    data = resolve_model_data_config(network)
    mean, std = (tuple(255 * value for value in data[part]) for part in ("mean", "std"))
    return (network if stage is None else _TimmStage(network, stage, backbone)), mean, std


class _TimmStage(nn.Module):
    """Average-pooled output of one stage of a timm network."""

    def __init__(self, network: Any, stage: int, name: str) -> None:
        super().__init__()
        stages = [info["module"] for info in getattr(network, "feature_info", []) if "layer" in info["module"]]
        if not hasattr(network, "forward_intermediates") or not 1 <= stage <= len(stages):
            raise ConfigError(
                f"{name}: there is no stage {stage}; timm's residual networks have 1 to 4; leave --stage out"
            )
        self.network, self.index = network, len(network.feature_info) - len(stages) + stage - 1

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D)."""
        how = dict(indices=[self.index], intermediates_only=True, stop_early=True)
        return self.network.forward_intermediates(images, **how)[0].mean(dim=(2, 3))
