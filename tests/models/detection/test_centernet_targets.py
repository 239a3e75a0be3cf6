"""Targets: mmdet's to the last bit, the official code's with its radius, and the cases mmdet gets wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import CenterNetHead as MMDetCenterNetHead

from medkit.errors import ConfigError
from medkit.models.detection.centernet_targets import _draw_heatmap, centernet_targets, gaussian_radius

GOLDEN = Path(__file__).parents[2] / "golden"
STRIDE = 4


def random_batch(generator: torch.Generator, kind: str) -> tuple[list, list, tuple, tuple]:
    """Boxes of 1-4 images; some share a centre, some images are empty."""
    batch = int(torch.randint(1, 5, (), generator=generator))
    height, width = (int(v) * 8 for v in torch.randint(1, 11, (2,), generator=generator))
    limit = torch.tensor([width, height, width, height]) * STRIDE
    boxes, labels = [], []
    for _ in range(batch):
        n = int(torch.randint(0, 9, (), generator=generator))
        first, second = torch.rand(2, n, 2, generator=generator)
        if kind == "tiny":
            second = first + second * 0.02
        corners = torch.cat([first.minimum(second), first.maximum(second)], 1) * limit
        corners = corners.round() if kind == "integer" else corners
        corners[:, 2:] = corners[:, 2:].clamp(max=limit[2:] - 0.5)  # keeps the centre inside, as mmdet needs
        corners[:, :2] = corners[:, :2].minimum(corners[:, 2:])
        if n > 3:  # same centre: once the same box, once a larger one drawn later
            corners[2], corners[3] = corners[0], corners[1] + torch.tensor([-1.0, -1, 1, 1])
        boxes.append(corners)
        labels.append(torch.randint(0, 3, (n,), generator=generator))
    return boxes, labels, (batch, 3, height, width), (height * STRIDE, width * STRIDE)


@pytest.mark.parametrize("kind", ["wide", "tiny", "integer"])
def test_equal_to_mmdet_to_the_last_bit(kind):
    mmdet_head = MMDetCenterNetHead(1, 1, num_classes=3)
    generator = torch.Generator().manual_seed(len(kind))
    for _ in range(120):
        boxes, labels, feat_shape, img_shape = random_batch(generator, kind)
        expected, expected_factor = mmdet_head.get_targets(boxes, labels, feat_shape, img_shape)
        targets, factor = centernet_targets(boxes, labels, feat_shape, img_shape, num_classes=3)
        assert targets.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(targets[name], value), name
        assert int(factor) == int(expected_factor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_equal_to_mmdet_on_cuda():
    mmdet_head = MMDetCenterNetHead(1, 1, num_classes=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        boxes, labels, feat_shape, img_shape = random_batch(generator, "wide")
        boxes, labels = [b.cuda() for b in boxes], [c.cuda() for c in labels]
        expected, _ = mmdet_head.get_targets(boxes, labels, feat_shape, img_shape)
        torch.cuda.set_sync_debug_mode("error")  # one hidden wait for the device fails the test
        try:
            targets, _ = centernet_targets(boxes, labels, feat_shape, img_shape, num_classes=3)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for name, value in expected.items():
            assert torch.equal(targets[name], value), name


def test_later_box_of_the_same_centre_wins():
    boxes = torch.tensor([[8.0, 8, 24, 24], [4.0, 4, 28, 28]])
    targets, factor = centernet_targets([boxes], [torch.tensor([0, 1])], (1, 2, 8, 8), (32, 32), 2)
    assert targets["wh_target"][0, :, 4, 4].tolist() == [6, 6]
    assert targets["center_heatmap_target"][0, :, 4, 4].tolist() == [1, 1]
    assert factor == 2


@pytest.mark.parametrize(
    ("box", "cell", "offset"),
    [
        ([120.0, 56, 136, 72], (31, 16), (1.0, 0.0)),  # centre on the right edge
        ([56.0, 120, 72, 136], (16, 31), (0.0, 1.0)),  # centre on the bottom edge
        ([128.0, 128, 128, 128], (31, 31), (1.0, 1.0)),  # a point in the corner
        ([200.0, 60, 300, 68], (31, 16), (1.0, 0.0)),  # wholly outside: drawn at the nearest pixel
        ([-300.0, 60, -200, 68], (0, 16), (-1.0, 0.0)),
        ([0.0, 0, 0, 0], (0, 0), (0.0, 0.0)),
    ],
)
def test_centre_on_or_beyond_the_border(box, cell, offset):
    targets, factor = centernet_targets(
        [torch.tensor([box])], [torch.tensor([0])], (1, 1, 32, 32), (128, 128), 1
    )
    x, y = cell
    assert targets["center_heatmap_target"][0, 0, y, x] == 1
    assert targets["offset_target"][0, :, y, x].tolist() == list(offset)
    assert targets["wh_offset_target_weight"].sum() == 2
    assert factor == 1


def test_box_larger_than_the_input_is_drawn():
    targets, _ = centernet_targets(
        [torch.tensor([[-1000.0, -1000, 1064, 1064]])], [torch.tensor([0])], (1, 1, 16, 16), (64, 64), 1
    )
    assert targets["center_heatmap_target"][0, 0, 8, 8] == 1
    assert targets["wh_target"][0, 0, 8, 8] == 516


def test_empty_batch_gives_zero_targets():
    targets, factor = centernet_targets(
        [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.long)] * 2, (2, 3, 8, 8), (32, 32), 3
    )
    assert all(value.abs().sum() == 0 for value in targets.values())
    assert targets["center_heatmap_target"].shape == (2, 3, 8, 8)
    assert factor == 1


def test_label_outside_the_head_is_named():
    with pytest.raises(ConfigError, match=r"reach from 0 to 3 but the head has 3 classes"):
        centernet_targets([torch.rand(2, 4)], [torch.tensor([0, 3])], (1, 3, 8, 8), (32, 32), 3)


def test_unknown_radius_is_named():
    with pytest.raises(ConfigError, match="'cornernet' is unknown"):
        gaussian_radius(torch.ones(1), torch.ones(1), variant="cornernet")


def test_radius_fractions_of_a_square():
    side = torch.tensor([1000.0])
    assert gaussian_radius(side, side).item() == 226
    assert gaussian_radius(side, side, "official").item() == 273


def test_official_targets_golden():
    """The official loader's heat map, size and offset from its own boxes on the output grid."""
    golden = np.load(GOLDEN / "centernet_targets.npz")
    boxes = torch.from_numpy(golden["gt_det"])  # x1, y1, x2, y2, score, class on the 32 x 32 grid
    targets, _ = centernet_targets(
        [boxes[:, :4] * STRIDE], [boxes[:, 5].long()], (1, 4, 32, 32), (128, 128), 4, radius="official"
    )
    np.testing.assert_allclose(targets["center_heatmap_target"][0], golden["hm"], atol=1e-5)
    for position, wh, reg in zip(golden["ind"], golden["wh"], golden["reg"], strict=True):
        if wh.any():
            y, x = divmod(int(position), 32)
            np.testing.assert_allclose(targets["wh_target"][0, :, y, x], wh, atol=1e-5)
            np.testing.assert_allclose(targets["offset_target"][0, :, y, x], reg, atol=1e-5)
    assert targets["wh_offset_target_weight"][0, 0].sum() == golden["reg_mask"].sum()


def test_heatmap_golden():
    golden = np.load(GOLDEN / "centernet_heatmap.npz")
    tolerance = float(json.loads((GOLDEN / "centernet_heatmap.json").read_text())["tolerance"])
    cls, x, y, radius = torch.from_numpy(golden["objects_cls_x_y_radius"]).unbind(1)
    heatmap = torch.zeros(3, 32, 40)
    _draw_heatmap(heatmap, cls, torch.stack([x, y], 1), radius, max_radius=int(radius.max()))
    np.testing.assert_allclose(heatmap, golden["heatmap_mmdet"], atol=tolerance)
    np.testing.assert_allclose(heatmap, golden["heatmap_official"], atol=tolerance)
