"""CenterNet targets of a batch: medkit's one scatter against mmdet's loop over boxes."""

import argparse
from collections.abc import Iterator

import torch
from mmdet.models.dense_heads import CenterNetHead

from benchmarks.timing import Row, median_ms
from medkit.models.detection import centernet_targets

CASES = ((8, 2, 32), (16, 2, 128), (16, 20, 128))  # images, boxes in each, side of the heat map


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time batches of several sizes, after checking that both results are equal to the last bit."""
    head = CenterNetHead(1, 1, num_classes=4)
    for batch, boxes_each, feat in CASES:
        given = random_batch(batch, boxes_each, feat, args.device)
        theirs, ours = head.get_targets(*given)[0], centernet_targets(*given, num_classes=4)[0]
        if not all(torch.equal(theirs[name], ours[name]) for name in theirs):
            raise SystemExit("the targets differ from mmdet's: the times would mean nothing")
        yield Row(
            f"batch {batch}, {boxes_each} boxes each, map {feat} x {feat}",
            median_ms(lambda given=given: head.get_targets(*given), args.repeats),
            median_ms(lambda given=given: centernet_targets(*given, num_classes=4), args.repeats),
        )


def random_batch(batch: int, boxes_each: int, feat: int, device: str) -> tuple[list, list, tuple, tuple]:
    """Boxes, labels, heat-map shape and input shape, as ``get_targets`` takes them."""
    torch.manual_seed(0)
    centers = torch.rand(batch, boxes_each, 2) * feat * 4
    half = torch.rand(batch, boxes_each, 2) * feat + 4
    boxes = torch.cat([centers - half, centers + half], dim=2).clamp(0, feat * 4 - 1).to(device)
    labels = torch.randint(0, 4, (batch, boxes_each), device=device)
    return list(boxes), list(labels), (batch, 4, feat, feat), (feat * 4, feat * 4)
