"""The stand-in against arrays that mmcv's own compiled CPU kernels gave."""

import json

import mmcv._ext as ext
import numpy as np
import pytest
import torch

SAME_SIZE_3X3 = (3, 3, 1, 1, 1, 1, 1, 1, 2, 2)  # kernel, stride, padding, dilation, groups, offset groups


@pytest.fixture(scope="module")
def golden(golden_dir):
    with np.load(golden_dir / "mmcv_ops.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def close(golden_dir):
    tolerance = float(json.loads((golden_dir / "mmcv_ops.json").read_text())["tolerance"])
    return lambda a, b: torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("offset", [0, 1])
def test_nms(golden, offset):
    kept = ext.nms(golden["boxes"], golden["scores"], iou_threshold=0.3, offset=offset)
    assert kept.tolist() == golden[f"nms_offset{offset}"].tolist()


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", [0, 1, 2])
def test_softnms(golden, close, method, offset):
    boxes, scores = golden["boxes"], golden["scores"]
    dets = torch.zeros(len(boxes), 5)
    kept = ext.softnms(boxes, scores, dets, 0.3, 0.5, 0.05, method, offset)
    assert kept.tolist() == golden[f"softnms_method{method}_offset{offset}_inds"].tolist()
    close(dets[: len(kept)], golden[f"softnms_method{method}_offset{offset}_dets"])


def test_nms_match(golden):
    groups = ext.nms_match(torch.cat([golden["boxes"], golden["scores"][:, None]], 1), 0.3)
    assert [len(group) for group in groups] == golden["nms_match_sizes"].tolist()
    assert [i for group in groups for i in group] == golden["nms_match_flat"].tolist()


@pytest.mark.parametrize("mode", [0, 1])
def test_bbox_overlaps(golden, close, mode):
    ious = torch.zeros(len(golden["boxes"]), len(golden["boxes2"]))
    ext.bbox_overlaps(golden["boxes"], golden["boxes2"], ious, mode, False, 1)
    close(ious, golden[f"bbox_overlaps_mode{mode}"])


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("mode", [0, 1])
def test_roi_align(golden, close, mode, aligned, ratio):
    output, y, x = torch.zeros(3, len(golden["rois"]), 2, 3, 4)
    grad = torch.zeros_like(golden["roi_input"])
    arguments = (3, 4, 0.5, ratio, mode, bool(aligned))
    ext.roi_align_forward(golden["roi_input"], golden["rois"], output, y, x, *arguments)
    ext.roi_align_backward(golden["roi_grad"], golden["rois"], y, x, grad, *arguments)
    name = f"roi_align_mode{mode}_aligned{aligned}_ratio{ratio}"
    close(output, golden[f"{name}_output"])
    close(grad, golden[f"{name}_grad"])


def test_modulated_deform_conv(golden, close):
    names = ("input", "weight", "bias", "offset", "mask")
    x, weight, bias, offset, mask = (golden[f"dcn_{name}"] for name in names)
    output, scratch = torch.zeros_like(golden["dcn2_output"]), torch.empty(0)
    ext.modulated_deform_conv_forward(
        x, weight, bias, scratch, offset, mask, output, scratch, *SAME_SIZE_3X3, True
    )
    close(output, golden["dcn2_output"])
    grads = [torch.zeros_like(golden[f"dcn_{name}"]) for name in names]
    ext.modulated_deform_conv_backward(
        x, weight, bias, scratch, offset, mask, scratch, *grads, golden["dcn_grad"], *SAME_SIZE_3X3, True
    )
    for name, grad in zip(names, grads, strict=True):
        close(grad, golden[f"dcn2_grad_{name}"])


@pytest.mark.parametrize("weight_alone", [False, True])
def test_deform_conv(golden, close, weight_alone):
    x, weight, offset, grad = (golden[f"dcn_{name}"] for name in ("input", "weight", "offset", "grad"))
    output, columns, ones = torch.zeros_like(golden["dcn1_output"]), torch.empty(0), torch.empty(0)
    ext.deform_conv_forward(x, weight, offset, output, columns, ones, *SAME_SIZE_3X3, 2)
    close(output, golden["dcn1_output"])
    if not weight_alone:
        grad_input, grad_offset = torch.zeros_like(x), torch.zeros_like(offset)
        ext.deform_conv_backward_input(
            x, offset, grad, grad_input, grad_offset, weight, columns, *SAME_SIZE_3X3, 2
        )
        close(grad_input, golden["dcn1_grad_input"])
        close(grad_offset, golden["dcn1_grad_offset"])
    grad_weight = torch.zeros_like(weight)
    ext.deform_conv_backward_parameters(x, offset, grad, grad_weight, columns, ones, *SAME_SIZE_3X3, 1, 2)
    close(grad_weight, golden["dcn1_grad_weight"])
