"""The labels of a batch of scans, and whether its last items are the anchors that metric learning asks for.

Used by ``configs/cae3d_metric_brain_phantom.py``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medkit.errors import ConfigError, DatasetError

SAMPLER = (
    "set train_dataloader.batch_sampler=dict(type='medkit.AnchorBatchSampler', num_classes={}, anchors_per_class={})"
)


def gt_labels(samples: Sequence[Any] | None, num_volumes: int) -> list[int]:
    """``gt_label`` of each sample, -1 where it has none."""
    if samples is None or len(samples) != num_volumes:
        raise DatasetError(
            f"{num_volumes} volumes came with {len(samples or ())} data samples, expected one per volume; take "
            "medkit.VolumeDataset"
        )
    return [int(torch.as_tensor(sample.gt_label)) if "gt_label" in sample else -1 for sample in samples]


def split_anchors(samples: Sequence[Any] | None, num_volumes: int, num_classes: int, per_class: int) -> Tensor:
    """Labels (B,) of the items before the anchors, after checking these.

    Raises:
        ConfigError: the last ``num_classes * per_class`` items are not anchors in class order, or there are no others.
        DatasetError: a label that is no class, an anchor of a subject that is in the batch.
    """
    labels = gt_labels(samples, num_volumes)
    count = num_classes * per_class
    rest, anchors = labels[:-count], labels[-count:]
    wanted = [label for label in range(num_classes) for _ in range(per_class)]
    if not rest or anchors != wanted:
        raise ConfigError(
            f"metric learning needs {count} anchors at the end of a batch, labelled {wanted}; the batch has "
            f"{len(labels)} volumes and ends with {anchors}; {SAMPLER.format(num_classes, per_class)}"
        )
    for sample, label in zip(samples or (), rest, strict=False):
        if not -1 <= label < num_classes:
            raise DatasetError(
                f"{sample.get('img_path', 'a volume')} has label {label}, but the model has {num_classes} classes; set "
                "model.num_classes, or label -1 for scans of no class"
            )
    subjects = [sample.get("subject") for sample in samples or ()]
    both = {name for name in subjects[-count:] if name is not None} & set(subjects[:-count])
    if both:
        raise DatasetError(
            f"subject {sorted(map(str, both))[0]} is in the batch and among its anchors, which makes the distance "
            f"trivial; {SAMPLER.format(num_classes, per_class)}"
        )
    return torch.tensor(rest)
