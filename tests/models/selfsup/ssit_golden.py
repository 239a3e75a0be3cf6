"""Small SSiT models, and the official state dicts under our names."""

import re
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

ARCH = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=128)
TIMM = (
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"blocks\.(\d+)\.norm(\d)\.", r"layers.\1.ln\2."),
    (r"blocks\.(\d+)\.attn\.", r"layers.\1.attn."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"layers.\1.ffn.layers.0.0."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"layers.\1.ffn.layers.1."),
    (r"^norm\.", "ln1."),
)


def load(golden_dir: Path, name: str) -> dict[str, Tensor]:
    with np.load(golden_dir / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(np.asarray(array).copy()) for key, array in arrays.items()}


def vit_name(name: str) -> str:
    """Official (timm) name of a ViT's tensor -> mmpretrain's."""
    for pattern, ours in TIMM:
        name = re.sub(pattern, ours, name)
    return name


def projector_name(name: str) -> str:
    """``6.weight`` -> ``fc2.weight``: Linear, BN, ReLU, Linear, ..."""
    index, tensor = name.split(".")
    return f"{'bn' if int(index) % 3 else 'fc'}{int(index) // 3}.{tensor}"


def our_name(name: str) -> str:
    """Official name of a tensor of the whole model -> ours."""
    part, rest = name.split(".", 1)
    if part == "predictor":
        return "head.predictor." + projector_name(rest)
    if part == "saliency_segmentor":
        return "head.segmentor." + rest
    root = "momentum_encoder." if part == "momentum_encoder" else ""
    if rest.startswith("head."):
        return f"{root}neck.{projector_name(rest[5:])}"
    return f"{root}backbone.{vit_name(rest)}"


def neck(in_channels: int, hid: int, out: int, layers: int) -> dict:
    return dict(
        type="mmpretrain.NonLinearNeck",
        in_channels=in_channels,
        hid_channels=hid,
        out_channels=out,
        num_layers=layers,
        with_avg_pool=False,
        with_last_bn_affine=False,
        norm_cfg=dict(type="BN1d"),
    )


def model_config(img_size: int = 64) -> dict:
    """The golden data's model: ViT of 2 blocks and 32 channels, patch 16, projector 48-48-16."""
    return dict(
        type="medkit.SSiT",
        backbone=dict(type="medkit.SaliencyViT", arch=ARCH, img_size=img_size, patch_size=16),
        neck=neck(32, 48, 16, 3),
        head=dict(type="medkit.SSiTHead", predictor=neck(16, 48, 16, 2), in_channels=32, patch_size=16),
    )


def model(img_size: int = 64, **options) -> nn.Module:
    """`model_config` built, with options."""
    return MODELS.build(model_config(img_size) | options)
