"""CenterNet head: mmdet's numbers, a letterbox without `border`, and the inputs on which mmdet fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import CenterNetHead as MMDetCenterNetHead
from mmdet.models.necks import CTResNetNeck
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from medkit.errors import ConfigError
from medkit.models.detection import CenterNetHead
from medkit.registry import MODELS

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = ConfigDict(topk=10, local_maximum_kernel=3, max_per_img=10, clip=False)


def build_head(num_classes=4, in_channels=16, feat_channels=8, **kwargs) -> CenterNetHead:
    kwargs.setdefault("test_cfg", ConfigDict(topk=10, local_maximum_kernel=3, max_per_img=10))
    return CenterNetHead(in_channels, feat_channels, num_classes, **kwargs)


def instances(boxes, labels) -> InstanceData:
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.as_tensor(labels, dtype=torch.long))


def meta(size=(128, 128), ori=None, scale=1.0, **extra) -> dict:
    """Meta of an image that was resized by `scale` and padded at the right and bottom to `size`."""
    ori = ori or size
    return {
        "batch_input_shape": size,
        "ori_shape": ori,
        "img_shape": (round(ori[0] * scale), round(ori[1] * scale)),
        "scale_factor": (scale, scale),
        **extra,
    }


def perfect_outputs(head, boxes, labels, feat=(32, 32), stride=4):
    """The outputs of a network that has learnt its targets by heart."""
    img_shape = (feat[0] * stride, feat[1] * stride)
    shape = (len(boxes), head.num_classes, *feat)
    targets, _ = head.get_targets(boxes, labels, shape, img_shape)
    logits = targets["center_heatmap_target"].clamp(1e-4, 1 - 1e-4).logit()
    return [logits], [targets["wh_target"]], [targets["offset_target"]]


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "mmdet_centernet_head.npz")


@pytest.fixture
def golden_head(golden):
    head = build_head(test_cfg=PUBLISHED)
    weights = {key[2:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("w.")}
    head.load_state_dict(weights, strict=True)
    return head


def test_golden_forward(golden, golden_head):
    (logits,), (wh,), (offset,) = golden_head((torch.from_numpy(golden["feat"]),))
    for value, name in ((logits.sigmoid(), "heatmap"), (wh, "wh"), (offset, "offset")):
        np.testing.assert_allclose(value.detach(), golden[name], rtol=1e-4, atol=1e-5)


def test_golden_losses(golden, golden_head):
    outputs = golden_head((torch.from_numpy(golden["feat"]),))
    samples = [instances(golden[f"boxes{i}"], golden[f"labels{i}"]) for i in range(2)]
    losses = golden_head.loss_by_feat(*outputs, samples, [meta(), meta()])
    empty = golden_head.loss_by_feat(*outputs, [instances([], [])] * 2, [meta(), meta()])
    for name, value in losses.items():
        np.testing.assert_allclose(value.item(), golden[name], rtol=1e-4)
        np.testing.assert_allclose(empty[name].item(), golden[f"empty_gt.{name}"], rtol=1e-4, atol=1e-5)


def test_golden_targets(golden, golden_head):
    boxes = [torch.from_numpy(golden[f"boxes{i}"]) for i in range(2)]
    labels = [torch.from_numpy(golden[f"labels{i}"]) for i in range(2)]
    targets, avg_factor = golden_head.get_targets(boxes, labels, (2, 4, 32, 32), (128, 128))
    for name, value in targets.items():
        np.testing.assert_allclose(value, golden[name], rtol=1e-4, atol=1e-5)
    assert avg_factor.item() == golden["avg_factor"]


def test_golden_decode_with_border(golden, golden_head):
    outputs = golden_head((torch.from_numpy(golden["feat"]),))
    metas = [meta(border=golden["border_top_bottom_left_right"])] * 2
    result = golden_head.predict_by_feat(*outputs, metas, rescale=False)[0]
    np.testing.assert_allclose(result.bboxes.detach(), golden["det_boxes0"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.scores.detach(), golden["det_scores0"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result.labels, golden["det_labels0"])


def test_golden_neck_without_dcn():
    golden = np.load(GOLDEN / "mmdet_ctresnet_neck_nodcn.npz")
    neck = CTResNetNeck(16, (12, 8, 6), (4, 4, 4), use_dcn=False)
    neck.load_state_dict({k[2:]: torch.from_numpy(golden[k]) for k in golden.files if k.startswith("w.")})
    feat = (torch.from_numpy(golden["feat"]),)
    for mode in ("train", "eval"):  # the golden eval pass follows the train pass, which moved the statistics
        out = neck.train(mode == "train")(feat)[0]
        np.testing.assert_allclose(out.detach(), golden[f"out_{mode}"], rtol=1e-3, atol=1e-4)


def test_registered_and_initialised_as_mmdets():
    head = MODELS.build(dict(type="medkit.CenterNetHead", in_channels=8, feat_channels=8, num_classes=3))
    head.init_weights()
    assert type(head) is CenterNetHead
    assert head.state_dict().keys() == MMDetCenterNetHead(8, 8, 3).state_dict().keys()
    assert head.heatmap_head[-1].bias.detach().numpy() == pytest.approx(-2.1972, abs=1e-4)
    assert head.wh_head[0].weight.std().item() == pytest.approx(0.001, rel=0.2)


def test_losses_equal_mmdets_on_random_input():
    torch.manual_seed(0)
    ours, theirs = build_head(3), MMDetCenterNetHead(16, 8, 3)
    theirs.load_state_dict(ours.state_dict())
    feat = (torch.randn(2, 16, 32, 32),)
    samples = [instances([[4, 8, 50, 70], [60, 3, 70, 12]], [0, 2]), instances([], [])]
    expected = theirs.loss_by_feat(*theirs(feat), samples, [meta(), meta()])
    losses = ours.loss_by_feat(*ours(feat), samples, [meta(), meta()])
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("extreme", [-50.0, 50.0])
def test_half_precision_extremes_stay_finite(dtype, extreme):
    head = build_head(2)
    outputs = [torch.full((1, 2, 32, 32), v, dtype=dtype, requires_grad=True) for v in (extreme, 1, 1)]
    with torch.autocast("cpu", dtype=dtype):
        losses = head.loss_by_feat(*([o] for o in outputs), [instances([[8, 8, 40, 40]], [1])], [meta()])
    sum(losses.values()).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert all(output.grad.isfinite().all() for output in outputs)


def test_autocast_forward_and_loss_agree_with_float32():
    torch.manual_seed(0)
    head = build_head(2)
    feat, sample = (torch.randn(1, 16, 32, 32),), [instances([[8, 8, 40, 40]], [1])]
    full = head.loss_by_feat(*head(feat), sample, [meta()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = head.loss_by_feat(*head(feat), sample, [meta()])
    for name, value in full.items():
        torch.testing.assert_close(half[name], value, rtol=0.02, atol=1e-3)


def test_empty_images_train():
    head = build_head(2)
    losses = head.loss_by_feat(
        *head((torch.randn(2, 16, 32, 32),)), [instances([], [])] * 2, [meta(), meta()]
    )
    sum(losses.values()).backward()
    assert losses["loss_wh"] == 0
    assert losses["loss_offset"] == 0
    assert losses["loss_center_heatmap"] > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("size", [(511, 512), (512, 511), (128, 256)])
def test_input_off_the_stride_is_refused(size):
    head = build_head(1, in_channels=1)
    outputs = head((torch.zeros(1, 1, 128, 128),))
    with pytest.raises(ConfigError, match=r"got input \d+x\d+ for feature 128x128.*Pad\(size_divisor=32\)"):
        head.loss_by_feat(*outputs, [instances([], [])], [meta(size)])
    with pytest.raises(ConfigError, match="size_divisor=32"):
        head.predict_by_feat(*outputs, [meta(size)])


def test_mixed_input_shapes_are_refused():
    head = build_head(1)
    outputs = head((torch.zeros(2, 16, 32, 32),))
    with pytest.raises(ConfigError, match="different batch_input_shape"):
        head.predict_by_feat(*outputs, [meta(), meta((128, 256))])


def test_other_heatmap_loss_is_refused():
    with pytest.raises(ConfigError, match="L1Loss; expected GaussianFocalLoss"):
        build_head(loss_center_heatmap=dict(type="L1Loss"))


def test_round_trip_of_targets_and_decode():
    """Boxes -> targets -> decode gives the boxes, also with the centre on the border, in original pixels."""
    head = build_head(2)
    scale, ori = 0.5, (256, 200)  # letterbox: 256 x 200 -> 128 x 100, padded at the right to 128 x 128
    boxes = [
        torch.tensor([[10.0, 20, 30.5, 44.25], [60, 70, 99, 127], [3, 100, 5, 103]]),
        torch.tensor([[80.0, 1, 99.9, 9]]),
    ]
    labels = [torch.tensor([0, 1, 1]), torch.tensor([0])]
    results = head.predict_by_feat(*perfect_outputs(head, boxes, labels), [meta(ori=ori, scale=scale)] * 2)
    for box, label, result in zip(boxes, labels, results, strict=True):
        found = result[result.scores > 0.99]
        assert len(found) == len(box)
        for b, c in zip(box / scale, label, strict=True):
            distance = (found.bboxes - b).abs().amax(1) + 1e3 * (found.labels != c)
            assert distance.min() < 1e-3


def test_round_trip_of_random_boxes():
    head = build_head(1, test_cfg=ConfigDict(topk=50, local_maximum_kernel=3))
    generator = torch.Generator().manual_seed(3)
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)) * 32 + 16  # far enough apart
    for _ in range(20):
        center = grid + torch.rand(16, 2, generator=generator) * 8 - 4
        half = torch.rand(16, 2, generator=generator) * 8 + 1
        boxes = torch.cat([center - half, center + half], 1)
        outputs = perfect_outputs(head, [boxes], [torch.zeros(16, dtype=torch.long)])
        (result,) = head.predict_by_feat(*outputs, [meta()])
        found = result.bboxes[result.scores > 0.99]
        assert len(found) == 16
        assert (torch.cdist(found, boxes, p=float("inf")).amin(0) < 1e-3).all()


def test_centre_on_the_right_edge_is_decoded():
    head = build_head(1, test_cfg=ConfigDict(PUBLISHED))
    box = torch.tensor([[120.0, 40, 136, 60]])
    (result,) = head.predict_by_feat(
        *perfect_outputs(head, [box], [torch.zeros(1, dtype=torch.long)]), [meta()]
    )
    torch.testing.assert_close(result.bboxes[:1], box, atol=1e-3, rtol=0)


def test_clip_cuts_at_the_original_border_and_drops_the_rest():
    head = build_head(1)
    inside, over, outside = [20.0, 20, 40, 40], [80.0, 100, 120, 140], [104.0, 10, 124, 30]
    outputs = perfect_outputs(
        head, [torch.tensor([inside, over, outside])], [torch.zeros(3, dtype=torch.long)]
    )
    (result,) = head.predict_by_feat(
        *outputs, [meta(ori=(240, 200), scale=0.5)]
    )  # the image covers 100 x 120 of 128
    found = sorted(result.bboxes[result.scores > 0.99].round().tolist())
    assert found == [[40, 40, 80, 80], [160, 200, 200, 240]]
    assert (result.bboxes[:, 2:] > result.bboxes[:, :2]).all()


def test_clip_without_rescale_uses_the_resized_frame():
    head = build_head(1)
    outputs = perfect_outputs(
        head, [torch.tensor([[80.0, 100, 120, 127]])], [torch.zeros(1, dtype=torch.long)]
    )
    (result,) = head.predict_by_feat(*outputs, [meta(ori=(240, 200), scale=0.5)], rescale=False)
    torch.testing.assert_close(result.bboxes[0], torch.tensor([80.0, 100, 100, 120]))


def test_scores_are_probabilities_and_suppressed_pixels_go():
    head = build_head(2, test_cfg=ConfigDict(topk=10**6, local_maximum_kernel=3))
    torch.manual_seed(0)
    (result,) = head.predict_by_feat(*head((torch.randn(1, 16, 32, 32),)), [meta()])
    assert 0 < len(result) < 2 * 32 * 32
    assert ((result.scores > 0) & (result.scores <= 1)).all()
    assert (result.scores.diff() <= 0).all()


def test_batched_decode_equals_one_by_one():
    head = build_head(2)
    torch.manual_seed(0)
    outputs = head((torch.randn(3, 16, 32, 32),))
    metas = [meta(ori=(256, 200), scale=0.5), meta(), meta(ori=(64, 64), scale=2.0)]
    together = head.predict_by_feat(*outputs, metas)
    for i, result in enumerate(together):
        (alone,) = head.predict_by_feat(*([o[0][i : i + 1]] for o in outputs), metas[i : i + 1])
        torch.testing.assert_close(alone.bboxes, result.bboxes)
        torch.testing.assert_close(alone.scores, result.scores)


def test_with_nms_through_test_cfg():
    cfg = ConfigDict(topk=20, local_maximum_kernel=1, with_nms=True, nms=dict(type="nms", iou_threshold=0.3))
    head = build_head(1, test_cfg=cfg)
    boxes = torch.tensor([[20.0, 20, 60, 60], [24, 24, 64, 64], [90, 90, 110, 110]])
    outputs = perfect_outputs(head, [boxes], [torch.zeros(3, dtype=torch.long)])
    (result,) = head.predict_by_feat(*outputs, [meta()])
    assert len(result[result.scores > 0.99]) == 2
    (empty,) = head.predict_by_feat([torch.full((1, 1, 32, 32), -200.0)], *outputs[1:], [meta()])
    assert len(empty) == 0
    head.test_cfg.pop("nms")
    with pytest.raises(ConfigError, match=r"add nms=dict"):
        head.predict_by_feat(*outputs, [meta()])


def test_thirty_iterations_lower_the_loss():
    torch.manual_seed(0)
    head = build_head(2, feat_channels=16)
    head.init_weights()
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    feat = (torch.randn(2, 16, 16, 16),)
    samples = [instances([[10, 10, 30, 40]], [0]), instances([[40, 8, 60, 24], [5, 40, 20, 60]], [1, 0])]
    history = []
    for _ in range(30):
        losses = head.loss_by_feat(*head(feat), samples, [meta((64, 64))] * 2)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.5 * history[0]


def test_crop_pad_pipeline_of_mmdet_with_border_and_clip():
    """mmdet's test pipeline pads round the image and sets `border`, without scale_factor."""
    head = build_head(1)
    border = np.array([14.0, 114, 19, 109], np.float32)  # rows 14..114, columns 19..109 hold a 100 x 90 image
    outputs = perfect_outputs(
        head, [torch.tensor([[80.0, 90, 120, 120]])], [torch.zeros(1, dtype=torch.long)]
    )
    image = {
        "batch_input_shape": (128, 128),
        "img_shape": (128, 128),
        "ori_shape": (100, 90),
        "border": border,
    }
    for rescale in (True, False):
        (result,) = head.predict_by_feat(*outputs, [image], rescale=rescale)
        torch.testing.assert_close(result.bboxes[0], torch.tensor([61.0, 76, 90, 100]), atol=1e-3, rtol=0)


