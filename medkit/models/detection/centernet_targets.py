"""Training targets of CenterNet for a whole batch at once (Zhou et al., Objects as Points, arXiv 1904.07850).

mmdet draws one box after the other in Python and reads device scalars for each. Here one scatter draws every
box of the batch, without waiting for the device, and the result equals mmdet's to the last bit.
``python tools/benchmark.py targets`` times both.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from mmdet.models.utils.gaussian_target import gaussian2D
from torch import Tensor

from medkit.errors import ConfigError

RADIUS_VARIANTS = ("mmdet", "official")


def gaussian_radius(height: Tensor, width: Tensor, variant: str = "mmdet") -> Tensor:
    """Integer radius of the Gaussian that stands for a box on the heat map.

    Args:
        height: Box heights (N,) in output pixels, float32.
        width: Box widths (N,) in output pixels, float32.
        variant: ``'mmdet'``: roots of the three quadratics at overlap 0.3, about 0.226 of a square's side.
            ``'official'``: the paper's code, sizes rounded up, overlap 0.7, undivided roots; about 0.273.

    Returns:
        Radii (N,), int64, never negative.
    """
    if variant == "mmdet":
        radius = _radius_mmdet(height, width)
    elif variant == "official":
        radius = _radius_official(height.ceil(), width.ceil())
    else:
        raise ConfigError(f"radius variant {variant!r} is unknown; expected one of {RADIUS_VARIANTS}")
    return radius.long().clamp(min=0)


def _radius_mmdet(height: Tensor, width: Tensor, overlap: float = 0.3) -> Tensor:
    # The order of the factors is mmdet's: another may differ in the last bit and so flip an integer radius.
    side = height + width
    area1 = width * height * (1 - overlap) / (1 + overlap)
    radius1 = (side - (side**2 - 4 * area1).sqrt()) / 2
    side2, area2 = 2 * side, (1 - overlap) * width * height
    radius2 = (side2 - (side2**2 - 16 * area2).sqrt()) / 8
    a3, b3, c3 = 4 * overlap, -2 * overlap * side, (overlap - 1) * width * height
    radius3 = (b3 + (b3**2 - 4 * a3 * c3).sqrt()) / (2 * a3)
    return torch.minimum(torch.minimum(radius1, radius2), radius3)


def _radius_official(height: Tensor, width: Tensor, overlap: float = 0.7) -> Tensor:
    side, area = height + width, height * width
    radius1 = (side + (side**2 - 4 * area * (1 - overlap) / (1 + overlap)).sqrt()) / 2
    radius2 = (2 * side + (4 * side**2 - 16 * (1 - overlap) * area).sqrt()) / 2
    b3 = -2 * overlap * side
    radius3 = (b3 + (b3**2 + 16 * overlap * (1 - overlap) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(radius1, radius2), radius3)


@lru_cache(maxsize=8)
def _kernel_table(max_radius: int, device: torch.device) -> Tensor:
    """Every Gaussian of radius 0..R in the middle of a (2R+1, 2R+1) window: (R+1, 2R+1, 2R+1)."""
    side = 2 * max_radius + 1
    table = torch.zeros(max_radius + 1, side, side, device=device)
    for radius in range(max_radius + 1):
        inner = slice(max_radius - radius, max_radius + radius + 1)
        table[radius, inner, inner] = gaussian2D(radius, sigma=(2 * radius + 1) / 6, device=device)
    return table


@lru_cache(maxsize=64)
def _largest_radius(feat_h: int, feat_w: int, variant: str) -> int:
    return int(gaussian_radius(torch.tensor([float(feat_h)]), torch.tensor([float(feat_w)]), variant))


def _draw_heatmap(heatmap: Tensor, plane: Tensor, cell: Tensor, radius: Tensor, max_radius: int) -> None:
    """Draw N Gaussians into ``heatmap`` (P, H, W) by maximum; ``plane`` (N,), ``cell`` (N, 2) as x, y."""
    _, height, width = heatmap.shape
    around = torch.arange(-max_radius, max_radius + 1, device=heatmap.device)
    xs = cell[:, :1] + around  # (N, D)
    ys = cell[:, 1:] + around  # (N, D)
    inside = ((ys >= 0) & (ys < height))[:, :, None] & ((xs >= 0) & (xs < width))[:, None, :]  # (N, D, D)
    pixel = (plane[:, None] * height + ys.clamp(0, height - 1))[:, :, None] * width
    pixel = pixel + xs.clamp(0, width - 1)[:, None, :]  # (N, D, D)
    value = _kernel_table(max_radius, heatmap.device)[radius] * inside
    heatmap.view(-1).scatter_reduce_(0, pixel.flatten(), value.flatten(), "amax")


def _check_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Raise for a label outside the head: by name on CPU, by an index assertion (no waiting) on a device."""
    if labels.device.type == "cpu" and labels.numel() and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ConfigError(
            f"labels reach from {int(labels.min())} to {int(labels.max())} but the head has {num_classes} "
            f"classes; expected 0..{num_classes - 1}; set num_classes and metainfo.classes to the same list"
        )
    return torch.arange(num_classes, device=labels.device)[labels]


