"""The ViT of SSiT: trainable patch and position embedding, and a forward pass over the most salient patches only.

SSiT (Huang, Lyu, Cheng, Tam and Tang, "SSiT: Saliency-guided Self-supervised Image Transformer for Diabetic
Retinopathy Grading", IEEE JBHI 2024, arXiv 2210.10969), the method section.
Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import MODELS

POOLING: dict[str, Callable[[Tensor, int], Tensor]] = {"max": F.max_pool2d, "avg": F.avg_pool2d}


def check_pool_mode(mode: str) -> None:
    """Raise `ConfigError` unless `pool_saliency` knows the mode."""
    if mode not in POOLING:
        raise ConfigError(f"SSiT: pool_mode={mode!r}; give 'max' or 'avg'")


def pool_saliency(saliency: Tensor, patch_size: int, mode: str = "max") -> Tensor:
    """One value per patch, (B, 1, H/patch, W/patch), of maps (B, 1, H, W)."""
    check_pool_mode(mode)
    return POOLING[mode](saliency, patch_size)


def num_kept(num_patches: int, mask_ratio: float) -> int:
    """Patches that stay, as the official code rounds: ``int((1 - mask_ratio) * num_patches)``; all from ratio 1 on."""
    if mask_ratio < 0:
        raise ConfigError(f"SSiT: mask_ratio={mask_ratio}; give 0 to below 1, or 1 or more to switch masking off")
    kept = num_patches if mask_ratio >= 1 else int((1 - mask_ratio) * num_patches)
    if not kept:
        raise ConfigError(f"SSiT: mask_ratio={mask_ratio} keeps none of {num_patches} patches; give a lower one")
    return kept


def most_salient(pooled: Tensor, mask_ratio: float) -> Tensor:
    """Indices (B, K) of the patches with the highest values, highest first.

    Among equal values, such as the zeros outside a fundus, the patch nearer to the top left comes first; the
    official code leaves that to an unstable sort.

    Args:
        pooled: (B, 1, h, w), one value per patch.
        mask_ratio: share of the patches that is dropped, see `num_kept`.
    """
    values = pooled.flatten(1)  # (B, h*w)
    order = values.sort(dim=1, descending=True, stable=True).indices
    return order[:, : num_kept(values.shape[1], mask_ratio)]


@MODELS.register_module()
class SaliencyViT(VisionTransformer):
    """mmpretrain's `VisionTransformer` whose forward pass can leave patches out after the position embedding.

    Returns raw tokens (B, 1 + K, D) after the final norm, class token first, in the order of ``keep``. All
    parameters are trained, unlike those of mmpretrain's `MoCoV3ViT`, and start as in timm: linear weights, class
    token and position embedding truncated normal with deviation 0.02, linear biases zero. State-dict names are
    mmpretrain's.

    Args:
        arch: name or dict of mmpretrain's; ``'deit-small'`` is the paper's ViT-S.
        img_size: pixels, a multiple of ``patch_size``; other multiples work too (embedding resized bicubically).
        patch_size: pixels.
        kwargs: as for mmpretrain's class; ``out_type`` is ``'raw'``.

    Raises:
        ConfigError: ``img_size``, or the size of a batch, is no multiple of ``patch_size``.
    """

    def __init__(self, arch: str | dict = "deit-small", img_size: int = 224, patch_size: int = 16, **kwargs) -> None:
        _check_size(img_size, img_size, patch_size, "img_size of the config")
        super().__init__(arch=arch, img_size=img_size, patch_size=patch_size, out_type="raw", **kwargs)
        self.patch_size = patch_size

    def init_weights(self) -> None:
        """As timm does, unless ``init_cfg`` names a checkpoint."""
        super().init_weights()
        if self.init_cfg and "Pretrained" in str(self.init_cfg.get("type", "")):
            return
        trunc_normal_(self.cls_token, std=0.02)  # the parent did the position embedding
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor]:
        """Tokens of images.

        Args:
            x: (B, 3, H, W), normalised.
            keep: (B, K) patch indices, row by row; ``None``: all.
        """
        _check_size(x.shape[2], x.shape[3], self.patch_size, "size of the images")
        patches, resolution = self.patch_embed(x)  # (B, N, D)
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1), patches), dim=1)
        tokens = tokens + resize_pos_embed(
            self.pos_embed, self.patch_resolution, resolution, mode=self.interpolate_mode
        )
        if keep is not None:
            index = torch.cat((keep.new_zeros(len(keep), 1), keep + 1), dim=1)  # (B, 1 + K), class token first
            tokens = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        for layer in self.layers:
            tokens = layer(tokens)
        return (self.ln1(tokens) if self.final_norm else tokens,)


def _check_size(height: int, width: int, patch_size: int, what: str) -> None:
    if height % patch_size or width % patch_size:
        raise ConfigError(
            f"SaliencyViT: the {what}, {height} x {width} pixels, is no multiple of patch_size={patch_size}; "
            f"set img_size={max(round(height / patch_size), 1) * patch_size} or another patch_size"
        )
