"""What a probe or fine-tuning is fed: cached features of a graded set, or its images.

Both make the model that fits them, give shuffled training batches, and held-out inputs in order.
Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medkit.data.graded import GradedSet
from medkit.data.graded_images import GradedImages, resize, ssit_augmentation
from medkit.engine.encoding import Encoder, evaluating

__all__ = ["FeatureBatches", "ImageBatches"]


class FeatureBatches:
    """Frozen features of a set, read once; no augmentation.

    Args:
        features: ``(N, D)`` of all images of the set.
        graded: the set.
        batch_size: for training.
        standardise: to mean 0 and deviation 1 over the training images.
    """

    def __init__(self, features: np.ndarray, graded: GradedSet, batch_size: int, standardise: bool = False) -> None:
        train = features[graded.rows("train")]
        if standardise:
            features = (features - train.mean(axis=0)) / np.maximum(train.std(axis=0), 1e-6)
        self.features, self.labels = torch.from_numpy(np.float32(features)), torch.from_numpy(graded.labels)
        self.graded, self.batch_size = graded, batch_size

    def model(self, num_outputs: int) -> nn.Module:
        """The linear layer alone."""
        return _linear(self.features.shape[1], num_outputs)

    def trained(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters to train: all of the linear layer."""
        return list(model.parameters())

    def train(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, shuffled."""
        rows = torch.from_numpy(self.graded.rows("train"))
        for part in rows[torch.randperm(len(rows))].split(self.batch_size):
            yield self.features[part], self.labels[part]

    def held_out(self, split: str) -> Iterator[Tensor]:
        """All images of a split, in order."""
        yield self.features[torch.from_numpy(self.graded.rows(split))]


class ImageBatches:
    """Images of a set, augmented for training as SSiT publishes it.

    Args:
        encoder: gives the features; a copy of it is trained.
        graded: the set.
        img_size: side of the images in pixels.
        batch_size: for training.
        frozen: only the last layer is trained, the encoder stays in evaluation mode.
        num_workers: processes that read images.
    """

    def __init__(
        self, encoder: Encoder, graded: GradedSet, img_size: int, batch_size: int, *, frozen: bool, num_workers: int = 1
    ) -> None:
        self.encoder, self.graded, self.frozen = encoder, graded, frozen
        self.img_size, self.batch_size, self.num_workers = img_size, batch_size, num_workers

    def model(self, num_outputs: int) -> nn.Module:
        """Encoder and linear layer; the encoder passed in stays as it is."""
        encoder = self.encoder if self.frozen else copy.deepcopy(self.encoder)
        return _Graded(encoder, _linear(encoder.dims["probe"], num_outputs), self.frozen)

    def trained(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters to train: all, or those of the linear layer."""
        return list(model.get_submodule("fc").parameters() if self.frozen else model.parameters())

    def train(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, shuffled and augmented."""
        yield from self._loader("train", ssit_augmentation(self.img_size), shuffle=True)

    def held_out(self, split: str) -> Iterator[Tensor]:
        """All images of a split, in order."""
        for images, _ in self._loader(split, resize(self.img_size), shuffle=False):
            yield images

    def _loader(self, split: str, transform: Callable[[Tensor], Tensor], shuffle: bool) -> DataLoader:
        rows = self.graded.rows(split)
        images = GradedImages(
            [self.graded.files[i] for i in rows], self.graded.labels[rows], transform, self.encoder.loading
        )
        return DataLoader(images, self.batch_size, shuffle=shuffle, num_workers=self.num_workers)


class _Graded(nn.Module):
    """(B, 3, H, W) RGB from 0 to 255 to outputs (B, 1 or K)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, fc: nn.Linear, frozen: bool) -> None:
        super().__init__()
        self.encoder, self.fc, self.frozen = encoder, fc, frozen
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(encoder, name)).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = (images - self.mean) / self.std
        if self.frozen:
            with evaluating(self.encoder):
                features = self.encoder(images, "probe")
        else:
            features = self.encoder(images, "probe")
        return self.fc(features)


def _linear(dims: int, num_outputs: int) -> nn.Linear:
    fc = nn.Linear(dims, num_outputs)
    nn.init.normal_(fc.weight, std=0.01)
    nn.init.zeros_(fc.bias)
    return fc
