"""Deformable convolution through mmcv.ops: plain convolution, torchvision's function, derivatives."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, deform_conv2d, modulated_deform_conv2d
from torch.autograd import gradcheck
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

GEOMETRY = [
    (1, 1, 1, 1, 1),
    (2, 1, 1, 2, 1),
    (1, 2, 2, 1, 2),
    (2, 1, 1, 2, 2),
]  # stride, padding, dilation, groups


@pytest.fixture
def tensors(generator, device):
    def make(stride, padding, dilation, groups, deform_groups, batch=2):
        size = (8 + 2 * padding - 2 * dilation - 1) // stride + 1
        shapes = dict(
            x=(batch, 4, 8, 8),
            offset=(batch, 18 * deform_groups, size, size),
            mask=(batch, 9 * deform_groups, size, size),
            weight=(6, 4 // groups, 3, 3),
            bias=(6,),
        )
        return {
            name: torch.randn(shape, generator=generator, dtype=torch.double).to(device).requires_grad_()
            for name, shape in shapes.items()
        }

    return make


@pytest.mark.parametrize("geometry", GEOMETRY)
def test_without_offset_it_is_a_convolution(tensors, geometry):
    stride, padding, dilation, groups, _ = geometry
    t = tensors(*geometry)
    plain = F.conv2d(t["x"], t["weight"], None, stride, padding, dilation, groups)
    still = torch.zeros_like(t["offset"])
    torch.testing.assert_close(deform_conv2d(t["x"], still, t["weight"], *geometry), plain)
    ones = torch.ones_like(t["mask"])
    modulated = modulated_deform_conv2d(t["x"], still, ones, t["weight"], t["bias"], *geometry)
    torch.testing.assert_close(modulated, plain + t["bias"][:, None, None])


def test_whole_offset_shifts_the_image(tensors):
    t = tensors(1, 1, 1, 1, 1)
    offset = torch.zeros_like(t["offset"])
    offset[:, 1::2] = 2.0  # x of every kernel point
    shifted = F.pad(t["x"], (0, 2))[..., 2:]
    left = deform_conv2d(t["x"], offset, t["weight"], 1, 1)[..., 1:-1]
    torch.testing.assert_close(left, F.conv2d(shifted, t["weight"], None, 1, 1)[..., 1:-1])


@pytest.mark.parametrize("geometry", GEOMETRY)
def test_equals_torchvision(tensors, geometry):
    stride, padding, dilation, _, _ = geometry
    t = tensors(*geometry)
    args = (t["x"], t["offset"], t["weight"])
    torch.testing.assert_close(
        deform_conv2d(*args, *geometry), torchvision_deform_conv2d(*args, None, stride, padding, dilation)
    )
    torch.testing.assert_close(
        modulated_deform_conv2d(t["x"], t["offset"], t["mask"], t["weight"], t["bias"], *geometry),
        torchvision_deform_conv2d(*args, t["bias"], stride, padding, dilation, t["mask"]),
    )


@pytest.mark.parametrize("geometry", GEOMETRY)
def test_gradients(tensors, geometry):
    t = tensors(*geometry)
    check = dict(atol=1e-4, fast_mode=True, nondet_tol=1e-9)
    assert gradcheck(
        lambda x, o, w: deform_conv2d(x, o, w, *geometry), (t["x"], t["offset"], t["weight"]), **check
    )
    inputs = tuple(t[name] for name in ("x", "offset", "mask", "weight", "bias"))
    assert gradcheck(lambda *args: modulated_deform_conv2d(*args, *geometry), inputs, **check)


def test_gradient_of_a_frozen_part(tensors):
    t = tensors(1, 1, 1, 1, 1)
    everything = deform_conv2d(t["x"], t["offset"], t["weight"], 1, 1)
    wanted = torch.autograd.grad(everything.square().sum(), (t["x"], t["weight"]))
    x, offset, weight = (t[name].detach() for name in ("x", "offset", "weight"))
    weight.requires_grad_()
    alone = deform_conv2d(x, offset, weight, 1, 1).square().sum()
    torch.testing.assert_close(torch.autograd.grad(alone, weight)[0], wanted[1])
    x, weight = x.clone().requires_grad_(), weight.detach()
    alone = deform_conv2d(x, offset, weight, 1, 1).square().sum()
    torch.testing.assert_close(torch.autograd.grad(alone, x)[0], wanted[0])


def test_two_backward_passes_add_up(tensors):
    t = tensors(1, 1, 1, 1, 1)
    loss = deform_conv2d(t["x"], t["offset"], t["weight"], 1, 1).sum()
    loss.backward(retain_graph=True)
    once = t["weight"].grad.clone()
    loss.backward()
    torch.testing.assert_close(t["weight"].grad, 2 * once)


def test_batch_step_changes_nothing(tensors):
    t = tensors(1, 1, 1, 1, 1, batch=4)
    args = (t["x"], t["offset"], t["weight"], 1, 1, 1, 1, 1, False)
    torch.testing.assert_close(deform_conv2d(*args, 32), deform_conv2d(*args, 1))


@pytest.mark.parametrize("layer", [DeformConv2dPack, ModulatedDeformConv2dPack])
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_autocast(layer, dtype, generator, device):
    conv = layer(3, 4, 3, padding=1).to(device)
    image = torch.randn(2, 3, 8, 8, generator=generator).to(device)
    exact = conv(image)
    with torch.autocast(device.type, dtype):
        output = conv(image)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), exact, atol=5e-2, rtol=5e-2)
    output.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in conv.parameters())