def _batch_index(boxes: Sequence[Tensor]) -> Tensor:
    counts = torch.tensor([len(b) for b in boxes])
    return torch.repeat_interleave(torch.arange(len(boxes)), counts).to(
        boxes[0].device, non_blocking=True
    )  # (N,)


@torch.no_grad()
def centernet_targets(
    gt_bboxes: Sequence[Tensor],
    gt_labels: Sequence[Tensor],
    feat_shape: Sequence[int],
    img_shape: Sequence[int],
    num_classes: int,
    radius: str = "mmdet",
) -> tuple[dict[str, Tensor], Tensor]:
    """Heat map, size and offset targets of a batch.

    Of two boxes with the same centre pixel the later one gives size and offset, as in mmdet. A centre on or
    beyond the border (mmdet: IndexError, or a target on the opposite side) belongs to the nearest pixel; its
    offset is the true distance, limited to [-1, 1], so that a box centred exactly on the right or bottom edge
    is still decoded exactly. A box larger than the input is drawn with the radius of a box that fills it.

    Args:
        gt_bboxes: Per image boxes (n, 4), xyxy in input pixels.
        gt_labels: Per image class indices (n,).
        feat_shape: Shape of the heat map, (B, ..., H, W).
        img_shape: Height and width of the padded input that all images of the batch share.
        num_classes: Number of classes C.
        radius: Variant of :func:`gaussian_radius`.

    Returns:
        Dict of ``center_heatmap_target`` (B, C, H, W), ``wh_target``, ``offset_target`` and
        ``wh_offset_target_weight`` (B, 2, H, W), in output pixels, and the number of centres (at least 1).
    """
    batch_size, (feat_h, feat_w) = feat_shape[0], feat_shape[-2:]
    boxes = torch.cat(list(gt_bboxes)).float()  # (N, 4)
    labels = _check_labels(torch.cat(list(gt_labels)), num_classes)  # (N,)
    image = _batch_index(gt_bboxes)  # (N,)
    size, cell, offset = _to_grid(boxes, (feat_h, feat_w), img_shape)

    heatmap = boxes.new_zeros(batch_size, num_classes, feat_h, feat_w)
    largest = _largest_radius(feat_h, feat_w, radius)
    radii = gaussian_radius(size[:, 1], size[:, 0], radius).clamp(max=largest)
    _draw_heatmap(heatmap.flatten(0, 1), image * num_classes + labels, cell, radii, largest)

    position = (image * feat_h + cell[:, 1]) * feat_w + cell[:, 0]  # (N,)
    values = torch.cat([size, offset, torch.ones_like(size)], dim=1)  # (N, 6)
    values = _last_wins(values, position)
    maps = boxes.new_zeros(3, batch_size, 2, feat_h, feat_w)
    maps[:, image, :, cell[:, 1], cell[:, 0]] = values.view(-1, 3, 2)
    names = ("wh_target", "offset_target", "wh_offset_target_weight")
    targets = {"center_heatmap_target": heatmap, **dict(zip(names, maps, strict=True))}
    return targets, _count_distinct(labels * (batch_size * feat_h * feat_w) + position)


def _to_grid(
    boxes: Tensor, feat_size: tuple[int, int], img_shape: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Size (w, h), centre pixel (x, y) and the centre's offset from it, in output pixels, each (N, 2)."""
    sums, sides = boxes[:, :2] + boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]
    # plain numbers, one axis at a time: a tensor made on the host would be waited for
    ratios = (feat_size[1] / img_shape[1], feat_size[0] / img_shape[0])
    center = torch.stack([sums[:, axis] * ratios[axis] / 2 for axis in (0, 1)], dim=1)
    size = torch.stack([sides[:, axis] * ratios[axis] for axis in (0, 1)], dim=1)
    limits = (feat_size[1] - 1, feat_size[0] - 1)
    cell = torch.stack([center[:, axis].long().clamp(0, limits[axis]) for axis in (0, 1)], dim=1)
    return size, cell, (center - cell).clamp(-1, 1)


def _last_wins(values: Tensor, position: Tensor) -> Tensor:
    """Give each row of ``values`` (N, K) that of the last object at its position: order stops mattering."""
    ordered, order = position.sort(stable=True)
    return values[order[torch.searchsorted(ordered, position, right=True) - 1]]


def _count_distinct(position: Tensor) -> Tensor:
    """Number of different values, at least 1, without waiting for the device."""
    return (position.sort().values.diff() != 0).sum() + 1
