"""CenterNet head without the faults of mmdet's (Zhou et al., Objects as Points, arXiv 1904.07850).

A sub-class of mmdet's head with the same parameters (its weights load) and the same numbers, which
- works with a plain letterbox (``Resize(keep_ratio=True)``, ``Pad``) and with mmdet's crop-pad pipeline,
- makes its targets for the whole batch at once, see ``centernet_targets``,
- computes the loss in float32 from logits, so half precision cannot meet log(0),
- refuses an input that is not a multiple of the stride, which mmdet accepts and answers with shifted boxes.

``python tools/train.py configs/centernet_liver.py``
"""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import CenterNetHead as MMDetCenterNetHead
from mmdet.models.losses import GaussianFocalLoss
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.utils import InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from medkit.errors import ConfigError
from medkit.models.detection.centernet_losses import gaussian_focal_loss_with_logits
from medkit.models.detection.centernet_targets import centernet_targets
from medkit.registry import MODELS


@MODELS.register_module()
class CenterNetHead(MMDetCenterNetHead):
    """Heat map, size and offset heads at one stride.

    ``forward`` returns logits of the heat map, in training and in testing. ``test_cfg`` knows, beside mmdet's
    ``topk`` and ``local_maximum_kernel``:

    - ``clip`` (default True): cut boxes at the image border and drop what has no area left; False is the
      published decode.
    - ``score_thr`` (default 0): keep scores above it; at 0 only pixels that are no local maximum go.
    - ``with_nms`` (default False) with ``nms`` and ``max_per_img``: class-wise NMS.

    Args:
        *args: As mmdet's head: ``in_channels``, ``feat_channels``, ``num_classes``, ...
        radius: Gaussian radius, ``'mmdet'`` or ``'official'``, see ``gaussian_radius``.
        sync_avg_factor: Divide the loss by the mean number of centres over all ranks. The default, as mmdet,
            divides by each rank's own, so that an image counts more on a rank that has few lesions.
        **kwargs: As mmdet's head. ``loss_center_heatmap`` must be a ``GaussianFocalLoss``; its settings are
            used, its formula is replaced by the one from logits.
    """

    def __init__(self, *args, radius: str = "mmdet", sync_avg_factor: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.loss_center_heatmap, GaussianFocalLoss):
            raise ConfigError(
                f"loss_center_heatmap is {type(self.loss_center_heatmap).__name__}; "
                "expected GaussianFocalLoss, the one computed from logits; remove the setting"
            )
        self.radius = radius
        self.sync_avg_factor = sync_avg_factor

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features (B, in_channels, H, W) to logits (B, C, H, W), size and offset (B, 2, H, W each)."""
        return self.heatmap_head(x), self.wh_head(x), self.offset_head(x)

    def loss_by_feat(
        self,
        heatmap_logits: Sequence[Tensor],
        wh_preds: Sequence[Tensor],
        offset_preds: Sequence[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: InstanceList | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch, in float32; arguments as mmdet's, with logits in place of probabilities."""
        (logits,), (wh_pred,), (offset_pred,) = heatmap_logits, wh_preds, offset_preds
        input_shape = _shared_input_shape(batch_img_metas)
        _check_stride(input_shape, logits.shape[-2:])
        targets, avg_factor = self.get_targets(
            [gt.bboxes for gt in batch_gt_instances],
            [gt.labels for gt in batch_gt_instances],
            logits.shape,
            input_shape,
        )
        if self.sync_avg_factor:
            avg_factor = reduce_mean(avg_factor.float()).clamp(min=1)
        weight = targets["wh_offset_target_weight"]
        with torch.autocast(logits.device.type, enabled=False):
            wh = self.loss_wh(wh_pred.float(), targets["wh_target"], weight, avg_factor=avg_factor * 2)
            offset = self.loss_offset(
                offset_pred.float(), targets["offset_target"], weight, avg_factor=avg_factor * 2
            )
            heatmap = self._heatmap_loss(logits, targets["center_heatmap_target"], avg_factor)
        return {"loss_center_heatmap": heatmap, "loss_wh": wh, "loss_offset": offset}

    def _heatmap_loss(self, logits: Tensor, target: Tensor, avg_factor: Tensor) -> Tensor:
        cfg = self.loss_center_heatmap
        loss = gaussian_focal_loss_with_logits(
            logits, target, cfg.alpha, cfg.gamma, cfg.pos_weight, cfg.neg_weight
        )
        return cfg.loss_weight * weight_reduce_loss(loss, None, cfg.reduction, avg_factor)

    def get_targets(
        self,
        gt_bboxes: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        feat_shape: Sequence[int],
        img_shape: Sequence[int],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Targets of the batch and the number of centres, see ``centernet_targets``."""
        return centernet_targets(gt_bboxes, gt_labels, feat_shape, img_shape, self.num_classes, self.radius)

    def predict_by_feat(
        self,
        heatmap_logits: Sequence[Tensor],
        wh_preds: Sequence[Tensor],
        offset_preds: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
        rescale: bool = True,
        with_nms: bool | None = None,
    ) -> InstanceList:
        """Boxes, scores and labels of each image; with ``rescale`` in pixels of the original image."""
        (logits,), (wh_pred,), (offset_pred,) = heatmap_logits, wh_preds, offset_preds
        input_shape = _shared_input_shape(batch_img_metas)
        _check_stride(input_shape, logits.shape[-2:])
        cfg = self.test_cfg or {}
        dets, labels = self._decode_heatmap(
            logits.float().sigmoid().contiguous(),  # mmdet views it flat; it may be channels_last
            wh_pred.float(),
            offset_pred.float(),
            input_shape,
            k=min(cfg.get("topk", 100), logits[0].numel()),
            kernel=cfg.get("local_maximum_kernel", 3),
        )  # (B, k, 5), (B, k)
        boxes, scores = _to_image(dets[..., :4], batch_img_metas, rescale), dets[..., 4]
        keep = scores > cfg.get("score_thr", 0.0)
        if cfg.get("clip", True):
            limits = boxes.new_tensor([_image_size(meta, rescale) * 2 for meta in batch_img_metas])
            boxes = boxes.clamp(min=0).minimum(limits[:, None])
            keep &= (boxes[..., 2:] > boxes[..., :2]).all(-1)
        results = [
            InstanceData(bboxes=b[k], scores=s[k], labels=c[k])
            for b, s, c, k in zip(boxes, scores, labels, keep, strict=True)
        ]
        if cfg.get("with_nms", False) if with_nms is None else with_nms:
            results = [self._nms(result) for result in results]
        return results

    def _nms(self, result: InstanceData) -> InstanceData:
        """Class-wise NMS of one image's detections by ``test_cfg.nms``."""
        from mmcv.ops import batched_nms

        if not self.test_cfg.get("nms"):
            raise ConfigError(
                "with_nms is set but test_cfg.nms is not; add nms=dict(type='nms', iou_threshold=0.5)"
            )
        if len(result) == 0:
            return result
        dets, keep = batched_nms(result.bboxes, result.scores, result.labels, dict(self.test_cfg["nms"]))
        kept = InstanceData(bboxes=dets[:, :4], scores=dets[:, 4], labels=result.labels[keep])
        max_per_img = self.test_cfg.get("max_per_img", -1)
        return kept[:max_per_img] if max_per_img > 0 else kept


def _shared_input_shape(metas: Sequence[dict]) -> tuple[int, int]:
    """Height and width of the padded input, which all images of a batch share."""
    shapes = {tuple(meta["batch_input_shape"][:2]) for meta in metas}
    if len(shapes) != 1:
        raise ConfigError(
            f"images of one batch claim different batch_input_shape {sorted(shapes)}; expected one shape; "
            "pad the batch with mmdet.DetDataPreprocessor"
        )
    return shapes.pop()


def _check_stride(input_shape: tuple[int, int], feat_shape: Sequence[int]) -> None:
    """Raise unless the input is the same whole multiple of the feature map along both axes."""
    (in_h, in_w), (feat_h, feat_w) = input_shape, feat_shape
    if in_h % feat_h or in_w % feat_w or in_h // feat_h != in_w // feat_w:
        raise ConfigError(
            f"got input {in_h}x{in_w} for feature {feat_h}x{feat_w}; expected one whole stride along both "
            "axes, else every box is shifted; pad to a multiple of 32: Pad(size_divisor=32) in the pipeline "
            "or pad_size_divisor=32 in the data_preprocessor"
        )


def _to_image(boxes: Tensor, metas: Sequence[dict], rescale: bool) -> Tensor:
    """Input pixels to pixels of the unpadded, with ``rescale`` of the original, image; boxes (B, k, 4)."""
    if any(
        "border" in meta for meta in metas
    ):  # (top, bottom, left, right), set by mmdet's RandomCenterCropPad
        borders = boxes.new_tensor([list(meta.get("border", (0, 0, 0, 0))) for meta in metas])
        boxes = boxes - borders[:, None, [2, 0, 2, 0]]
    if rescale:
        scales = boxes.new_tensor([list(meta.get("scale_factor", (1, 1))) for meta in metas])
        boxes = boxes / scales.repeat(1, 2)[:, None]
    return boxes


def _image_size(meta: dict, rescale: bool) -> list[int]:
    """Width and height of the frame that the boxes of ``_to_image`` live in."""
    if rescale:
        return [meta["ori_shape"][1], meta["ori_shape"][0]]
    if "border" in meta:
        top, bottom, left, right = meta["border"]
        return [int(right - left), int(bottom - top)]
    return [meta["img_shape"][1], meta["img_shape"][0]]
