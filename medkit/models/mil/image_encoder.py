"""The images of many studies through one backbone, a chunk at a time, without the padding.

A study of N images costs N times the memory of one. `encode_images` runs the real images of a batch of studies in
chunks, and with ``recompute`` keeps no activation of a chunk but its result; the backward pass makes the others again
(T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174; `torch.utils.checkpoint`).
Used by `medkit.ImageBagClassifier`. Command: ``python -m pytest tests/models/mil/test_image_bags.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medkit.errors import ConfigError


def encode_images(
    encode: Callable[[Tensor], Tensor],
    images: Tensor,
    mask: Tensor,
    chunk_size: int | None = None,
    recompute: nn.Module | None = None,
) -> Tensor:
    """Features (B, N, ...) of studies of images, 0 where ``mask`` is False; those images are not looked at.

    Chunks are as equal as can be, so that batch norm, if it uses the statistics of the chunk, gets no small last one.

    Args:
        encode: from images (M, 3, H, W) to features (M, ...), one by one.
        images: (B, N, 3, H, W).
        mask: (B, N) bool, True for a real image.
        chunk_size: images at once, at most; None: all.
        recompute: the module behind ``encode``, whose activations are not kept but made again in the backward pass,
            with the same random numbers; its buffers (statistics of batch norm) change in the forward pass only.

    Raises:
        ConfigError: shapes that do not fit, or a batch without any image.
    """
    _check(images, mask, chunk_size)
    flat, rows = images.flatten(0, 1), mask.flatten().nonzero()[:, 0]  # (B N, 3, H, W), (M,)
    chunks = rows.tensor_split(-(-len(rows) // (chunk_size or len(rows))))

    def of_rows(chunk: Tensor) -> Tensor:
        return encode(flat[chunk])  # taken here, so that a checkpoint holds indices and no copies of images

    if recompute is None or not torch.is_grad_enabled():
        parts = [of_rows(chunk) for chunk in chunks]
    else:
        contexts = partial(_contexts, recompute)
        parts = [checkpoint(of_rows, chunk, use_reentrant=False, context_fn=contexts) for chunk in chunks]
    packed = torch.cat(parts)  # (M, ...)
    feats = packed.new_zeros(len(flat), *packed.shape[1:]).index_put((rows,), packed)
    return feats.unflatten(0, mask.shape)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Around the first pass, and around the one that makes the activations again."""
    return nullcontext(), unchanged_buffers(module)


@contextmanager
def unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """What is written to the module's buffers meanwhile goes to copies, which are dropped afterwards."""
    own = [(part, name, buffer) for part in module.modules() for name, buffer in part._buffers.items()]
    for part, name, buffer in own:
        part._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for part, name, buffer in own:
            part._buffers[name] = buffer


def _check(images: Tensor, mask: Tensor, chunk_size: int | None) -> None:
    if chunk_size is not None and chunk_size < 1:
        raise ConfigError(f"chunk_size={chunk_size}; give the images at once, 1 or more, or None for all")
    if images.dim() != 5 or mask.shape != images.shape[:2] or mask.dtype != torch.bool:
        raise ConfigError(
            f"images {tuple(images.shape)} and mask {tuple(mask.shape)} of {mask.dtype}; expected (studies, images, 3, "
            "height, width) and (studies, images) of torch.bool"
        )
    if not mask.any():
        raise ConfigError(f"none of the {len(mask)} studies of the batch has an image; leave such studies out")
