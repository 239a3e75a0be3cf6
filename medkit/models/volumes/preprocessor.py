"""Volumes of a batch on the model's device, looked at once: a NaN or an empty scan is named, not trained on.

Command: ``python tools/train.py configs/cae3d_brain_phantom.py``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from medkit.errors import DatasetError
from medkit.registry import MODELS

SLACK = 1e-3  # resampling overshoots


@MODELS.register_module()
class VolumeDataPreprocessor(BaseDataPreprocessor):
    """Stacks (1, D, H, W) volumes to (B, 1, D, H, W) float32 and refuses what no training can use.

    Raises:
        DatasetError: volumes of a batch differ in shape; a volume has NaN or infinite voxels, is constant, or is not
            scaled to [0, 1]. The message names the file, where the data sample has ``img_path``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move, stack, check."""
        data = self.cast_data(data)  # type: ignore[assignment]
        samples = data.get("data_samples")
        volumes = stack(data["inputs"]).float()
        check_volumes(volumes, samples)
        return {**data, "inputs": volumes, "data_samples": samples}


def stack(volumes: Tensor | Sequence[Tensor]) -> Tensor:
    """(B, 1, D, H, W) of such a batch or of a list of (1, D, H, W)."""
    if not isinstance(volumes, Tensor):
        shapes = sorted({tuple(volume.shape) for volume in volumes})
        if len(shapes) != 1:
            raise DatasetError(
                f"the volumes of a batch differ in shape: {shapes}; bring them to one grid with the data set's "
                "target size"
            )
        volumes = torch.stack(list(volumes))
    if volumes.dim() != 5 or volumes.shape[1] != 1:
        raise DatasetError(
            f"volumes are {tuple(volumes.shape)}, expected (B, 1, D, H, W): one channel, three axes; take one time "
            "point of a 4-D file"
        )
    return volumes


def check_volumes(volumes: Tensor, samples: Sequence[Any] | None = None) -> None:
    """Refuse NaN, constant and unscaled volumes (B, 1, D, H, W), naming the first."""
    low, high = volumes.flatten(1).aminmax(dim=1)  # (B,) each; NaN where a voxel is NaN
    good = torch.stack([low.isfinite() & high.isfinite(), low < high, (low >= -SLACK) & (high <= 1 + SLACK)])  # (3, B)
    if good.all():
        return
    index = int((~good.all(dim=0)).nonzero()[0])
    finite, varies, _ = good[:, index].tolist()
    name = getattr(samples[index], "img_path", None) if samples else None
    volume = volumes[index]
    if not finite:
        wrong = f"has {int((~volume.isfinite()).sum())} voxels that are NaN or infinite"
        cure = "repair or leave out the file"
    elif not varies:
        wrong = f"is {float(low[index]):g} everywhere"
        cure = "look at it: the scan is empty, or cropping or intensity scaling removed all of it"
    else:
        wrong = f"has intensities from {float(low[index]):g} to {float(high[index]):g}, expected [0, 1]"
        cure = "scale intensities as medkit.VolumeDataset does"
    raise DatasetError(f"{name or f'volume {index} of the batch'} {wrong}; {cure}")