def test_options_reach_targets_and_loss():
    boxes, labels = [torch.tensor([[10.0, 10, 90, 90]])], [torch.tensor([0])]
    shape, size = (1, 2, 32, 32), (128, 128)
    mmdet, official = (
        build_head(2, radius=r).get_targets(boxes, labels, shape, size)[0] for r in ("mmdet", "official")
    )
    assert (official["center_heatmap_target"] > 0).sum() > (mmdet["center_heatmap_target"] > 0).sum()
    torch.manual_seed(0)
    alone, synced = build_head(2), build_head(2, sync_avg_factor=True)
    synced.load_state_dict(alone.state_dict())
    feat, sample = (torch.randn(1, 16, 32, 32),), [instances(boxes[0], labels[0])]
    expected = alone.loss_by_feat(*alone(feat), sample, [meta()])
    for name, value in synced.loss_by_feat(*synced(feat), sample, [meta()]).items():
        torch.testing.assert_close(value, expected[name])  # one process: its mean is its own


def test_channels_last_gives_the_same():
    torch.manual_seed(0)
    head = build_head(2)
    outputs = head((torch.randn(2, 16, 32, 32),))
    last = [[o[0].contiguous(memory_format=torch.channels_last)] for o in outputs]
    samples = [instances([[10, 10, 90, 90]], [1]), instances([], [])]
    expected = head.loss_by_feat(*outputs, samples, [meta(), meta()])
    for name, value in head.loss_by_feat(*last, samples, [meta(), meta()]).items():
        torch.testing.assert_close(value, expected[name])
    for one, other in zip(
        *(head.predict_by_feat(*o, [meta(), meta()]) for o in (outputs, last)), strict=True
    ):
        torch.testing.assert_close(one.bboxes, other.bboxes)
