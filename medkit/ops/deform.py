"""Deformable convolution v1 and v2 with the signatures of ``mmcv._ext``, on torchvision's kernel.

Dai et al., "Deformable Convolutional Networks", ICCV 2017; Zhu et al., "Deformable ConvNets v2", CVPR 2019.
The compiled kernels write into tensors that mmcv passes in and add to the gradients; so do these. torchvision
chooses its own step over the batch, so ``im2col_step`` and the scratch tensors ``ones`` are not used.
"""

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from medkit.ops.common import compute_dtype, torchvision_op


@dataclass(frozen=True)
class _Geometry:
    """In the order in which torchvision takes them."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int


def _forward(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geo: _Geometry
) -> Tensor:
    dtype = compute_dtype(input)
    x, w, off = (t.to(dtype) for t in (input, weight, offset))
    m = x.new_zeros((x.shape[0], 0)) if mask is None else mask.to(dtype)
    b = x.new_zeros(w.shape[0]) if bias is None else bias.to(dtype)
    return torchvision_op("deform_conv2d")(x, w, off, m, b, *astuple(geo), mask is not None)


def _backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, geo: _Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of (input, weight, offset, mask, bias)."""
    dtype = compute_dtype(input)
    g, x, w, off = (t.to(dtype).contiguous() for t in (grad, input, weight, offset))
    m = x.new_zeros((x.shape[0], 0)) if mask is None else mask.to(dtype)
    bias = x.new_zeros(w.shape[0])
    return torchvision_op("_deform_conv2d_backward")(g, x, w, off, m, bias, *astuple(geo), mask is not None)


@torch.no_grad()
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill ``output`` (B, C_out, H_out, W_out).

    ``offset`` is (B, 2*G*kH*kW, H_out, W_out), y before x; ``mask`` is (B, G*kH*kW, H_out, W_out).
    """
    geo = _Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, geo))


@torch.no_grad()
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Add the gradients to the five tensors named ``grad_*`` that belong to inputs."""
    geo = _Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _backward(grad_output, input, weight, offset, mask, geo)
    for total, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads[:4], strict=True):
        total.add_(grad)
    if with_bias:
        grad_bias.add_(grads[4])


@torch.no_grad()
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``output`` (B, C_out, H_out, W_out); ``offset`` is (B, 2*G*kH*kW, H_out, W_out), y before x."""
    geo = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(input, weight, offset, None, None, geo))


@torch.no_grad()
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Add the gradients to ``gradInput`` and ``gradOffset``.

    torchvision yields the weight's gradient in the same pass. It waits in the scratch tensor ``columns``,
    which mmcv hands on to `deform_conv_backward_parameters`, so that one backward pass costs one and not two.
    """
    geo = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grad_input, grad_weight, grad_offset, _, _ = _backward(gradOutput, input, weight, offset, None, geo)
    gradInput.add_(grad_input)
    gradOffset.add_(grad_offset)
    columns.resize_(grad_weight.shape).copy_(grad_weight)


@torch.no_grad()
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient to ``gradWeight``."""
    if columns.shape == gradWeight.shape:  # left there by deform_conv_backward_input
        gradWeight.add_(columns, alpha=scale)
        columns.resize_(0)
        return
    geo = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The weight's own values do not enter its gradient.
    gradWeight.add_(_backward(gradOutput, input, gradWeight, offset, None, geo)[1], alpha=scale)
