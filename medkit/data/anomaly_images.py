"""Data sets of anomaly detection: healthy and mixed images in pairs for training, labelled ones for evaluation.

HealthyGAN (Rahman Siddiquee et al., SASHIMI 2022) pairs them as `AnomalyPairs` does. Config:
configs/_base_/datasets/anomaly.py; command: ``python tools/train.py configs/healthygan_phantom.py``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement
from torch import Tensor

from medkit.data.anomaly_table import ANOMALOUS, HEALTHY, ROLES, AnomalySet, read_anomaly
from medkit.errors import ConfigError, DatasetError
from medkit.registry import DATASETS

WHOLE = (0.0, 0.0, 1.0, 1.0)


@DATASETS.register_module()
class AnomalyPairs(BaseDataset):
    """Training images: item i is healthy image i mod |B| and, with ``mixed``, mixed image i mod |A|.

    The length is |A| + |B|, as published, so that with a shuffling sampler an epoch shows every image at least once;
    without ``mixed`` it is |B|. Samples are ``dict(inputs=dict(healthy=(3, H, W) uint8[, mixed=(3, H, W) uint8]))``,
    BGR; each image goes through ``pipeline`` by itself, so that the two are flipped independently. Labels of the mixed
    images are never passed on.

    Args:
        data_root: a folder that `read_anomaly` reads.
        mixed: give mixed images too (HealthyGAN); methods that learn from healthy images alone do without.
        pipeline: transforms from ``img_path`` to ``img`` (H, W, 3) uint8.
        kwargs: as for `mmengine.dataset.BaseDataset` (``indices``, ...).

    Raises:
        DatasetError: as `read_anomaly`; or mixed images are wanted and there are none.
    """

    def __init__(self, data_root: str = "", *, mixed: bool = True, pipeline: Sequence = (), **kwargs) -> None:
        self.mixed = mixed
        super().__init__(data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Paths of the pairs."""
        found = read_anomaly(self.data_root)
        healthy, mixed = ([found.files[row] for row in found.rows(role)] for role in ("healthy", "mixed"))
        if not self.mixed:
            return [{"healthy": path, "img_id": number} for number, path in enumerate(healthy)]
        if not mixed:
            raise DatasetError(
                f"{self.data_root} has no image of role mixed (set A); give some, or take a method that learns from "
                "healthy images alone with mixed=False"
            )
        # The order of A must not follow B's: with |A| = |B| the same two would meet by their names.
        mixed = [mixed[place] for place in np.random.default_rng(0).permutation(len(mixed))]
        return [
            {"healthy": healthy[number % len(healthy)], "mixed": mixed[number % len(mixed)], "img_id": number}
            for number in range(len(healthy) + len(mixed))
        ]

    def prepare_data(self, idx: int) -> Any:
        """Load and transform the images of a pair."""
        info = self.get_data_info(idx)
        roles = ("healthy", "mixed") if self.mixed else ("healthy",)
        return {"inputs": {role: _to_tensor(self.pipeline({"img_path": info[role]}), info[role]) for role in roles}}


