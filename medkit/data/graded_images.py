"""Images of a graded set for probing and fine-tuning, with SSiT's augmentation (Huang et al., JBHI 2024).

Used by ``python tools/benchmark_selfsup.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

__all__ = ["GradedImages", "resize", "ssit_augmentation"]


class GradedImages(Dataset):
    """Pairs of an image (3, S, S), float32, RGB from 0 to 255, and its label.

    Args:
        files: paths.
        labels: class of each.
        transform: from a uint8 tensor (3, H, W) to one of (3, S, S).
        loading: config of the transform that reads a file to ``img`` (H, W, 3) in BGR.

    Raises:
        DatasetError: at the image that cannot be read, naming it.
    """

    def __init__(
        self,
        files: Sequence[str],
        labels: Sequence[int],
        transform: Callable[[Tensor], Tensor],
        loading: Mapping | None = None,
    ) -> None:
        self.files, self.labels, self.transform = list(files), list(map(int, labels)), transform
        self.load = TRANSFORMS.build(dict(loading or {"type": "medkit.LoadMedicalImage"}))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.load({"img_path": self.files[index]})["img"]  # (H, W, 3)
        pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)  # (3, H, W)
        return self.transform(pixels).float(), self.labels[index]


def resize(img_size: int) -> v2.Transform:
    """How held-out images are shown: squeezed to a square, bilinear with antialiasing, as the training views are."""
    return v2.Resize((img_size, img_size), antialias=True)


def ssit_augmentation(img_size: int) -> v2.Transform:
    """SSiT's training views: flips, crops of 87 to 115 % of the area, colour, any rotation, shifts of 10 %.

    It is made for fundus photographs, which have no up or down. Where no crop fits (an area of over 100 %), torchvision
    takes the largest that keeps the ratio, as in the published code.
    """
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomResizedCrop(img_size, scale=(0.87, 1.15), ratio=(0.7, 1.3), antialias=True),
            v2.ColorJitter(0.2, 0.2, 0.1, 0.1),
            v2.RandomRotation(180),
            v2.RandomAffine(0, translate=(0.1, 0.1)),
        ]
    )
