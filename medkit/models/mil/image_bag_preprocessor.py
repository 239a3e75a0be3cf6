"""The studies of a batch on the model's device, padded to the longest, normalised as the backbone expects.

Used by every config of `medkit.ImageBagClassifier`.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from medkit.errors import DatasetError
from medkit.models.mil.masking import pad_bags
from medkit.registry import MODELS


@MODELS.register_module()
class ImageBagPreprocessor(BaseDataPreprocessor):
    """Takes ``inputs``, a list of (N_i, 3, H, W) uint8 BGR; gives ``dict(images=(B, N, 3, H, W), mask=(B, N))``.

    Args:
        mean: of each channel, in the order of the output.
        std: of each channel.
        to_rgb: turn BGR into RGB.

    Raises:
        DatasetError: studies of a batch whose images differ in size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        to_rgb: bool = True,
    ) -> None:
        super().__init__()
        self.to_rgb = to_rgb
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move, pad, normalise; the padding is never looked at."""
        data = self.cast_data(data)  # type: ignore[assignment]
        studies = data["inputs"]
        if len(sizes := {tuple(study.shape[1:]) for study in studies}) != 1:
            raise DatasetError(
                f"images of a batch of studies differ in size: {sorted(sizes)}; resize them to one size in the pipeline"
            )
        images, mask = pad_bags(studies)  # (B, N, 3, H, W), (B, N)
        images = (images.flip(2) if self.to_rgb else images).float().sub_(self.mean).div_(self.std)
        return {**data, "inputs": {"images": images, "mask": mask}, "data_samples": data.get("data_samples")}
