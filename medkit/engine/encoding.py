"""Frozen features of images from a trained backbone: the one way in which the k-NN probe, tools and tables get them.

A convolutional network gives the average of its last stage, a Vision Transformer its class token, or that and the
mean of its patch tokens. Attention maps are those of DINO (Caron et al., "Emerging Properties in Self-Supervised
Vision Transformers", 2021, figure 1). Command: ``python tools/features.py CONFIG CHECKPOINT OUT.npy``.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from medkit.errors import ConfigError

POOLS = ("knn", "probe")


class Encoder(nn.Module):
    """A backbone with its normalisation: (B, 3, H, W) normalised RGB images in, (B, D) features out.

    It is differentiable and follows ``train()`` and ``eval()``, so that it can be fine-tuned.

    Args:
        backbone: mmpretrain's ResNet or VisionTransformer, or any module that returns (B, C, H, W) or a tuple of such.
        mean: of the three channels in RGB, 0 to 255.
        std: of the three channels in RGB.
        loading: config of the transform that reads a file to ``img`` in BGR.

    Attributes:
        dims: features of each pooling, ``{'knn': D, 'probe': D or 2 * D}``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        loading: Mapping | None = None,
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.loading = dict(loading or {"type": "medkit.LoadMedicalImage"})
        self.is_vit = hasattr(backbone, "patch_embed") and hasattr(backbone, "layers")
        if self.is_vit and not getattr(backbone, "num_extra_tokens", 1):
            raise ConfigError("the encoder pools the class token, but the backbone has with_cls_token=False")
        self.dims = {pool: self._width(pool) for pool in POOLS}

    def forward(self, images: Tensor, pool: str = "knn") -> Tensor:
        """Features (B, D) of normalised images.

        Args:
            images: (B, 3, H, W), RGB, ``(pixel - mean) / std``.
            pool: ``'knn'``: average-pooled last stage, or the class token after the final norm; ``'probe'``: the
                same for a convolutional network, ``[class token; mean of the patch tokens]`` for a transformer.
        """
        if pool not in POOLS:
            raise ConfigError(f"pool={pool!r}; expected one of {POOLS}")
        if self.is_vit:
            tokens = self.tokens(images)  # (B, 1 + N, D)
            return tokens[:, 0] if pool == "knn" else torch.cat((tokens[:, 0], tokens[:, 1:].mean(dim=1)), dim=1)
        out = self.backbone(images)
        out = out[-1] if isinstance(out, (tuple, list)) else out
        return out.mean(dim=(2, 3)) if out.ndim == 4 else out  # (B, C)

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + N, D) of a Vision Transformer after its final norm, the class token first."""
        forward = self.backbone.forward
        # mmpretrain's MAEViT drops three quarters of the patches unless it is told not to.
        whole = {"mask": None} if "mask" in inspect.signature(forward).parameters else {}
        with _raw_tokens(self.backbone):
            out = self.backbone(images, **whole)
        return out[-1] if isinstance(out, (tuple, list)) else out

    @torch.no_grad()
    def attention(self, images: Tensor) -> Tensor:
        """Attention of the class token to the patches in the last block, (B, heads, h, w), each head's sum at most 1.

        Raises:
            ConfigError: the backbone is no Vision Transformer.
        """
        if not self.is_vit:
            raise ConfigError(f"{type(self.backbone).__name__} has no attention; use a config with a VisionTransformer")
        seen: dict[str, Any] = {}
        block = self.backbone.layers[-1]
        handles = [
            block.ln1.register_forward_hook(lambda _, __, out: seen.update(x=out)),
            self.backbone.patch_embed.register_forward_hook(lambda _, __, out: seen.update(grid=out[1])),
        ]
        try:
            self.tokens(images)
        finally:
            for handle in handles:
                handle.remove()
        x, attn = seen["x"], block.attn  # (B, 1 + N, D)
        batch, length, _ = x.shape
        qkv = attn.qkv(x).view(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, heads, L, C)
        query, key, _ = qkv
        weight = (query[:, :, :1] @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return weight[:, :, 0, 1:].reshape(batch, attn.num_heads, *seen["grid"])

    def _width(self, pool: str) -> int:
        if self.is_vit:
            return self.backbone.embed_dims * (2 if pool == "probe" else 1)
        parameter = next(self.backbone.parameters())
        with evaluating(self.backbone):
            return self(torch.zeros(1, 3, 64, 64, device=parameter.device, dtype=parameter.dtype), pool).shape[1]


def encoder_of(model: nn.Module, cfg: Config) -> Encoder:
    """The encoder inside a built pre-training model; it shares the model's weights.

    Raises:
        ConfigError: the model has no ``backbone``, or reads its images as BGR.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ConfigError(
            f"{type(model).__name__} has no `backbone`, so there is nothing to take features from; give a config of a "
            "pre-training, such as configs/simsiam_busi.py"
        )
    settings: Mapping = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    mean, std = settings.get("mean"), settings.get("std")
    if mean is None or std is None:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif not (settings.get("to_rgb") or settings.get("bgr_to_rgb")):
        raise ConfigError("the config's data_preprocessor leaves images in BGR; set to_rgb=True, mean and std in RGB")
    return Encoder(backbone, mean, std, loading=_loading(cfg))


def _loading(cfg: Config) -> dict:
    """How the config reads a file; anything but medkit's loader reads 8-bit files as that one does."""
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    for step in dataset.get("pipeline") or []:
        if str(step.get("type")).endswith("LoadMedicalImage"):
            return dict(step) | {"type": "medkit.LoadMedicalImage"}
    return {"type": "medkit.LoadMedicalImage"}


class ImageFiles(Dataset):
    """Image files as normalised tensors (3, size, size), resized to a square as training and testing do.

    Args:
        files: paths.
        img_size: side in pixels.
        encoder: says how a file is read and normalised.
    """

    def __init__(self, files: Sequence[str], img_size: int, encoder: Encoder) -> None:
        self.files, self.img_size = list(files), img_size
        self.load = TRANSFORMS.build(dict(encoder.loading))
        self.mean, self.std = np.array(encoder.mean), np.array(encoder.std)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = self.load({"img_path": str(self.files[index])})["img"]  # (H, W, 3) BGR
        image = mmcv.imresize(image, (self.img_size, self.img_size))
        image = mmcv.imnormalize(image, self.mean, self.std, to_rgb=True)  # float32
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def encode_files(
    encoder: Encoder,
    files: Sequence[str],
    img_size: int,
    pool: str = "knn",
    batch_size: int = 64,
    num_workers: int = 1,
) -> Iterator[np.ndarray]:
    """Features (B, D) float32 of each batch of image files, in order; no random number is drawn."""
    loader = DataLoader(
        ImageFiles(files, img_size, encoder),
        batch_size=batch_size,
        num_workers=num_workers,
        generator=torch.Generator(),  # workers are seeded from it: the process's own generator stays as it is
    )
    device = next(encoder.parameters()).device
    with evaluating(encoder):
        for images in loader:
            yield encoder(images.to(device), pool).float().cpu().numpy()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every part is in the mode in which it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def _raw_tokens(backbone: Any) -> Iterator[None]:
    before = backbone.out_type
    backbone.out_type = "raw"
    try:
        yield
    finally:
        backbone.out_type = before
