"""RoIAlign and RoIPool with the signatures of ``mmcv._ext``.

He et al., "Mask R-CNN", ICCV 2017; Girshick, "Fast R-CNN", ICCV 2015. Average RoIAlign is torchvision's
kernel. Max RoIAlign does not exist there, and torchvision's RoIPool rounds the box to whole pixels where
mmcv's does not, so these two are gathered in plain PyTorch (`medkit.ops.roi_max`).

``input`` is (B, C, H, W); ``rois`` is (K, 5): image number and xyxy in pixels of the image; outputs are (K,
C, h, w).
"""

import torch
from torch import Tensor

from medkit.ops import roi_max
from medkit.ops.common import compute_dtype, torchvision_op

MAX, AVG = 0, 1


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` and, when pooling by maximum, ``argmax_y`` and ``argmax_x``: the points that won."""
    if rois.shape[0] == 0:
        return
    dtype = compute_dtype(input)
    size = (aligned_height, aligned_width)
    if pool_mode == AVG:
        pooled = torchvision_op("roi_align")(
            input.to(dtype), rois.to(dtype), spatial_scale, *size, sampling_ratio, aligned
        )
        output.copy_(pooled)
        return
    results = roi_max.align_forward(
        input.to(dtype), rois.to(dtype), size, spatial_scale, sampling_ratio, aligned
    )
    for target, result in zip((output, argmax_y, argmax_x), results, strict=True):
        target.copy_(result)


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient to ``grad_input`` (B, C, H, W)."""
    if rois.shape[0] == 0:
        return
    dtype = compute_dtype(grad_output)
    if pool_mode == AVG:
        size = (aligned_height, aligned_width)
        grad = torchvision_op("_roi_align_backward")(
            grad_output.to(dtype),
            rois.to(dtype),
            spatial_scale,
            *size,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    else:
        points = (argmax_y.to(dtype), argmax_x.to(dtype))
        grad = roi_max.align_backward(grad_output.to(dtype), rois, *points, grad_input.shape)
    grad_input.add_(grad)


@torch.no_grad()
def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``output`` and ``argmax``, the winning pixel as y * W + x, -1 for a bin without pixels."""
    if rois.shape[0] == 0:
        return
    dtype = compute_dtype(input)
    size = (pooled_height, pooled_width)
    pooled, index = roi_max.pool_forward(input.to(dtype), rois.to(dtype), size, spatial_scale)
    output.copy_(pooled)
    argmax.copy_(index)


@torch.no_grad()
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each output's gradient to the pixel that won."""
    if rois.shape[0] == 0:
        return
    dtype = compute_dtype(grad_output)
    grad_input.add_(roi_max.pool_backward(grad_output.to(dtype), rois, argmax, grad_input.shape))
