"""Multi-scale deformable attention with the signatures of ``mmcv._ext``, in plain PyTorch.

Zhu et al., "Deformable DETR", ICLR 2021. Shapes: value (B, S, heads, D) where S counts the pixels of all
levels, sampling_locations (B, Q, heads, levels, points, 2) as x, y in [0, 1], attention_weights (B, Q, heads,
levels, points); output (B, Q, heads * D). The backward pass computes the forward pass again instead of
keeping it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medkit.ops.common import compute_dtype


@torch.no_grad()
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Weighted sum of the values at the sampling locations, (B, Q, heads * D)."""
    dtype = compute_dtype(value)
    inputs = (value.to(dtype), sampling_locations.to(dtype), attention_weights.to(dtype))
    return _attend(value_spatial_shapes.tolist(), *inputs).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Add the gradients to ``grad_value``, ``grad_sampling_loc`` and ``grad_attn_weight``."""
    dtype = compute_dtype(value)
    inputs = [t.detach().to(dtype).requires_grad_() for t in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = _attend(value_spatial_shapes.tolist(), *inputs)
    grads = torch.autograd.grad(output, inputs, grad_output.to(dtype))
    for total, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        total.add_(grad)


def _attend(shapes: list[list[int]], value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (levels, B*heads, Q, points, 2)
    scale = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)  # (levels, B*heads, Q, points)
    output = value.new_zeros(batch * heads, dim, queries)
    for level, pixels in enumerate(value.split([h * w for h, w in shapes], dim=1)):
        image = pixels.permute(0, 2, 3, 1).reshape(batch * heads, dim, *shapes[level])  # (B*heads, D, h, w)
        sampled = F.grid_sample(
            image, grids[level], padding_mode="zeros", align_corners=False
        )  # (B*heads, D, Q, points)
        output = output + (sampled * scale[level][:, None]).sum(-1)
    return output.reshape(batch, heads * dim, queries).transpose(1, 2).contiguous()