@DATASETS.register_module()
class AnomalyImages(BaseDataset):
    """Images to score: ``dict(inputs=(3, H, W) uint8 BGR, data_samples=BaseDataElement)``.

    A data sample carries ``gt_label`` (0, 1; -1 unknown), ``role``, ``patient_id``, ``img_path`` and, where the set has
    masks, ``gt_mask`` (H, W) uint8 of 0 and 1 in the size of the input (empty for healthy images, absent where an
    anomaly is not outlined). In val and test the two kinds take turns, so that the first few images hold both.

    Args:
        data_root: a folder that `read_anomaly` reads.
        roles: those wanted; ``('val', 'healthy', 'mixed')`` lets `medkit.AnomalyMetric` log AUCp.
        limit: role -> at most so many images of it, spread over the whole.
        pipeline: transforms from ``img_path`` to ``img`` (H, W, 3) uint8. Masks follow ``view``, which
            `medkit.SquareResize` leaves, and no other geometry.
        kwargs: as for `mmengine.dataset.BaseDataset` (``indices``, ...).

    Raises:
        ConfigError: unknown role.
        DatasetError: as `read_anomaly`; or a role has no image.
    """

    def __init__(
        self,
        data_root: str = "",
        *,
        roles: Sequence[str] = ("test",),
        limit: Mapping[str, int] | None = None,
        pipeline: Sequence = (),
        **kwargs,
    ) -> None:
        self.roles, self.limit = tuple(roles), dict(limit or {})
        unknown = sorted((set(self.roles) | set(self.limit)) - set(ROLES))
        if unknown or not self.roles:
            raise ConfigError(f"AnomalyImages: roles={self.roles}, limit={self.limit}; known are {', '.join(ROLES)}")
        super().__init__(data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """The images of each role, the two kinds in turn."""
        found = read_anomaly(self.data_root)
        rows = [row for role in self.roles for row in self._rows(found, role)]
        return [
            {
                "img_path": found.files[row],
                "gt_label": int(found.labels[row]),
                "role": str(found.roles[row]),
                "patient_id": str(found.patients[row]),
                "mask_path": found.masks[row],
                "boxes": found.boxes[row],
                "has_masks": found.has_masks,
                "img_id": number,
            }
            for number, row in enumerate(rows)
        ]

    def _rows(self, found: AnomalySet, role: str) -> list[int]:
        rows = found.rows(role)
        if not len(rows):
            raise DatasetError(f"{self.data_root} has no image of role {role}, which roles={self.roles} asks for")
        rows = rows[_spread(len(rows), self.limit.get(role, len(rows)))]
        if role in ("val", "test"):
            place = np.zeros(len(rows), np.int64)  # of each image among those of its own kind
            for label in (HEALTHY, ANOMALOUS):
                same = found.labels[rows] == label
                place[same] = np.arange(same.sum())
            rows = rows[np.argsort(place, kind="stable")]
        return rows.tolist()

    def prepare_data(self, idx: int) -> Any:
        """Load and transform one image, and fit its mask."""
        info = self.get_data_info(idx)
        results = self.pipeline({"img_path": info["img_path"]})
        inputs = _to_tensor(results, info["img_path"])
        sample = BaseDataElement(metainfo={name: info[name] for name in ("img_path", "patient_id", "role", "img_id")})
        sample.gt_label = info["gt_label"]
        height, width = inputs.shape[-2:]
        mask = draw_mask(info, (height, width), results.get("view", WHOLE))
        if mask is not None:
            sample.gt_mask = mask
        return {"inputs": inputs, "data_samples": sample}


def draw_mask(
    info: Mapping[str, Any], shape: tuple[int, int], view: tuple[float, float, float, float] = WHOLE
) -> np.ndarray | None:
    """Mask (H, W) uint8 of 0 and 1 in the size of the network's input, or None where nobody drew one.

    A healthy image of a set with masks has an empty one. Boxes stand in where there is no mask file.

    Args:
        info: sample with ``mask_path``, ``boxes`` ((K, 4) xyxy in shares), ``gt_label`` and ``has_masks``.
        shape: (H, W) of the input.
        view: part of the image that the input shows: left, top, right, bottom in shares.

    Raises:
        DatasetError: the mask cannot be read.
    """
    height, width = shape
    left, top, right, bottom = view
    if info["mask_path"] is not None:
        found = cv2.imread(info["mask_path"], cv2.IMREAD_GRAYSCALE)
        if found is None:
            raise DatasetError(
                f"mask {info['mask_path']} cannot be decoded; expected a grey PNG, not 0 where the image is anomalous"
            )
        rows, columns = found.shape
        part = found[round(top * rows) : round(bottom * rows), round(left * columns) : round(right * columns)]
        return (cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST) > 0).astype(np.uint8)
    if info["boxes"] is None:
        return np.zeros(shape, np.uint8) if info["has_masks"] and info["gt_label"] == HEALTHY else None
    seen = (info["boxes"] - np.array([left, top] * 2)) / np.array([right - left, bottom - top] * 2)
    corners = np.clip(seen, 0, 1) * np.array([width, height] * 2)  # (K, 4) xyxy in pixels of the input
    drawn = np.zeros(shape, np.uint8)
    for x1, y1, x2, y2 in np.concatenate([np.floor(corners[:, :2]), np.ceil(corners[:, 2:])], axis=1).astype(int):
        drawn[y1:y2, x1:x2] = 1
    return drawn


def _spread(total: int, wanted: int) -> np.ndarray:
    """Places of ``wanted`` of ``total`` things, evenly spread; all of them where there are no more."""
    return np.arange(min(total, wanted)) * total // max(1, min(total, wanted))


def _to_tensor(results: dict, path: str) -> Tensor:
    image = results.get("img")
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8:
        raise ConfigError(
            f"the pipeline made no image (H, W, 3) of 8 bits of {path}; begin it with "
            "dict(type='medkit.LoadMedicalImage')"
        )
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # (3, H, W)
