"""Max RoIAlign and RoIPool in plain PyTorch: gather the points of every bin and take the largest.

Both work on axis grids: bin (i, j) of a box looks at rows ``y[i, :]`` and columns ``x[j, :]``. Boxes are
taken in chunks so that a gathered block stays under a fixed number of values. Called by `medkit.ops.roi`, in
float32 or float64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 1 << 24  # values gathered at once (64 MiB of float32)


def align_forward(
    input: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Max RoIAlign: the outputs (K, C, h, w) and the y and x of the winning sample points.

    A box without extent has no sample points when ``sampling_ratio`` is 0: its output is 0 and its point (-1,
    -1).
    """
    shape = (rois.shape[0], input.shape[1], *size)
    output, best_y, best_x = input.new_zeros(shape), input.new_full(shape, -1), input.new_full(shape, -1)
    shift = 0.5 if aligned else 0.0
    start = rois[:, [2, 1]] * spatial_scale - shift  # (K, 2) as y, x
    extent = rois[:, [4, 3]] * spatial_scale - shift - start
    if not aligned:
        extent = extent.clamp(min=1)
    bins = extent / extent.new_tensor(size)  # (K, 2) height and width of a bin
    counts = torch.full_like(bins, sampling_ratio) if sampling_ratio > 0 else bins.ceil()
    for rows, cols in counts.long().unique(dim=0).tolist():
        same = ((counts[:, 0] == rows) & (counts[:, 1] == cols)).nonzero()[:, 0]
        if rows <= 0 or cols <= 0:
            continue
        for part in _chunks(same, input.shape[1] * size[0] * size[1] * rows * cols):
            y = _sample_points(start[part, 0], bins[part, 0], size[0], rows)  # (k, h, rows)
            x = _sample_points(start[part, 1], bins[part, 1], size[1], cols)  # (k, w, cols)
            values = _interpolate(input, rois[part, 0].long(), y.flatten(1), x.flatten(1))
            output[part], winner = _max_over_bins(values, size, (rows, cols))
            best_y[part] = _at_winner(y, winner // cols, axis=2)
            best_x[part] = _at_winner(x, winner % cols, axis=3)
    return output, best_y, best_x


def align_backward(grad_output: Tensor, rois: Tensor, y: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
    """Gradient (B, C, H, W) of `align_forward`: gradients go to the four pixels round each point."""
    channels, height, width = shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (K, C)
    grad = grad_output.new_zeros(shape).flatten()
    some = (y != -1) | (x != -1)
    y0, y1, wy = _corners(y, height)
    x0, x1, wx = _corners(x, width)
    inside = some & _inside(y, height) & _inside(x, width)
    for row, weight_y in ((y0, 1 - wy), (y1, wy)):
        for col, weight_x in ((x0, 1 - wx), (x1, wx)):
            index = (plane[:, :, None, None] * height + row) * width + col
            grad.index_add_(0, index.flatten(), (grad_output * weight_y * weight_x * inside).flatten())
    return grad.view(shape)


def pool_forward(
    input: Tensor, rois: Tensor, size: tuple[int, int], spatial_scale: float
) -> tuple[Tensor, Tensor]:
    """RoIPool, boxes not rounded, as in mmcv: outputs (K, C, h, w) and winning pixels y * W + x."""
    height, width = input.shape[2:]
    shape = (rois.shape[0], input.shape[1], *size)
    output = input.new_zeros(shape)
    index = torch.full(shape, -1, dtype=torch.long, device=input.device)
    y_from, y_to = _bin_edges(rois[:, 2], rois[:, 4], size[0], spatial_scale, height)  # (K, h)
    x_from, x_to = _bin_edges(rois[:, 1], rois[:, 3], size[1], spatial_scale, width)  # (K, w)
    real = (rois[:, 3] + 1 > rois[:, 1]) & (rois[:, 4] + 1 > rois[:, 2])
    filled = real[:, None, None] & (y_to > y_from)[:, :, None] & (x_to > x_from)[:, None, :]  # (K, h, w)
    rows = max(int((y_to - y_from).max()), 1)
    cols = max(int((x_to - x_from).max()), 1)
    for part in _chunks(
        torch.arange(len(rois), device=rois.device), input.shape[1] * size[0] * size[1] * rows * cols
    ):
        y = _pixels(y_from[part], y_to[part], rows, height)  # (k, h, rows)
        x = _pixels(x_from[part], x_to[part], cols, width)  # (k, w, cols)
        values = _gather(input, rois[part, 0].long(), y.flatten(1), x.flatten(1))
        largest, winner = _max_over_bins(values, size, (rows, cols))
        pixel = _at_winner(y, winner // cols, axis=2) * width + _at_winner(x, winner % cols, axis=3)
        output[part] = torch.where(filled[part][:, None], largest, 0)
        index[part] = torch.where(filled[part][:, None], pixel, -1)
    return output, index


def pool_backward(grad_output: Tensor, rois: Tensor, argmax: Tensor, shape: torch.Size) -> Tensor:
    """Gradient (B, C, H, W) of `pool_forward`."""
    channels, height, width = shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (K, C)
    index = plane[:, :, None, None] * (height * width) + argmax.long().clamp(min=0)
    grad = grad_output.new_zeros(shape).flatten()
    grad.index_add_(0, index.flatten(), (grad_output * (argmax >= 0)).flatten())
    return grad.view(shape)


def _chunks(indices: Tensor, values_each: int) -> Iterator[Tensor]:
    yield from indices.split(max(1, _BLOCK // max(values_each, 1)))


def _sample_points(start: Tensor, bin_size: Tensor, bins: int, points: int) -> Tensor:
    """(k, bins, points) coordinates of the sample points along one axis."""
    edge = torch.arange(bins, dtype=start.dtype, device=start.device)[:, None]
    inner = torch.arange(points, dtype=start.dtype, device=start.device)[None, :] + 0.5
    size = bin_size[:, None, None]
    return start[:, None, None] + edge * size + inner * size / points


def _bin_edges(low: Tensor, high: Tensor, bins: int, scale: float, limit: int) -> tuple[Tensor, Tensor]:
    """First and one-past-last pixel of each bin along one axis, (K, bins) each, within the image."""
    start = (low * scale)[:, None]
    size = ((high + 1) * scale)[:, None] - start
    number = torch.arange(bins, dtype=low.dtype, device=low.device)
    first = (number * (size / bins) + start).floor()
    last = ((number + 1) * (size / bins) + start).ceil()
    return first.clamp(0, limit).long(), last.clamp(0, limit).long()


def _pixels(first: Tensor, last: Tensor, count: int, limit: int) -> Tensor:
    """(k, bins, count) pixels of each bin; a shorter bin repeats its last one, which changes no maximum."""
    pixels = first[..., None] + torch.arange(count, device=first.device)
    return torch.minimum(pixels, last[..., None] - 1).clamp(0, limit - 1)


def _corners(point: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels around each coordinate and the weight of the second."""
    point = point.clamp(0, limit - 1)
    low = point.floor().long()
    return low, (low + 1).clamp(max=limit - 1), point - low


def _inside(point: Tensor, limit: int) -> Tensor:
    return (point >= -1) & (point <= limit)


def _gather(input: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(k, C, Sy, Sx) pixels of image ``image[k]`` at rows ``y`` (k, Sy) and columns ``x`` (k, Sx)."""
    return input.permute(0, 2, 3, 1)[image[:, None, None], y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def _interpolate(input: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(k, C, Sy, Sx) bilinear values; more than one pixel outside the image they are 0."""
    y0, y1, wy = _corners(y, input.shape[2])
    x0, x1, wx = _corners(x, input.shape[3])
    wy, wx = wy[:, None, :, None], wx[:, None, None, :]
    top = _gather(input, image, y0, x0) * (1 - wx) + _gather(input, image, y0, x1) * wx
    bottom = _gather(input, image, y1, x0) * (1 - wx) + _gather(input, image, y1, x1) * wx
    inside = _inside(y, input.shape[2])[:, None, :, None] & _inside(x, input.shape[3])[:, None, None, :]
    return (top * (1 - wy) + bottom * wy) * inside


def _max_over_bins(values: Tensor, size: tuple[int, int], points: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Largest of each bin's points and its number in the bin; ``values`` is (k, C, h * rows, w * cols)."""
    k, channels = values.shape[:2]
    blocks = values.reshape(k, channels, size[0], points[0], size[1], points[1]).transpose(3, 4)
    return blocks.flatten(4).max(dim=4)  # (k, C, h, w) each


def _at_winner(coordinates: Tensor, winner: Tensor, axis: int) -> Tensor:
    """(k, C, h, w) coordinate of each bin's winner; ``coordinates`` (k, bins, points) lie along ``axis``."""
    shape = [coordinates.shape[0], 1, 1, 1, coordinates.shape[2]]
    shape[axis] = coordinates.shape[1]
    return coordinates.view(shape).expand(*winner.shape, -1).gather(4, winner[..., None])[..., 0]
