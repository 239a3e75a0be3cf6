"""Multi-scale deformable attention through mmcv.ops, against mmcv's PyTorch version and derivatives."""

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch.autograd import gradcheck

SHAPES = torch.tensor([[6, 4], [3, 2]])
STARTS = torch.tensor([0, 24])


@pytest.fixture
def inputs(generator, device):
    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.double).to(device)

    value, locations = rand(2, 30, 2, 5) - 0.5, 1.4 * rand(2, 7, 2, 2, 3, 2) - 0.2  # some points lie outside
    return [t.requires_grad_() for t in (value, locations, rand(2, 7, 2, 2, 3))]


def attend(value, locations, weights):
    shapes, starts = SHAPES.to(value.device), STARTS.to(value.device)
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)


def test_equals_the_pytorch_version(inputs):
    ours, theirs = attend(*inputs), multi_scale_deformable_attn_pytorch(inputs[0], SHAPES, *inputs[1:])
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad(output.square().sum(), inputs) for output in (ours, theirs)]
    torch.testing.assert_close(*grads)


def test_gradients(inputs):
    assert gradcheck(attend, inputs, fast_mode=True, atol=1e-4, nondet_tol=1e-9)


def test_half_precision(inputs):
    value, locations, weights = (t.detach().half().requires_grad_() for t in inputs)
    output = attend(value, locations, weights)
    output.sum().backward()
    assert output.dtype == value.grad.dtype == torch.half
    exact = attend(*(t.detach().float() for t in (value, locations, weights)))
    torch.testing.assert_close(output.float(), exact, atol=2e-3, rtol=2e-3)


def test_the_module_trains(generator, device):
    module = MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, num_points=3).to(device)
    query = torch.randn(7, 2, 8, generator=generator).to(device)
    value = torch.randn(30, 2, 8, generator=generator).to(device)
    points = torch.rand(2, 7, 2, 2, generator=generator).to(device)
    output = module(
        query,
        value=value,
        reference_points=points,
        spatial_shapes=SHAPES.to(device),
        level_start_index=STARTS.to(device),
    )
    output.sum().backward()
    assert output.shape == (7, 2, 8) and module.value_proj.weight.grad.abs().sum() > 0
