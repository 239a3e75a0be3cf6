"""Images of anomaly detection on the model's device and scale: uint8 BGR to float32 RGB in [-1, 1].

Used by every config of the family: ``data_preprocessor=dict(type='medkit.AnomalyDataPreprocessor')``.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from medkit.errors import DatasetError
from medkit.registry import MODELS


@MODELS.register_module()
class AnomalyDataPreprocessor(BaseDataPreprocessor):
    """Stacks images, moves them to the device and scales them: x / 127.5 - 1.

    Takes ``dict(inputs=..., data_samples=...)``. ``inputs`` is a batch (B, 3, H, W) uint8 BGR, a list of such images
    (3, H, W), or, in training, a dictionary of batches (``healthy``, ``mixed``). Returns the same with float32 RGB
    images.

    Raises:
        DatasetError: images of a batch differ in size, or an image has not 3 channels of 8 bits.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Cast and scale ``inputs``; everything else is only moved to the device."""
        data = self.cast_data(data)  # type: ignore[assignment]
        inputs = data["inputs"]
        if isinstance(inputs, dict):
            scaled = {name: scale_images(images) for name, images in inputs.items()}
        else:
            scaled = scale_images(inputs)  # type: ignore[assignment]
        return {**data, "inputs": scaled, "data_samples": data.get("data_samples")}


def scale_images(images: Tensor | Sequence[Tensor]) -> Tensor:
    """(B, 3, H, W) uint8 BGR, or a list of (3, H, W), to float32 RGB in [-1, 1]."""
    if not isinstance(images, Tensor):
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) != 1:
            raise DatasetError(
                f"the images of a batch differ in shape: {sorted(shapes)}; resize them to one size in the pipeline, or "
                "set batch_size=1"
            )
        images = torch.stack(list(images))
    if images.dim() != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise DatasetError(
            f"images are {tuple(images.shape)} {images.dtype}, expected (B, 3, H, W) uint8; load them with "
            "medkit.LoadMedicalImage, which makes 3 channels of 8 bits of any image"
        )
    return images.flip(1).float().div_(127.5).sub_(1)
