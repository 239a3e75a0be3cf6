"""Sigmoid and softmax focal loss with the signatures of ``mmcv._ext``.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. ``input`` is (N, C), ``target`` (N,) class
numbers; ``weight`` is (C,) or empty for none. A sigmoid target outside 0..C-1 is background: every class
counts as negative, and no class weight applies to it. A softmax target below 0 is ignored.

Logarithms come from logits (`torch.nn.functional.logsigmoid`), where the compiled kernels clip log(p) at the
smallest float32: the values agree up to |logit| = 80 and stay finite in half precision, where the kernels' do
not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medkit.ops.common import compute_dtype


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N, C) with the loss of each class of each sample."""
    x = input.to(compute_dtype(input))
    p = x.sigmoid()
    positive = -alpha * (1 - p) ** gamma * F.logsigmoid(x)
    negative = -(1 - alpha) * p**gamma * F.logsigmoid(-x)
    loss = torch.where(_one_hot(target, x), positive, negative)
    output.copy_(loss * _row_weight(weight, target, x)[:, None])


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` (N, C) with the derivative of each element's loss by its logit."""
    x = input.to(compute_dtype(input))
    p, q = x.sigmoid(), (-x).sigmoid()
    positive = -alpha * q**gamma * (q - gamma * p * F.logsigmoid(x))
    negative = -(1 - alpha) * p**gamma * (gamma * q * F.logsigmoid(-x) - p)
    grad = torch.where(_one_hot(target, x), positive, negative)
    grad_input.copy_(grad * _row_weight(weight, target, x)[:, None])


@torch.no_grad()
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N,) from probabilities ``softmax`` (N, C)."""
    p = _of_target(softmax, target)
    loss = -alpha * (1 - p) ** gamma * p.log()
    output.copy_(torch.where(target >= 0, loss * _row_weight(weight, target, p), 0))


@torch.no_grad()
def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill ``grad_input`` (N, C) with the loss's derivative by the logits, and the scratch ``buff`` (N,)."""
    p = _of_target(softmax, target)
    q = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)  # gamma - 1 may be negative
    row = alpha * (-(q**gamma) + gamma * q ** (gamma - 1) * p * p.log())
    row = torch.where(target >= 0, row * _row_weight(weight, target, p), 0)  # (N,)
    buff.copy_(row)
    grad_input.copy_(row[:, None] * (_one_hot(target, softmax).to(p.dtype) - softmax))


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    """(N, C) bool; a row of False for a target outside the classes."""
    return target[:, None] == torch.arange(like.shape[1], device=like.device)


def _row_weight(weight: Tensor, target: Tensor, like: Tensor) -> Tensor:
    """(N,) class weight of each sample's target; 1 without weights and for a target outside the classes."""
    if weight.numel() == 0:
        return like.new_ones(target.shape[0])
    inside = (target >= 0) & (target < weight.shape[0])
    return torch.where(inside, weight.to(like.dtype)[target.clamp(0, weight.shape[0] - 1)], 1)


def _of_target(softmax: Tensor, target: Tensor) -> Tensor:
    """(N,) probability of the target class, never 0, so that its logarithm is finite."""
    p = softmax.to(compute_dtype(softmax)).gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p.clamp(min=torch.finfo(torch.float32).tiny)
